"""Files of weights: those that PyTorch and safetensors wrote (tests/fixtures/make_pretrained.py), and bad ones."""

import hashlib
import json
import os
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from pretrained_files import Call, Global, pickled, storage, tensor, tensors, write_legacy, write_pth

from jaxret.errors import DataError
from jaxret.pretrained.weight_files import read_weights

FILES = Path(__file__).parents[1] / 'fixtures' / 'torch_files'
NUMBERS = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8
KINDS = {
    'float32': NUMBERS,
    'float64': NUMBERS.astype(np.float64) + 1e-12,
    'float16': NUMBERS.astype(np.float16),
    'bfloat16': NUMBERS.astype(jnp.bfloat16),
    'int64': np.array(7),
    'int32': np.array([-1, 2], np.int32),
    'uint8': np.array([255], np.uint8),
    'bool': np.array([True, False]),
    'empty': np.zeros((0, 3), np.float32),
}
WINDOWS = {
    'transposed': NUMBERS.transpose(2, 0, 1),
    'part': NUMBERS[1, 1:, 1:3],
    'parameter': np.array([1.5, -2.0], np.float32),
}
LAYERS = {
    '0.weight': np.arange(6, dtype=np.float32).reshape(2, 3),
    '0.bias': np.array([0.5, 1.5], np.float32),
    '1.weight': np.ones(2, np.float32),
    '1.bias': np.zeros(2, np.float32),
    '1.running_mean': np.zeros(2, np.float32),
    '1.running_var': np.ones(2, np.float32),
    '1.num_batches_tracked': np.array(0),
}


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        np.testing.assert_array_equal(np.asarray(found[name]), array)


def refusal(path):
    with pytest.raises(DataError) as error:
        read_weights(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('tensors.pth', KINDS | WINDOWS),
        ('tensors.safetensors', KINDS),
        ('layers.pth', LAYERS),
        ('checkpoint.pth', LAYERS),
        ('before_1_6.pth', LAYERS),
    ],
)
def test_files_of_pytorch(name, expected):
    file = read_weights(FILES / name)
    found = {key: file.arrays[key] for key in expected} if name.endswith('safetensors') else file.arrays
    assert file.arrays.keys() == expected.keys()
    assert_same(found, expected)
    assert file.sha256 == hashlib.sha256((FILES / name).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ('name', 'message'), [('module.pth', 'torch.nn.modules.container.Sequential'), ('script.pth', 'TorchScript')]
)
def test_other_files_of_pytorch_are_refused(name, message):
    assert message in refusal(FILES / name)


PLAIN = {name: KINDS[name] for name in ('float32', 'float64', 'float16', 'bfloat16', 'int64')}


@pytest.mark.parametrize('order', [None, 'little', 'big'])
def test_orders_of_bytes(tmp_path, order):
    assert_same(read_weights(write_pth(tmp_path / 'a.pth', tensors(PLAIN), order=order)).arrays, PLAIN)


@pytest.mark.parametrize('write', [write_pth, write_legacy])
@pytest.mark.parametrize(
    'keys', ['', 'state_dict', 'model_state_dict', 'net', 'model', 'model_ema', 'generator', 'model/state_dict', 'a/b']
)
def test_wrappers_are_seen_through_and_said(tmp_path, write, keys):
    value = tensors(PLAIN)
    for key in reversed(keys.split('/') if keys else []):
        value = {
            'epoch': 2,
            'rates': [0.1, None],
            'optimizer': {'state': {0: {'step': 3}}, 'param_groups': []},
            key: value,
        }
    if keys == 'a/b':
        assert 'entries are no named tensors' in refusal(write(tmp_path / 'a.pth', value))
        return
    file = read_weights(write(tmp_path / 'a.pth', value))
    assert_same(file.arrays, PLAIN)
    assert file.wrapper == keys


def test_several_wrappers(tmp_path):
    second = {'x': tensor('9', NUMBERS)}
    value = {'model_ema': second, 'model': tensors(PLAIN), 'queue': tensor('8', NUMBERS)}
    assert read_weights(write_pth(tmp_path / 'a.pth', value)).wrapper == 'model'
    found = refusal(write_pth(tmp_path / 'b.pth', {'left': second, 'right': tensors(PLAIN)}))
    assert "2 dictionaries of tensors ('left', 'right')" in found


