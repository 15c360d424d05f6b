"""`.pth` files written byte by byte, so that tests need no PyTorch and can write damaged and malicious ones."""

import struct
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

STORAGES = {
    'float64': 'DoubleStorage',
    'float32': 'FloatStorage',
    'float16': 'HalfStorage',
    'int64': 'LongStorage',
    'bfloat16': 'BFloat16Storage',
}


@dataclass
class Global:
    """A function or class by name."""

    module: str
    name: str


@dataclass
class Call:
    """A call of a global."""

    function: Global
    arguments: tuple


@dataclass
class Storage:
    """Values in a member of their own; `count`, `kind` and `window` are what the pickle says of them."""

    key: str
    values: np.ndarray
    count: int
    kind: Any
    window: tuple = ()


def storage(key, values, **changes):
    return Storage(
        **{'key': key, 'values': values, 'count': values.size, 'kind': Global('torch', STORAGES[values.dtype.name])}
        | changes
    )


def tensor(key, array, **changes):
    """A tensor on a storage of its own; `changes` replace arguments of PyTorch's call that makes it."""
    arguments = {
        'storage': storage(key, array.ravel()),
        'offset': 0,
        'size': array.shape,
        'stride': tuple(step // array.itemsize for step in array.strides),
        'requires_grad': False,
        'hooks': Call(Global('collections', 'OrderedDict'), ()),
    } | changes
    return Call(Global('torch._utils', '_rebuild_tensor_v2'), tuple(arguments.values()))


def tensors(arrays):
    """Tensors of float or int64 arrays, by name."""
    return {name: tensor(str(index), np.array(array, order='C')) for index, (name, array) in enumerate(arrays.items())}


def pickled(value, storages, *more):
    """Opcodes that put the value on the stack; collects the storages in it. A storage's id ends with `more`."""

    def parts(values):
        return b''.join(pickled(entry, storages, *more) for entry in values)

    match value:
        case None:
            return b'N'
        case bool():
            return b'\x88' if value else b'\x89'
        case int():
            return b'I%d\n' % value
        case float():
            return b'F%r\n' % value
        case str():
            return b'X' + struct.pack('<I', len(value.encode())) + value.encode()
        case tuple():
            return b'(' + parts(value) + b't'
        case list():
            return b'(' + parts(value) + b'l'
        case dict():
            return b'(' + parts(entry for item in value.items() for entry in item) + b'd'
        case Global():
            return f'c{value.module}\n{value.name}\n'.encode()
        case Call():
            return parts((value.function, value.arguments)) + b'R'
        case Storage():
            storages[value.key] = value.values
            return parts([('storage', value.kind, value.key, 'cpu', value.count, *(value.window or more))]) + b'Q'
    raise TypeError(value)


def write_pth(path, value, *, order=None, compression=zipfile.ZIP_STORED, folder='archive/', leave_out=(), extra=()):
    """Writes what `torch.save` would; `value` is also taken as bytes, a pickle."""
    storages = {}
    data = value if isinstance(value, bytes) else b'\x80\x02' + pickled(value, storages) + b'.'
    members = {'data.pkl': data, **({'byteorder': order.encode()} if order else {}), **dict(extra)}
    for key, values in storages.items():
        members[f'data/{key}'] = values.astype(values.dtype.newbyteorder('>' if order == 'big' else '<')).tobytes()
    with zipfile.ZipFile(path, 'w', compression) as archive:
        for name, content in members.items():
            if name not in leave_out:
                archive.writestr(folder + name, content)
    return path


def write_legacy(path, value, *, mark=0x1950A86A20F9469CFC6C, version=1001, counts=None, keys=None, cut=0):
    """Writes what `torch.save` did before PyTorch 1.6; the rest is said instead of what is right."""
    storages = {}
    pickles = [pickled(value, storages, None)]
    facts = {'protocol_version': version, 'little_endian': True, 'type_sizes': {'short': 2, 'int': 4, 'long': 8}}
    pickles = [pickled(mark, {}), pickled(version, {}), pickled(facts, {}), *pickles]
    pickles.append(pickled(list(storages) if keys is None else keys, {}))
    data = b''.join(b'\x80\x02' + opcodes + b'.' for opcodes in pickles)
    for key, values in storages.items():
        data += struct.pack('<q', (counts or {}).get(key, values.size))
        data += values.astype(values.dtype.newbyteorder('<')).tobytes()
    path.write_bytes(data[: len(data) - cut])
    return path
