"""Conditions on the facts of shapes, as `--where` takes them: `size<200mm and watertight and name~bolt`.

Letters: G shapes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxret.errors import ConfigError
from jaxret.geometry.measures import UNITS

LENGTHS, AREAS, VOLUMES = ('size', 'width', 'height', 'depth'), ('area',), ('volume',)
NUMBERS = (*LENGTHS, *AREAS, *VOLUMES, 'triangles')
TEXTS = ('name', 'unit', 'color')
FLAGS = ('watertight',)
_POWERS = {field: power for power, fields in enumerate((LENGTHS, AREAS, VOLUMES), 1) for field in fields}
_COMPARE: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    '<': np.less,
    '<=': lambda values, limit: (values < limit) | _same(values, limit),
    '>': np.greater,
    '>=': lambda values, limit: (values > limit) | _same(values, limit),
    '=': lambda values, limit: _same(values, limit),
    '!=': lambda values, limit: ~_same(values, limit),
}
_TEXT_OPERATORS = {'name': ('~',), 'unit': ('=', '!='), 'color': ('=', '!=')}
_CONDITION = re.compile(
    r"""\s*(?:
        (?P<field>\w+)\s*(?P<operator><=|>=|!=|==|=|<|>|~)\s*
        (?P<value>"[^"]*"|'[^']*'|[-+.\d]+(?:e[-+]?\d+)?\s+(?!and\b)[a-z]+[23²³]?(?=\s|$)|\S+)
        |(?P<no>not\s+)?(?P<flag>\w+)
    )\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_AND = re.compile(r'and\s+', re.IGNORECASE)
_NUMBER = re.compile(r'([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*(.*)', re.IGNORECASE)
_EXAMPLE = 'such as size<200mm and watertight'
_TOLERANCE = 1e-6  # facts have as many digits


class Condition(NamedTuple):
    """One comparison: of a number with a limit (lengths in mm, areas in mm^2, volumes in mm^3), a text, or a flag."""

    field: str
    operator: str
    value: float | str | bool

    @property
    def in_millimetres(self) -> bool:
        """Whether shapes of unknown unit cannot meet it."""
        return self.field in _POWERS


@dataclass(frozen=True, eq=False)
class Columns:
    """Facts of all shapes, as conditions compare them.

    Attributes:
      numbers: by field (`NUMBERS`) float64 [G], in mm, mm^2 and mm^3 as the field says; NaN where it is not known.
      watertight: bool [G].
      names: of each the id and the name in its file, in small letters.
      units: of each; '' where it is not known.
      colors: of each.
    """

    numbers: Mapping[str, np.ndarray]
    watertight: np.ndarray
    names: Sequence[str]
    units: Sequence[str]
    colors: Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Matching:
    """Which shapes meet all conditions.

    Attributes:
      shapes: bool [G].
      left_out: how many are left out only because the unit of their file is not known.
    """

    shapes: np.ndarray
    left_out: int


def parse_where(text: str) -> tuple[Condition, ...]:
    """The conditions of an expression, which are joined by `and`.

    Args:
      text: each condition is `watertight`, `not watertight`, or a field, an operator and a value: `size` (the longest
        side), `width`, `height`, `depth` (along x, y and z as the index turns the shapes, +y up), `area`, `volume` with
        a unit; `triangles`; `name~TEXT` (in the id, or the name in the file); `unit=mm`; `color=#ff0000`.

    Raises:
      ConfigError: what is not understood, with what would be.
    """
    conditions, place = [], 0
    while not conditions or place < len(text):
        if conditions and not (joint := _AND.match(text, place)):
            raise _bad(text, f'{text[place:][:40]!r} after a condition', 'join conditions with `and`')
        place = joint.end() if conditions else place
        match = _CONDITION.match(text, place)
        if not match:
            raise _bad(text, 'a condition is missing', f'write it as a field, an operator and a value, {_EXAMPLE}')
        conditions.append(_flag(text, match) if match['flag'] else _comparison(text, match))
        place = match.end()
    return tuple(conditions)


