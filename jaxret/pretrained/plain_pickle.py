"""Pickled plain data, read without running anything: numbers, texts, bytes, lists, tuples and dictionaries.

A pickle is a program for a small stack machine, and Python's own reader lets it call any function. Here the machine is
written out for the operations that plain data needs, over the standard library's decoder `pickletools.genops`: a name
that the caller did not allow is refused, and nothing else can reach a function.
"""

import warnings
from collections.abc import Callable, Mapping
from io import BytesIO
from pickletools import genops
from struct import error as StructError
from typing import Any, BinaryIO, ClassVar, NoReturn

import numpy as np

from jaxret.errors import DataError, Problem

_LARGEST_BYTES = 64 << 20
_MOST_OPERATIONS = 16_000_000  # one byte can make an empty dictionary: bounds the memory, as the number of bytes does
_MOST_BITS = 1024  # of a whole number
_LONGEST_KEY = 16  # of a tuple that is a dictionary key
_MOST_NUMBERS = 10_000  # dictionary keys whose hashes a file can choose: many equal ones take quadratic time
_MARK = object()

_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_LITERALS = frozenset(
    (
        'INT',
        'BININT',
        'BININT1',
        'BININT2',
        'LONG',
        'LONG1',
        'LONG4',
        'FLOAT',
        'BINFLOAT',
        'STRING',
        'BINSTRING',
        'SHORT_BINSTRING',
        'UNICODE',
        'BINUNICODE',
        'SHORT_BINUNICODE',
        'BINUNICODE8',
        'BINBYTES',
        'SHORT_BINBYTES',
        'BINBYTES8',
    )
)
_KEYS = (str, bytes, int, float, type(None))


def load_plain(
    stream: BinaryIO,
    *,
    path: str,
    allowed: Mapping[tuple[str, str], Any] = {},
    persistent: Callable[[Any], Any] | None = None,
    more: bool = False,
) -> Any:
    """The value of a pickle, protocols 0 to 5.

    Keys of dictionaries are texts, bytes, and not too many numbers, None and short flat tuples of these: others can
    take exponential time or all of the stack. Attributes of dictionaries and arrays (PyTorch stores some) are left out.
    Lists and dictionaries can hold themselves; a caller that walks through them must check the types on its way.

    Args:
      stream: read from its position, at most 64 MiB.
      path: names the file in messages.
      allowed: what stands in for a global, by (module, name): a function, called where the pickle calls the global,
        or a value.
      persistent: makes the value of a persistent id; None refuses them.
      more: whether something else may follow; the stream then stands behind the pickle.

    Returns:
      The value.

    Raises:
      DataError: a global that is not allowed, something else than plain data, or a damaged or too large file.
    """
    start = stream.tell() if more else 0
    data = stream.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES and not more:
        raise DataError(
            Problem(
                path,
                f'more than {_LARGEST_BYTES >> 20} MiB of pickled data',
                'this is no file of the expected kind; get it anew from its authors',
            )
        )
    machine = _Machine(path, allowed, persistent)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)  # unknown escapes in texts: the decoder keeps them
            pickle = BytesIO(data)
            value = machine.run(pickle)
            if more:
                stream.seek(start + pickle.tell())
            return value
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        StructError,
        MemoryError,
        RecursionError,
    ) as error:
        detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(
            Problem(path, f'damaged pickled data ({detail})', 'get the file anew from its authors')
        ) from error


