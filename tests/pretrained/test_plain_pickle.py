"""The reader of pickled plain data: what Python's own reader gives for plain data, and nothing else."""

import io
import os
import pickle
import random
import string
import struct
import time

import pytest

from jaxret.errors import DataError, Problem
from jaxret.pretrained import plain_pickle
from jaxret.pretrained.plain_pickle import load_plain


def load(data, **options):
    return load_plain(io.BytesIO(data), path='folder/file.pkl', **options)


def refusal(data, **options):
    with pytest.raises(DataError) as error:
        load(data, **options)
    assert [problem.where for problem in error.value.problems] == ['folder/file.pkl']
    return str(error.value)


def same(first, second):
    return type(first) is type(second) and repr(first) == repr(second)


PLAIN = {
    'a photo.jpg': {'distance': 1.758, 'azimuth': -0.5, 'model_id': 'baf3415a57', 'u': 20.0},
    'numbers': [0, -1, 255, 256, 65536, -(2**31), 2**31, 2**70, -(2**900), True, False, None, 1.5, float('inf'), -0.0],
    'texts': ['', 'plain', 'ümlaut 雪 \U0001f600', 'new\nline\t\\ \'"', 'x' * 300],
    'tuples': [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((1,), ('a', [2]))],
    1: {2.5: 'x', None: [], ('a', 1): {}, True: ()},
}


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_as_python_reads_it(protocol):
    data = pickle.dumps(PLAIN, protocol)
    assert same(load(data), PLAIN)
    assert same(load(data), pickle.loads(data))


@pytest.mark.parametrize('protocol', [3, 4, 5])
def test_bytes(protocol):
    assert load(pickle.dumps([b'', b'\x00\xff', b'x' * 300], protocol)) == [b'', b'\x00\xff', b'x' * 300]


@pytest.mark.parametrize(
    ('data', 'value'),
    [
        (
            b"(dp0\nS'a.jpg'\np1\n(dp2\nS'u'\np3\nF-10.5\nssS'b.jpg'\np4\n(dp5\ng3\nF2.0\nss.",
            {'a.jpg': {'u': -10.5}, 'b.jpg': {'u': 2.0}},
        ),
        (b'(lp0\nI1\naL2L\naI01\na(I1\ntp1\na.', [1, 2, True, (1,)]),
        (b'U\x02ab.', 'ab'),
        (b'T\x02\x00\x00\x00ab.', 'ab'),
        (b'(I1\nI2\n1I3\n.', 3),
        (b'I4\n20.', 4),
        (b"S'\\q\\x41'\n.", '\\qA'),
    ],
)
def test_old_protocols_and_stack_operations(data, value):
    assert same(load(data), value)


def test_a_value_that_is_used_twice_is_one():
    one = [1]
    found = load(pickle.dumps([one, one, (one,)]))
    assert found[0] is found[1] is found[2][0]


def test_a_list_that_holds_itself():
    own = []
    own.append(own)
    found = load(pickle.dumps(own))
    assert found[0] is found


