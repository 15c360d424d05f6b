"""Files of weights: those that PyTorch and safetensors wrote (tests/fixtures/make_pretrained.py), and bad ones."""

import hashlib
import json
import struct
import zipfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from pretrained_files import Call, Global, storage, tensor, tensors, write_pth

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
    ],
)
def test_files_of_pytorch(name, expected):
    file = read_weights(FILES / name)
    found = {key: file.arrays[key] for key in expected} if name.endswith('safetensors') else file.arrays
    assert file.arrays.keys() == expected.keys()
    assert_same(found, expected)
    assert file.sha256 == hashlib.sha256((FILES / name).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('before_1_6.pth', 'from before version 1.6'),
        ('module.pth', 'torch.nn.modules.container.Sequential'),
        ('script.pth', 'TorchScript'),
    ],
)
def test_other_files_of_pytorch_are_refused(name, message):
    assert message in refusal(FILES / name)


@pytest.mark.parametrize('order', [None, 'little', 'big'])
@pytest.mark.parametrize('wrapper', [None, 'model'])
def test_orders_of_bytes_and_wrappers(tmp_path, order, wrapper):
    arrays = {name: KINDS[name] for name in ('float32', 'float64', 'float16', 'bfloat16', 'int64')}
    value = tensors(arrays) if wrapper is None else {wrapper: tensors(arrays), 'epoch': 2, 'rates': [0.1, None]}
    assert_same(read_weights(write_pth(tmp_path / 'a.pth', value, order=order)).arrays, arrays)


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
        ({'a': tensor('0', NUMBERS), 'b': [1.0], 'c': None}, "'b': a list"),
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


def test_damaged_archives(tmp_path):
    good, path = (FILES / 'tensors.pth').read_bytes(), tmp_path / 'a.pth'
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
    assert refused > 100


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
