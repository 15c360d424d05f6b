"""Arrays of an index, from its shards to one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.index.shards import SHARDS, ShapeRow, check_shard, read_array, read_matrix, unreadable
from jaxret.search.blocks import aligned_empty
from jaxret.search.codes import Codebook, CodedViews
from jaxret.search.threads import spread


def gather(folder: Path, rows: Sequence[ShapeRow], name: str = 'embeddings', *, checked: bool = False) -> np.ndarray:
    """Embeddings, or an extra such as silhouettes, of all rows of an index, in their order.

    Args:
      folder: of the index.
      rows: of its table.
      name: 'embeddings', or that of an extra.
      checked: the shards' checksums were compared already.

    Raises:
      DataError: a shard is missing or damaged, or there are no rows.
    """
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.shard, []).append(place)
    if not places:
        raise DataError(Problem(str(folder), 'the index holds no shapes', 'index a folder with models'))

    def read(shard: str) -> np.ndarray:
        path = folder / SHARDS / shard
        if not checked:
            check_shard(path)
        stored = read_array(path, name)
        numbers = [rows[place].row for place in places[shard]]
        if not 0 <= min(numbers) <= max(numbers) < len(stored):
            action = 'run `jaxret index --rebuild`'
            raise DataError(Problem(str(path), 'holds fewer shapes than the table names', action))
        return stored[numbers]

    first, *others = places
    found = read(first)
    array = aligned_empty((len(rows), *found.shape[1:]), found.dtype)
    array[places[first]] = found

    def copy(shard: str) -> None:
        array[places[shard]] = read(shard)

    spread(copy, others)
    return array


def gather_views(folder: Path, rows: Sequence[ShapeRow], codebook: Mapping[str, Any] | None) -> np.ndarray | CodedViews:
    """Embeddings of all rows; by their codes where the index has a codebook (`Manifest.codebook`).

    Raises:
      DataError: as `gather`, or the codebook is missing or damaged.
    """
    embeddings = gather(folder, rows)
    return embeddings if codebook is None else CodedViews(read_codebook(folder, codebook), embeddings)


def read_codebook(folder: Path, codebook: Mapping[str, Any]) -> Codebook:
    """The codebook of an index (`Manifest.codebook`). Raises DataError: missing or damaged."""
    path = folder / SHARDS / codebook['file']
    try:
        return Codebook.of_flat(read_matrix(path), codebook['layout'])
    except ValueError as error:
        raise unreadable(path, error) from error