def test_legacy_files(tmp_path):
    path = tmp_path / 'a.pth'
    whole = np.arange(12, dtype=np.float32)
    window = storage('0', whole, window=(('1', 4, 6),))
    value = {
        'parts': tensor('0', whole.reshape(3, 4)[:, 1:], storage=storage('0', whole), offset=1),
        'window': tensor('0', whole[:6].reshape(2, 3), storage=window),
        'old': Call(Global('torch._utils', '_rebuild_tensor'), (storage('0', whole), 2, (2,), (5,))),
    }
    expected = {'parts': whole.reshape(3, 4)[:, 1:], 'window': whole[4:10].reshape(2, 3), 'old': whole[[2, 7]]}
    assert_same(read_weights(write_legacy(path, value)).arrays, expected)
    assert not any(array.flags.writeable for array in read_weights(path).arrays.values())
    plain = pickled(tensor('0', whole), {}, None)
    parameter = b'ctorch.nn.parameter\nParameter\n%s\x85\x81\x88\x89N\x87b'  # a class, its argument, its state
    data = write_legacy(path, {'a': tensor('0', whole)}).read_bytes()
    path.write_bytes(data.replace(plain, parameter % plain))
    assert_same(read_weights(path).arrays, {'a': whole})


@pytest.mark.parametrize(
    ('changes', 'found'),
    [
        ({'mark': 5}, 'a pickle that is not one of torch.save'),
        ({'version': 1002}, 'a pickle that is not one of torch.save'),
        ({'counts': {'0': 23}}, "storage '0' has 23 values instead of 24"),
        ({'counts': {'0': 2**62}}, 'values instead of 24'),
        ({'counts': {'0': -1}}, 'values instead of 24'),
        ({'keys': []}, 'a list of 0 storages, where tensors have 1'),
        ({'keys': ['0', '0']}, 'a list of 2 storages'),
        ({'keys': ['1']}, 'a list of 1 storages'),
        ({'keys': 'text'}, 'no list of storages'),
        ({'keys': [0]}, 'no list of storages'),
        ({'cut': 1}, "storage '0' is cut off"),
        ({'cut': 96}, "storage '0' is cut off"),
        ({'cut': 120}, 'damaged'),
    ],
)
def test_damaged_legacy_files(tmp_path, changes, found):
    assert found in refusal(write_legacy(tmp_path / 'a.pth', {'a': tensor('0', NUMBERS)}, **changes))


def test_legacy_files_run_nothing_and_hold_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = {'a': Call(Global('os', 'system'), ('touch ran',))}
    assert 'os.system' in refusal(write_legacy(tmp_path / 'a.pth', value))
    assert not (tmp_path / 'ran').exists()
    for changes, found in (
        ({'count': 2**40}, 'more than the file can hold'),
        ({'count': -1}, 'impossible size'),
        ({'window': (('1', 20, 5),)}, 'impossible size'),
    ):
        bad = tensor('0', NUMBERS, storage=storage('0', NUMBERS.ravel(), **changes))
        assert found in refusal(write_legacy(tmp_path / 'a.pth', {'a': bad}))
    both = {'a': tensor('0', NUMBERS), 'b': tensor('0', NUMBERS.view(np.int32).astype(np.int64))}
    assert 'two types or sizes' in refusal(write_legacy(tmp_path / 'a.pth', both))


def test_sizes_are_checked_before_anything_is_read(tmp_path):
    path = write_pth(tmp_path / 'a.pth', tensors({'a': NUMBERS}), extra=[('byteorder', bytes(200 << 20))],
                     compression=zipfile.ZIP_DEFLATED)  # fmt: skip
    tracemalloc.start()
    try:
        assert 'byte order' in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    shared = np.zeros(1 << 18, np.float32)
    path = write_pth(tmp_path / 'b.pth', tensors({name: shared if name == 'a' else NUMBERS for name in 'abcd'}))
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:  # four members on the bytes of one
        members = archive.infolist()
        first = next(member for member in members if member.filename.endswith('data/0'))
        directory = archive.start_dir
    for member in members:
        if '/data/' in member.filename and member is not first:
            at = data.index(member.filename.encode(), directory) - 46
            sizes = struct.pack('<III', first.CRC, first.file_size, first.file_size)
            data = (
                data[: at + 16]
                + sizes
                + data[at + 28 : at + 42]
                + struct.pack('<I', first.header_offset)
                + data[at + 46 :]
            )
    path.write_bytes(data)
    refusal(path)


