"""Which shapes of a collection are alike: few pairs by their signatures, compared closely, joined to groups.

Letters: N shapes, P pairs.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from jaxret.errors import DataError, Problem
from jaxret.geometry.signatures import Signatures
from jaxret.preprocessing.shape_pairs import BYTES, MESH, SHAPE, Likeness, compare_files
from jaxret.workers import map_parallel, reading_memory

_NEIGHBORS = 8  # of each shape, that are compared closely
# Near shapes may differ by more than equal ones: so far, of so many neighbors, so many pairs in all.
_FAR, _FAR_NEIGHBORS, _FAR_PAIRS = 2.2, 2, 500
_AT_ONCE = 3  # pairs of a group in one round: it may be joined with another by any of them
Link = tuple[int, int, Likeness]  # reference, shape, how the shape is like the reference


class Joined:
    """Disjoint sets of numbers."""

    def __init__(self, count: int):
        self._parents = list(range(count))

    def root(self, number: int) -> int:
        """The least number of its set."""
        while self._parents[number] != number:
            self._parents[number] = number = self._parents[self._parents[number]]
        return number

    def join(self, one: int, other: int) -> None:
        """Makes one set of two."""
        one, other = sorted((self.root(one), self.root(other)))
        self._parents[other] = one


def candidate_pairs(signatures: Signatures, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of shapes that may be alike, the most alike first.

    Args:
      signatures: of all shapes.
      numbers: of the shapes that count.
    """
    if len(numbers) < 2:
        return []
    rows = np.asarray(numbers)
    points = signatures.shapes[rows]
    count = min(_NEIGHBORS + 1, len(rows))
    distances, found = cKDTree(points).query(points, k=count, p=np.inf, distance_upper_bound=_FAR)
    distances, found = distances.reshape(len(rows), count), found.reshape(len(rows), count)
    # each is the nearest of itself, or one equal to it is
    one, place = np.nonzero((distances <= 1) | ((np.arange(count) <= _FAR_NEIGHBORS) & np.isfinite(distances)))
    pairs: dict[tuple[int, int], float] = {}
    for a, b, distance in zip(rows[one], rows[found[one, place]], distances[one, place], strict=True):
        if a != b:
            pairs[int(min(a, b)), int(max(a, b))] = float(distance)
    order = sorted(pairs, key=pairs.get)
    alike = sum(distance <= 1 for distance in pairs.values())
    return order[: alike + _FAR_PAIRS]


def find_links(
    paths: Sequence[Path],
    checksums: Sequence[str],
    signatures: Signatures,
    *,
    processes: int | None = None,
    progress: bool = True,
    compare: Callable[[tuple[Path, Path]], Likeness | None] = compare_files,
) -> tuple[list[Link], list[Problem]]:
    """Compares shapes, those of equal content without reading them again.

    A shape that is the same as another is compared with no further one of its group, and groups that differ are not
    compared again: what is the same is taken as the same as all that its group is the same as.

    Args:
      paths: of N model files.
      checksums: of their contents, [N].
      signatures: of their meshes.
      processes: that read models; None takes one a core.
      progress: show progress bars.
      compare: two files, see `compare_files`.

    Returns:
      Links, and what is wrong with files that could not be read again.
    """
    links = _equal(checksums, BYTES)
    first = sorted(set(range(len(paths))) - {other for _, other, _ in links})
    equal = _equal([signatures.digests[number] for number in first], MESH)
    links += [(first[one], first[other], like) for one, other, like in equal]
    first = sorted(set(first) - {first[other] for _, other, _ in equal})
    joined, apart, problems, compared = Joined(len(paths)), [], {}, -1
    while compared:  # again for one of each group: many that are equal hide what is near them
        waiting = candidate_pairs(signatures, sorted({joined.root(number) for number in first}))
        compared = 0
        while waiting:
            chosen, waiting = _round(waiting, joined, apart)
            compared += len(chosen)
            results = map_parallel(
                compare,
                [(paths[one], paths[other]) for one, other in chosen],
                processes=processes,
                serial_below=4,
                memory=reading_memory(processes),
                progress='Comparing' if progress else None,
            )
            for number, like in results:
                if isinstance(like, DataError):
                    problems.update({str(problem): problem for problem in like.problems})
                    like = None
                if like is not None:
                    links.append((*chosen[number], like))
                if like is not None and like.kind in (MESH, SHAPE):
                    joined.join(*chosen[number])
                else:
                    apart.append(chosen[number])
    return links, list(problems.values())


def _equal(keys: Sequence, kind: str) -> list[Link]:
    """Links of what has the same key, to the first that has it."""
    first: dict = {}
    return [
        (first[key], number, Likeness(kind))
        for number, key in enumerate(keys)
        if first.setdefault(key, number) != number
    ]


def _round(
    waiting: list[tuple[int, int]], joined: Joined, apart: Sequence[tuple[int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """The pairs to compare now, and those that may have to be compared later."""
    known = {frozenset(map(joined.root, pair)) for pair in apart}
    chosen, later, busy = [], [], Counter()
    for pair in waiting:
        roots = frozenset(map(joined.root, pair))
        if len(roots) == 1 or roots in known:
            continue
        if any(busy[root] >= _AT_ONCE for root in roots):
            later.append(pair)
            continue
        known.add(roots)
        busy.update(roots)
        chosen.append(pair)
    return chosen, later
