"""What the pickles of PyTorch's files hold besides plain data: storages and tensors, and which tensors are the weights.

A storage is a flat array; a tensor is a window on it by offset, sizes and strides, in elements.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxret.errors import refused

_STORAGES = {
    'DoubleStorage': np.float64,
    'FloatStorage': np.float32,
    'HalfStorage': np.float16,
    'BFloat16Storage': jnp.bfloat16,
    'LongStorage': np.int64,
    'IntStorage': np.int32,
    'ShortStorage': np.int16,
    'CharStorage': np.int8,
    'ByteStorage': np.uint8,
    'BoolStorage': np.bool_,
}
_MOST_DIMENSIONS = 8
# Keys of training checkpoints that hold the weights, the first ones first.
_WRAPPERS = ('state_dict', 'model_state_dict', 'model', 'net', 'network', 'module', 'weights', 'model_ema', 'ema')
_DEEPEST = 4  # wrappers in each other
_ACTION = 'store the weights alone: torch.save(model.state_dict(), FILE)'


def allowed_globals(byte_order: str) -> dict[tuple[str, str], Any]:
    """What `load_plain` takes for the globals in files of weights; byte_order is '<' or '>'."""
    storages = {('torch', name): np.dtype(kind).newbyteorder(byte_order) for name, kind in _STORAGES.items()}
    return storages | {
        ('torch._utils', '_rebuild_tensor'): _rebuild_tensor,
        ('torch._utils', '_rebuild_tensor_v2'): _rebuild_tensor,
        ('torch._utils', '_rebuild_parameter'): _rebuild_parameter,
        ('torch.nn.parameter', 'Parameter'): _rebuild_parameter,
        ('collections', 'OrderedDict'): _new_dict,
    }


def named_tensors(value: Any, path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The weights in the value of a file, and the keys that lead to them.

    Args:
      value: of the pickle: tensors by name, or a dictionary with these under a key (see `_WRAPPERS`) or under its only
        key that has any.
      path: names the file in messages.

    Returns:
      tensors by name; the keys with '/' between, '' where the value is the tensors.

    Raises:
      DataError: no such dictionary, several, or other things among the tensors.
    """
    keys: list[str] = []
    while isinstance(value, dict) and len(keys) < _DEEPEST and (key := _wrapper(value, path)) is not None:
        value = value[key]
        keys.append(key)
    if not isinstance(value, dict):
        raise refused(str(path), f'a {type(value).__name__} instead of a dictionary of tensors', _ACTION)
    others = [
        f'{ascii(name)[:100]}: a {type(entry).__name__}'
        for name, entry in value.items()
        if not isinstance(name, str) or not isinstance(entry, np.ndarray)
    ]
    if others:
        found = f'{len(others)} of {len(value)} entries are no named tensors, such as {", ".join(others[:3])}'
        raise refused(str(path), found, _ACTION)
    return value, '/'.join(keys)


def _wrapper(value: Mapping[Any, Any], path: Path) -> str | None:
    """The key of a dictionary that leads to the weights, None where they are its own entries."""
    inside = {key: part for key, part in value.items() if isinstance(key, str) and isinstance(part, dict)}
    holding = _holding(inside)
    known = [key for key in _WRAPPERS if key in holding]
    if known or _has_tensors(value):
        return known[0] if known else None
    if len(holding) > 1:
        names = ', '.join(ascii(key)[:50] for key in holding[:3])
        raise refused(str(path), f'{len(holding)} dictionaries of tensors ({names})', _ACTION)
    return next((key for key in (*holding, *_WRAPPERS) if key in inside), None)


def _holding(parts: Mapping[str, dict]) -> list[str]:
    """Keys of the dictionaries that have tensors; each is looked at once, however often a file names it."""
    each = {id(part): part for part in parts.values()}
    with_tensors = {identity for identity, part in each.items() if _has_tensors(part)}
    return [key for key, part in parts.items() if id(part) in with_tensors]


def _has_tensors(value: Mapping[Any, Any]) -> bool:
    return any(isinstance(entry, np.ndarray) for entry in value.values())


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    size: Any,
    stride: Any,
    requires_grad: Any = None,
    hooks: Any = None,
    metadata: Any = None,
) -> np.ndarray:
    del requires_grad, hooks
    numbers = (offset, *size, *stride)
    if (
        not isinstance(storage, np.ndarray)
        or len(size) != len(stride)
        or len(size) > _MOST_DIMENSIONS
        or metadata
        or not all(type(number) is int and number >= 0 for number in numbers)
    ):
        raise ValueError('a tensor of an unknown form')
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
    if count > storage.size or last >= max(1, storage.size):
        raise ValueError(f'a tensor of size {ascii(size)[:100]} in a storage of {storage.size} values')
    if not count:
        return np.zeros(size, storage.dtype)
    return np.lib.stride_tricks.as_strided(
        storage[offset:], size, [step * storage.itemsize for step in stride], writeable=False
    )


def _rebuild_parameter(tensor: Any, requires_grad: Any = None, hooks: Any = None) -> Any:
    del requires_grad, hooks
    return tensor


def _new_dict() -> dict:
    """Stands in for OrderedDict; entries are set one by one, with the checks of `load_plain`."""
    return {}


def storage_fields(identity: Any) -> tuple[np.dtype, str, int, tuple[int, int] | None]:
    """Type, key and number of values of a storage's persistent id, and (offset, size) of the window that it is on them.

    Raises:
      ValueError: it is something else.
    """
    match identity:
        case ('storage', np.dtype() as dtype, str() as key, str(), int() as count):
            window = None
        case ('storage', np.dtype() as dtype, str() as key, str(), int() as count, None):
            window = None
        case ('storage', np.dtype() as dtype, str() as key, str(), int() as count, (_, int() as offset, int() as size)):
            window = (offset, size)
        case _:
            raise ValueError('a persistent id that is no storage')
    if count < 0 or (window and not 0 <= window[0] <= window[0] + window[1] <= count):
        raise ValueError(f'storage {ascii(key[:50])} has an impossible size')
    return dtype, key, count, window