class Touch:
    def __reduce__(self):
        return os.mkdir, ('ran',)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_calls_are_refused_by_name_and_not_run(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    message = refusal(pickle.dumps({'a.jpg': {'model_id': Touch()}}, protocol))
    assert f"the global '{os.mkdir.__module__}.mkdir'" in message
    assert 'nothing of it was run' in message
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(
    ('data', 'named'),
    [
        (b"(S'touch ran'\nios\nsystem\n.", 'os.system'),
        (b"c__builtin__\neval\n(S'1'\ntR.", '__builtin__.eval'),
        (b'cos\nsystem\n.', 'os.system'),
        (b'\x80\x04\x8c\x02os\x8c\x06system\x93.', 'os.system'),
        (b'ca b\n\x1b[31m\n.', r'a.b \x1b[31m'),
        (b'\x82\x01.', 'EXT1'),
        (b'\x83\x01\x00.', 'EXT2'),
        (b'\x84\x01\x00\x00\x00.', 'EXT4'),
        (b'Pid\n.', 'PERSID'),
        (b'I1\nQ.', 'BINPERSID'),
        (b'(I1\no.', 'OBJ'),
        (b'I1\n)\x81.', 'NEWOBJ'),
        (b'I1\n)}\x92.', 'NEWOBJ_EX'),
        (b'\x8f.', 'EMPTY_SET'),
        (b'(\x91.', 'FROZENSET'),
        (b'\x97.', 'NEXT_BUFFER'),
        (b'\x96' + struct.pack('<Q', 1) + b'x.', 'BYTEARRAY8'),
    ],
)
def test_everything_that_is_not_plain_is_named(data, named):
    assert named in refusal(data)


def test_what_is_allowed():
    allowed = {('lib', 'Pair'): lambda *values: ['pair', *values], ('lib', 'KIND'): 'a kind'}
    data = b'(clib\nPair\n(I1\nI2\ntRclib\nKIND\n(I3\nilib\nPair\nl.'
    assert load(data, allowed=allowed) == [['pair', 1, 2], 'a kind', ['pair', 3]]
    message = refusal(b'clib\nOther\n.', allowed=allowed)
    assert 'lib.Other' in message
    assert 'lib.Pair, lib.KIND' in message
    assert 'damaged' in refusal(b'clib\nKIND\n)R.', allowed=allowed)
    assert 'damaged' in refusal(b"S'text'\n)R.", allowed=allowed)
    assert 'damaged' in refusal(b'clib\nPair\nI1\nR.', allowed=allowed)
    assert load(b"}}(S'_metadata'\nI1\ndb.") == {}  # attributes of a dictionary


def test_errors_of_allowed_functions():
    def refuse(*_):
        raise DataError(Problem('folder/file.pkl', 'an entry', 'leave it out'))

    assert refusal(b'clib\nf\n)R.', allowed={('lib', 'f'): refuse}) == 'folder/file.pkl: an entry; leave it out'
    for error in (ValueError('not so'), TypeError('not so'), KeyError('not so'), ZeroDivisionError('not so')):

        def fail(*_, error=error):
            raise error

        assert 'not so' in refusal(b'clib\nf\n)R.', allowed={('lib', 'f'): fail})


def test_persistent_values():
    assert load(b'(I1\nQPname\nl.', persistent=lambda key: ('kept', key)) == [('kept', 1), ('kept', 'name')]


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'.',
        b'I1\n',
        b'I1',
        b'N',
        b'0.',
        b'1.',
        b'2.',
        b't.',
        b'a.',
        b'(a.',
        b'I1\nI2\na.',
        b'](I1\nI2\ns.',
        b'}I1\ns.',
        b'(I1\nd.',
        b'}(I1\nu.',
        b'}]I1\ns.',
        b'}}I1\ns.',
        b'g7\n.',
        b'h\x07.',
        b'j\xff\xff\xff\x7f.',
        b'p1\n.',
        b'\x94.',
        b'(p1\n.',
        b'(2.',
        b'(.',
        b'R.',
        b'I1\nb.',
        b'b.',
        b'\x93.',
        b'I1\nI2\n\x93.',
        b'\xff.',
        b'Ix\n.',
        b'Fx\n.',
        b'Sx\n.',
        b"S'\\x'\n.",
        b'X\xff\xff\xff\xff.',
        b'X\xff\xff\xff\x7fab.',
        b'\x8d' + b'\xff' * 8 + b'ab.',
        b'B\xff\xff\xff\x7f.',
        b'\x8e' + b'\xff' * 7 + b'\x7f.',
        b'T\xff\xff\xff\xff.',
        b'X\x01\x00\x00\x00\xff.',
        b'\x8b\xff\xff\xff\xff.',
        b'\x8b\xff\xff\xff\x7f.',
        b'I' + b'9' * 5000 + b'\n.',
        b'\x8b' + struct.pack('<i', 1000) + b'\x01' * 1000 + b'.',
        b'V\\ud8\n.',
        b'clib\n',
        b'\x95' + b'\xff' * 8 + b'I1\n.'[:-1],
    ],
)
def test_damaged_data(data):
    assert 'damaged' in refusal(data)


@pytest.mark.parametrize(
    'key', [b')' + b'\x85' * 100_000, b')' + b'2\x86' * 60, b'(' + b'I1\n' * 17 + b't', b']', b'}']
)
def test_keys_that_would_take_the_stack_or_forever(key):
    assert 'as dictionary key' in refusal(b'}' + key + b'Ns.')


def test_too_much(monkeypatch):
    assert 'more than 64 MiB' in refusal(b'N' * (64 << 20) + b'.')
    monkeypatch.setattr(plain_pickle, '_MOST_OPERATIONS', 1000)
    assert 'more than 1,000 operations' in refusal(b'N' * 1000 + b'.')


def test_the_rest_of_a_stream_is_read_from_its_position():
    stream = io.BytesIO(b'xxI5\n.')
    stream.seek(2)
    assert load_plain(stream, path='a') == 5


def test_damage_anywhere_gives_a_value_or_one_error():
    rng = random.Random(0)
    starts = [pickle.dumps(PLAIN, protocol) for protocol in range(6)]
    refused = 0
    for _ in range(600):
        data = bytearray(rng.choice(starts))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.choice((rng.randrange(256), ord(rng.choice(string.printable))))
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        try:
            load(bytes(data))
        except DataError as error:
            refused += 1
            assert str(error).startswith('folder/file.pkl: ')
            assert len(str(error)) < 1000
    assert refused > 200


@pytest.mark.parametrize(
    'keys',
    [
        [number * (2**61 - 1) for number in range(20_000)],
        [number * float(2**61) for number in range(20_000)],
        [(number * (2**61 - 1), 1) for number in range(20_000)],
    ],
)
def test_keys_of_equal_hashes_take_no_quadratic_time(keys):
    data = b'}' + b''.join(pickle.dumps(key, 2)[2:-1].removesuffix(b'q\x00') + b'Ns' for key in keys) + b'.'
    start = time.process_time()
    assert 'dictionary keys that are no texts' in refusal(data)
    assert time.process_time() - start < 20
    assert 'out of range' in refusal(b'N' + b''.join(b'p%d\n' % (n * (2**61 - 1)) for n in range(2)) + b'.')


@pytest.mark.parametrize('nest', [b'(l', b'\x85', b')', b'}', b'(d'])
def test_deep_nesting_ends_in_a_value_or_our_error(nest):
    deep = {b'(l': b']' * 300_000 + b'a' * 299_999, b'\x85': b')' + b'\x85' * 300_000}.get(nest, nest * 300_000)
    try:
        load(deep + b'.')
    except DataError as error:
        assert 'folder/file.pkl' in str(error)


def test_several_pickles_in_one_file():
    stream = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps('two', 4) + b'rest')
    assert load_plain(stream, path='a', more=True) == [1]
    assert load_plain(stream, path='a', more=True) == 'two'
    assert stream.read() == b'rest'