class _Machine:
    """Stack, memo and the operations on them."""

    def __init__(self, path: str, allowed: Mapping[tuple[str, str], Any], persistent: Callable[[Any], Any] | None):
        self._path, self._allowed, self._persistent = path, allowed, persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._numbers = 0  # dictionary keys that are neither texts nor bytes

    def run(self, pickle: BinaryIO) -> Any:
        for count, (opcode, argument, _) in enumerate(genops(pickle)):
            if count == _MOST_OPERATIONS:
                self._refuse(f'more than {_MOST_OPERATIONS:,} operations')
            name = opcode.name
            if name == 'STOP':
                return self._pop()
            if name in _LITERALS:
                if isinstance(argument, int) and argument.bit_length() > _MOST_BITS:
                    raise ValueError(f'a whole number of {argument.bit_length():,} bits')
                self._stack.append(argument)
            elif name in _CONSTANTS:
                self._stack.append(_CONSTANTS[name])
            elif name in ('PUT', 'BINPUT', 'LONG_BINPUT'):
                if not 0 <= argument < 1 << 32:
                    raise ValueError('a number of the memo out of range')
                self._memo[argument] = self._top()
            elif name == 'MEMOIZE':
                self._memo[len(self._memo)] = self._top()
            elif name in ('GET', 'BINGET', 'LONG_BINGET'):
                self._stack.append(self._memo[argument])
            elif name in self._CONTAINERS:
                self._CONTAINERS[name](self)
            elif name not in ('PROTO', 'FRAME'):
                self._call(name, argument)
        raise ValueError('no end')  # genops raises before this

    def _call(self, name: str, argument: Any) -> None:
        """Operations that name or call something outside the data."""
        if name == 'GLOBAL':
            self._stack.append(self._global(*argument.split(' ', 1)))
        elif name == 'STACK_GLOBAL':
            attribute, module = self._pop(), self._pop()
            self._stack.append(self._global(module, attribute))
        elif name == 'INST':
            function = self._global(*argument.split(' ', 1))
            self._stack.append(function(*self._pop_to_mark()))
        elif name == 'REDUCE' or (name == 'NEWOBJ' and self._allowed):
            arguments, function = self._pop(), self._pop()
            if not any(function is known for known in self._allowed.values()) or not isinstance(arguments, tuple):
                raise ValueError('a call of something that cannot be called')
            self._stack.append(function(*arguments))
        elif name == 'BUILD':
            self._pop()
            self._target((dict, np.ndarray))
        elif name in ('PERSID', 'BINPERSID') and self._persistent is not None:
            self._stack.append(self._persistent(argument if name == 'PERSID' else self._pop()))
        else:
            self._refuse(f'the pickle operation {name}')

    def _global(self, module: Any, name: Any) -> Any:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError('a global without a name')
        if (module, name) not in self._allowed:
            self._refuse(f'the global {ascii(f"{module}.{name}"[:200])}')
        return self._allowed[module, name]

    def _refuse(self, what: str) -> NoReturn:
        also = f', {", ".join(".".join(pair) for pair in self._allowed)}' if self._allowed else ''
        raise DataError(
            Problem(
                self._path,
                f'holds {what}, which is not plain data (nothing of it was run)',
                f'use a file of plain values only (numbers, texts, lists, tuples, dictionaries{also})',
            )
        )

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _top(self) -> Any:
        value = self._stack[-1]
        if value is _MARK:
            raise ValueError('a mark in the place of a value')
        return value

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _target(self, kind: type | tuple[type, ...]) -> Any:
        if not isinstance(self._top(), kind):
            raise ValueError(f'a {type(self._top()).__name__} where a container was expected')
        return self._top()

    def _set_items(self, items: list[Any]) -> None:
        target = self._target(dict)
        if len(items) % 2:
            raise ValueError('a dictionary key without a value')
        for key, value in zip(items[::2], items[1::2], strict=True):
            parts = key if isinstance(key, tuple) else (key,)
            if len(parts) > _LONGEST_KEY or not all(isinstance(part, _KEYS) for part in parts):
                raise ValueError(f'a {type(key).__name__} as dictionary key')
            self._numbers += not isinstance(key, str | bytes)
            if self._numbers > _MOST_NUMBERS:
                raise ValueError(f'more than {_MOST_NUMBERS:,} dictionary keys that are no texts')
            target[key] = value

    def _new_dict(self) -> None:
        items = self._pop_to_mark()
        self._push({})
        self._set_items(items)

    def _append(self, values: list[Any]) -> None:
        self._target(list).extend(values)

    # Operations on containers, marks and the top of the stack.
    _CONTAINERS: ClassVar[dict[str, Callable[['_Machine'], Any]]] = {
        'MARK': lambda self: self._push(_MARK),
        'EMPTY_TUPLE': lambda self: self._push(()),
        'TUPLE1': lambda self: self._push((self._pop(),)),
        'TUPLE2': lambda self: self._push((self._pop(), self._pop())[::-1]),
        'TUPLE3': lambda self: self._push((self._pop(), self._pop(), self._pop())[::-1]),
        'TUPLE': lambda self: self._push(tuple(self._pop_to_mark())),
        'EMPTY_LIST': lambda self: self._push([]),
        'LIST': lambda self: self._push(self._pop_to_mark()),
        'APPEND': lambda self: self._append([self._pop()]),
        'APPENDS': lambda self: self._append(self._pop_to_mark()),
        'EMPTY_DICT': lambda self: self._push({}),
        'DICT': _new_dict,
        'SETITEM': lambda self: self._set_items([self._pop(), self._pop()][::-1]),
        'SETITEMS': lambda self: self._set_items(self._pop_to_mark()),
        'DUP': lambda self: self._push(self._top()),
        'POP': lambda self: self._stack.pop(),
        'POP_MARK': lambda self: self._pop_to_mark(),
    }