@pytest.mark.parametrize('kind', ['pipe', 'zeros'])
def test_what_never_ends_is_refused_at_once(tmp_path, kind):
    path = tmp_path / 'a.pth'
    if kind == 'pipe':
        os.mkfifo(path)
    else:
        path.symlink_to('/dev/zero')
    assert 'not a regular file' in refusal(path)


def test_names_of_the_file_do_not_matter(tmp_path):
    path = write_pth(tmp_path / 'weights.bin', tensors({'a': NUMBERS}), folder='weights/')
    assert_same(read_weights(path).arrays, {'a': NUMBERS})


@pytest.mark.parametrize(
    ('value', 'name'),
    [
        ({'a': Call(Global('os', 'system'), ('touch ran',))}, 'os.system'),
        ({'a': Call(Global('builtins', 'eval'), ('1',))}, 'builtins.eval'),
        ({'a': Global('torch', 'load')}, 'torch.load'),
        (
            {'state_dict': tensors({'a': NUMBERS}), 'args': Call(Global('argparse', 'Namespace'), ())},
            'argparse.Namespace',
        ),
        ({'a': Call(Global('torch._utils', '_rebuild_device_tensor_from_numpy'), ())}, '_rebuild_device'),
    ],
)
def test_everything_else_is_refused_by_name(tmp_path, monkeypatch, value, name):
    monkeypatch.chdir(tmp_path)
    message = refusal(write_pth(tmp_path / 'a.pth', value))
    assert name in message
    assert 'nothing of it was run' in message
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('value', 'found'),
    [
        ([1, 2], 'a list'),
        ('text', 'a str'),
        ({}, 'no tensor'),
        ({'state_dict': {}}, 'no tensor'),
        (
            {'a': tensor('0', NUMBERS), 'b': [1.0], 'c': None},
            "2 of 3 entries are no named tensors, such as 'b': a list, 'c'",
        ),
        ({3: tensor('0', NUMBERS)}, '3: a ndarray'),
        (Call(Global('collections', 'OrderedDict'), ([['a', 1]],)), 'damaged'),
    ],
)
def test_other_values_are_refused(tmp_path, value, found):
    assert found in refusal(write_pth(tmp_path / 'a.pth', value))


@pytest.mark.parametrize(
    'changes',
    [
        {'size': (2, 3, 5)},
        {'offset': 1},
        {'offset': -1},
        {'stride': (0, 0, 0), 'size': (9, 9, 9)},
        {'stride': (1, 1)},
        {'stride': (12, 4, -1)},
        {'size': (2, 3, 4.0)},
        {'size': (2**62, 2, 2)},
        {'size': (1,) * 9, 'stride': (1,) * 9},
        {'size': 24},
        {'size': (True, 3, 4)},
        {'storage': 'text'},
        {'storage': [1, 2]},
        {'storage': storage('0', NUMBERS.ravel(), count=23)},
        {'storage': storage('0', NUMBERS.ravel(), count=2**60)},
        {'storage': storage('0', NUMBERS.ravel(), kind='FloatStorage')},
        {'hooks': None, 'metadata': {'neg': True}},
    ],
)
def test_tensors_that_their_storage_does_not_hold(tmp_path, changes):
    assert 'damaged pickled data' in refusal(write_pth(tmp_path / 'a.pth', {'a': tensor('0', NUMBERS, **changes)}))


def test_a_missing_and_a_compressed_storage(tmp_path):
    value = tensors({'a': np.zeros(10_000, np.float32)})
    assert "storage '0' is missing" in refusal(write_pth(tmp_path / 'a.pth', value, leave_out=('data/0',)))
    assert "storage '0' is compressed" in refusal(
        write_pth(tmp_path / 'b.pth', value, compression=zipfile.ZIP_DEFLATED)
    )


def test_archives_that_are_no_weights(tmp_path):
    assert 'without a data.pkl' in refusal(write_pth(tmp_path / 'a.pth', {}, folder='a/b/'))
    assert 'byte order' in refusal(write_pth(tmp_path / 'b.pth', tensors({'a': NUMBERS}), order='middle'))
    assert 'more than 64 MiB' in refusal(
        write_pth(tmp_path / 'c.pth', b'\x80\x02' + b'N' * (65 << 20), compression=zipfile.ZIP_DEFLATED)
    )