def matching(conditions: Sequence[Condition], columns: Columns) -> Matching:
    """Which shapes meet all of some conditions."""
    shapes = np.ones(len(columns.watertight), bool)
    unknown = np.zeros_like(shapes)
    for condition in conditions:
        met = _met(condition, columns)
        if condition.in_millimetres:
            without = np.array([not unit for unit in columns.units], bool)
            unknown |= without
            met |= without
        shapes &= met
    return Matching(shapes & ~unknown, int((shapes & unknown).sum()))


def _met(condition: Condition, columns: Columns) -> np.ndarray:
    field, operator, value = condition
    if field == 'watertight':
        return columns.watertight == value
    if field == 'name':
        return np.array([value in name for name in columns.names], bool)
    if field == 'unit':
        return np.array([(unit == value) == (operator == '=') for unit in columns.units], bool)
    if field == 'color':
        return np.array([(value in colors) == (operator == '=') for colors in columns.colors], bool)
    values = columns.numbers[field]
    with np.errstate(invalid='ignore'):
        return np.isfinite(values) & _COMPARE[operator](values, value)


def _same(values: np.ndarray, limit: float) -> np.ndarray:
    return np.isclose(values, limit, rtol=_TOLERANCE, atol=0)


def _flag(text: str, match: re.Match) -> Condition:
    name = match['flag'].lower()
    if name in FLAGS:
        return Condition(name, '=', not match['no'])
    if match['no'] and name in (*NUMBERS, *TEXTS):
        raise _bad(text, f'`not` before {name!r}', 'compare it the other way; `not` goes with watertight')
    if name in (*NUMBERS, *TEXTS):
        raise _bad(text, f'{name!r} without a value', f'compare it, {_EXAMPLE}')
    raise _unknown(text, match['flag'])


def _comparison(text: str, match: re.Match) -> Condition:
    field, operator = match['field'].lower(), match['operator'].replace('==', '=')
    value = match['value']
    value = value[1:-1] if value[0] in '"\'' and value[-1] == value[0] and len(value) > 1 else value
    if field in FLAGS:
        raise _bad(text, f'{field!r} with a value', f'write `{field}` or `not {field}`')
    if field in TEXTS:
        if operator not in _TEXT_OPERATORS[field]:
            raise _bad(text, f'{field}{operator}', f'of {field!r} write {field}{_TEXT_OPERATORS[field][0]}VALUE')
        return Condition(field, operator, _text_value(text, field, value))
    if field not in NUMBERS:
        raise _unknown(text, match['field'])
    if operator not in _COMPARE:
        raise _bad(text, f'{field}{operator}', f'compare {field!r} with {" ".join(_COMPARE)}')
    return Condition(field, operator, _number(text, field, value))


def _text_value(text: str, field: str, value: str) -> str:
    if field == 'unit' and value.lower() not in UNITS:
        raise _bad(text, f'{value!r} is no unit', f'choose from {" ".join(UNITS)}')
    if field == 'color' and not re.fullmatch('#[0-9a-f]{6}', value, re.IGNORECASE):
        raise _bad(text, f'{value!r} is no colour', 'write red, green and blue in hexadecimal, such as #ff0000')
    return value.lower()


def _number(text: str, field: str, value: str) -> float:
    """A limit: of lengths, areas and volumes in mm, mm^2 and mm^3."""
    match = _NUMBER.fullmatch(value)
    if not match:
        raise _bad(text, f'{value!r} of {field!r} is not a number', f'write one with a point, {_EXAMPLE}')
    number, given = float(match[1]), match[2].lower().replace('²', '2').replace('³', '3')
    power = _POWERS.get(field, 0)
    if not power:
        if given:
            raise _bad(text, f'{field!r} with a unit, {given!r}', f'leave the unit out: {field} is a number')
        return number
    units = {unit + (str(power) if power > 1 else ''): length**power for unit, length in UNITS.items()}
    if given not in units:
        found = f'{given!r} is no unit of {field!r}' if given else f'{field!r} without a unit'
        raise _bad(text, found, f'write one after the number: {" ".join(units)}')
    return number * units[given]


def _unknown(text: str, name: str) -> ConfigError:
    return _bad(text, f'no field {name!r}', f'choose from {", ".join((*NUMBERS, *TEXTS, *FLAGS))}')


def _bad(text: str, found: str, action: str) -> ConfigError:
    return ConfigError(f'where {text.strip()!r}: {found}; {action}')
