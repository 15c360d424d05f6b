"""The text of a file of results: JSON that a person can read, and of which git shows the rows that changed."""

import json
import math
from collections.abc import Mapping
from typing import Any

DIGITS = 4  # significant ones, of numbers that are not whole


def one_line_a_row(content: Mapping[str, Any]) -> str:
    """JSON with a line a key, and a line an element of lists of objects, however deep these lie.

    Args:
      content: plain data. Numbers with a fraction are rounded to 4 significant digits; those that are not finite, and
        tuples, become null and lists.
    """
    return _lines(_plain(content), '') + '\n'


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(f'{value:.{DIGITS}g}') if math.isfinite(value) else None
    return value


def _rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) for part in value)


def _lines(value: Any, indent: str) -> str:
    deeper = indent + ' '
    if _rows(value):
        return '[\n' + ',\n'.join(deeper + _lines(part, deeper) for part in value) + f'\n{indent}]'
    if isinstance(value, dict) and (not indent or any(_rows(part) for part in value.values())):
        pairs = (f'{deeper}{json.dumps(key)}: {_lines(part, deeper)}' for key, part in value.items())
        return '{\n' + ',\n'.join(pairs) + f'\n{indent}}}'
    return json.dumps(value, ensure_ascii=False)