@pytest.mark.parametrize(('name', 'least'), [('tensors.pth', 100), ('before_1_6.pth', 100)])
def test_damaged_archives(tmp_path, name, least):
    good, path = (FILES / name).read_bytes(), tmp_path / 'a.pth'
    rng = np.random.default_rng(0)
    refused = 0
    for cut in (0, 1, 4, 100, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        refusal(path)
    for _ in range(300):
        data = np.frombuffer(good, np.uint8).copy()
        data[rng.integers(len(data), size=3)] = rng.integers(256, size=3)
        path.write_bytes(data.tobytes())
        try:
            read_weights(path)  # damage of the padding, say, changes nothing
        except DataError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > least


def safetensors(path, header, data=b'', *, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(text) if length is None else length) + text + data)
    return path


ENTRY = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}


@pytest.mark.parametrize(
    ('header', 'size', 'length'),
    [
        ({'a': ENTRY}, 8, 1),
        ({'a': ENTRY}, 8, 2**63),
        ({'a': ENTRY}, 8, 10**6),
        ({'a': ENTRY}, 4, None),
        ({'a': ENTRY}, 12, None),
        ({'a': ENTRY | {'shape': [3]}}, 8, None),
        ({'a': ENTRY | {'shape': [-2]}}, 8, None),
        ({'a': ENTRY | {'shape': [2**62, 4]}}, 8, None),
        ({'a': ENTRY | {'data_offsets': [8, 0]}}, 8, None),
        ({'a': ENTRY | {'data_offsets': [0, 2**60]}}, 8, None),
        ({'a': ENTRY, 'b': ENTRY}, 8, None),
        ({'a': ENTRY | {'dtype': 'text'}}, 8, None),
        ({'a': [1]}, 8, None),
        (b'\xff\xfe', 8, None),
        (b'{"a":', 8, None),
        (b'[' * 100_000, 8, None),
        (b'{"a":' * 100_000, 8, None),
    ],
)
def test_lying_headers_of_safetensors(tmp_path, header, size, length):
    path = safetensors(tmp_path / 'a.safetensors', header, bytes(size), length=length)
    assert 'damaged .safetensors file' in refusal(path)


def test_types_of_safetensors_that_are_not_read(tmp_path):
    entry = {'dtype': 'F8_E4M3', 'shape': [8], 'data_offsets': [0, 8]}
    assert 'a: values of type F8_E4M3' in refusal(safetensors(tmp_path / 'a.safetensors', {'a': entry}, bytes(8)))


def test_no_file_another_file_and_a_large_one(tmp_path):
    assert 'cannot be read (No such file' in refusal(tmp_path / 'none.pth')
    assert 'cannot be read (Is a directory' in refusal(tmp_path)
    for name in ('page.pth', 'empty.pth', 'page.bin'):
        (tmp_path / name).write_bytes(b'' if 'empty' in name else b'<html>not found</html>')
        assert 'neither a .safetensors nor a .pth file' in refusal(tmp_path / name)
    with (tmp_path / 'large.pth').open('wb') as file:
        file.truncate(3 << 30)  # takes no space
    assert '3,221,225,472 bytes' in refusal(tmp_path / 'large.pth')
    assert 'no tensor' in refusal(safetensors(tmp_path / 'a.safetensors', {'__metadata__': {'a': 'b'}}))


def test_arrays_that_are_left_out(tmp_path):
    """They are not even looked at: their type may be one that is not read."""
    entries = {'text.a': {'dtype': 'F8_E4M3', 'shape': [8], 'data_offsets': [0, 8]}}
    entries['image.a'] = {'dtype': 'F32', 'shape': [2], 'data_offsets': [8, 16]}
    path = safetensors(tmp_path / 'a.safetensors', entries, bytes(16))
    assert list(read_weights(path, left_out=re.compile(r'^text\.')).arrays) == ['image.a']
    np.savez(tmp_path / 'a.npz', **{'text/a': np.array([{}]), 'image/a': NUMBERS, 'image/b': np.ones(3, jnp.bfloat16)})
    file = read_weights(tmp_path / 'a.npz', left_out=re.compile(r'^text/'))
    assert_same(file.arrays, {'image/a': NUMBERS, 'image/b': np.ones(3, jnp.bfloat16)})
    assert 'Python objects' in refusal(tmp_path / 'a.npz')
