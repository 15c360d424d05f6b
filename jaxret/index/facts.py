"""Facts of the shapes of an index (`jaxret.geometry.measures`), read of its shards when they are first asked for."""

import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import ConfigError
from jaxret.index.shards import SHARDS, ShapeRow, read_facts
from jaxret.index.where import Columns, Matching, matching, parse_where

_KEPT_SHARDS = 64  # whose facts are kept for the next results


class ShapeFacts:
    """Facts of shapes. For several threads.

    Args:
      folder: of the index.
      rows: of its table.
    """

    def __init__(self, folder: Path, rows: Sequence[ShapeRow]):
        self._folder, self._rows = folder, rows
        self._of_shard = functools.lru_cache(maxsize=_KEPT_SHARDS)(lambda name: read_facts(folder / SHARDS / name))
        self._lock, self._columns = threading.Lock(), None

    def of(self, number: int) -> dict[str, Any] | None:
        """Of one shape, sizes as width, height, depth; None where its index was made before there were facts.

        Raises:
          DataError: a damaged shard.
        """
        row = self._rows[number]
        facts = self._of_shard(row.shard)[row.row]
        return facts and facts | {name: _upright(row, facts[name]) for name in ('size', 'size_mm')} or None

    def matching(self, where: str) -> Matching:
        """The shapes that meet an expression (`where.parse_where`).

        Raises:
          ConfigError: an expression that is not understood, or shapes without facts.
          DataError: a damaged shard.
        """
        conditions = parse_where(where)
        with self._lock:
            if self._columns is None:
                self._columns = self._read()
        return matching(conditions, self._columns)

    def _read(self) -> Columns:
        by_shard: dict[str, list[int]] = {}
        for number, row in enumerate(self._rows):
            by_shard.setdefault(row.shard, []).append(number)
        facts: list[dict[str, Any]] = [{}] * len(self._rows)
        for shard, numbers in by_shard.items():
            stored = read_facts(self._folder / SHARDS / shard)
            for number in numbers:
                facts[number] = stored[self._rows[number].row]
        if without := sum(not one for one in facts):
            raise ConfigError(
                f'where: {without} of {len(facts)} shapes were indexed before sizes were kept; run `jaxret index '
                f'--rebuild` with the --out and --models of this index'
            )
        sides = [_upright(row, one['size_mm']) or (None,) * 3 for row, one in zip(self._rows, facts, strict=True)]
        sides = np.array(sides, np.float64).reshape(-1, 3)
        numbers = dict(zip(('width', 'height', 'depth'), sides.T, strict=True)) | {'size': sides.max(axis=1)}
        for field in ('area', 'volume', 'triangles'):
            numbers[field] = np.array([one[field] for one in facts], np.float64)  # None becomes NaN
        return Columns(
            numbers=numbers,
            watertight=np.array([one['watertight'] for one in facts], bool),
            names=[f'{row.id}\n{one["name"]}'.lower() for row, one in zip(self._rows, facts, strict=True)],
            units=[one['unit'] or '' for one in facts],
            colors=[one['colors'] for one in facts],
        )


def _upright(row: ShapeRow, sides: list[float | None] | None) -> list[float | None] | None:
    """Width, height and depth, which are extents along x, y, z once +y is up, of those along the file's axes."""
    if row.up_axis != 'z' or sides is None:
        return sides
    x, y, z = sides
    return [x, z, y]


def told_facts(facts: dict[str, Any] | None) -> tuple[str, str]:
    """Width, height, depth, and triangles: '10 x 20 x 30 mm', '1,200 open'; '' for what is unknown."""
    if not facts:
        return '', ''
    sides, unit = (facts['size_mm'], ' mm') if facts['size_mm'] else (facts['size'], '')
    size = ' x '.join('?' if side is None else f'{side:.4g}' for side in sides)
    return size + unit, f'{facts["triangles"]:,}{"" if facts["watertight"] else " open"}'
