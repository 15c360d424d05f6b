"""Answers to meshes of the command `jaxret search`, laid on the query."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxret.errors import DataError
from jaxret.files import printable_lines
from jaxret.index.aligned import FEWEST, aligned_hits
from jaxret.inference.query_files import QueryFile
from jaxret.preprocessing.shape_pairs import read_signature

__all__ = ['FEWEST', 'align_answers', 'alike']
Found = tuple[list, bool]  # hits of a query, and whether they are surely those of the index


def alike(index: Any, query: QueryFile | None) -> list[str]:
    """Ids of models that may be a mesh, however it is turned and scaled; [] for queries of other kinds."""
    if query is None or query.kind != 'mesh':
        return []
    try:
        return index.alike(read_signature(query.path)[1])
    except DataError:  # the index's inputs could be made of it, which is enough to be answered
        return []


def align_answers(
    index: Any,
    queries: Sequence[QueryFile | None],
    found: Sequence[Found],
    *,
    also: Sequence[Sequence[str]],
    axis_of: Callable[[QueryFile], str],
    pictures: bool,
) -> tuple[list[Found], list[Mapping[str, np.ndarray]]]:
    """Lays the models that were found for meshes on them; says on stderr which files could not be read again.

    Args:
      index: that was searched.
      queries: in the order of the answers; others than meshes keep theirs.
      found: of each query.
      also: of each query what `alike` gives.
      axis_of: axis that points up in a mesh, for its picture.
      pictures: also make pictures of where they differ.

    Returns:
      what was found, nearest first; and of each query the pictures by id.
    """
    answers, drawn = [], []
    for query, (hits, complete), ids in zip(queries, found, also, strict=True):
        if query is None or query.kind != 'mesh' or not hits:
            answers.append((hits, complete))
            drawn.append({})
            continue
        laid = aligned_hits(index, hits, query.path, also=ids, up_axis=axis_of(query), pictures=pictures, progress=True)
        if laid.problems:
            print(printable_lines(f'not laid on {query.path}: {DataError(laid.problems)}'), file=sys.stderr)
        answers.append((laid.hits, complete))
        drawn.append(laid.pictures)
    return answers, drawn
