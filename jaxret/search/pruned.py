"""Search that scores only the shapes whose upper bound reaches the K-th best score.

Letters: Q queries, G gallery shapes, N shapes at a time, D embedding.

All bounds are computed first (`bounds.GalleryBounds`). Then, for each query: the shapes with the best bounds are
scored, the K-th best score so far sets the limit, the others are scored in order of their bounds, and the search stops
at the first bound below the limit. The limit leaves room for every rounding (`similarity.key_error`; bounds include
theirs), so that no shape of the exact result is lost. Queries, or the shapes of a single one, are shared among threads.
"""

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue

import jax
import numpy as np

from jaxret.search.blocks import aligned_empty, power_of_two
from jaxret.search.bounds import GalleryBounds
from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import fast_keys, key_error
from jaxret.search.threads import in_parts, spread, threads

_BOUND_ELEMENTS = 2**25  # bounds held at a time
_SAMPLED = 8  # one block of so many tells what the bounds are worth,
_ASKED = 2  # with so many of the queries
_GROUP = 64  # neighbours of which the one with the best bound may be scored first
_LEAST = 64  # shapes that are scored first
_FIRST, _MOST = 256, 2048  # shapes scored at a time: few first, as each score may raise the limit
_SPACE = 1024  # shapes gathered at a time by a thread
_SECOND = 0.3  # what second bounds cost of a score
Keys = Callable[[np.ndarray], np.ndarray]  # numbers of the shapes of these indices


def pruned_candidates(
    gallery: SearchGallery,
    bounds: GalleryBounds,
    queries: np.ndarray,
    projected: np.ndarray | None,
    k: int,
    allowed: np.ndarray,
    *,
    devices: Sequence[jax.Device],
    most: float = 1.0,
) -> tuple[list[np.ndarray], np.ndarray] | None:
    """Indices of all shapes that can be among the k best of each query, and how many were scored for it, [Q].

    None where a sample of the bounds leaves more than the share `most` of the shapes. Other arguments as for
    `brute.brute_candidates`.
    """
    search = _Search(gallery, bounds, allowed, k, devices)
    if most < 1 and search.left(*_some(queries, projected, slice(_ASKED))) > most:
        return None
    step = max(1, _BOUND_ELEMENTS // len(allowed))
    parts = [search.run(*_some(queries, projected, slice(n, n + step))) for n in range(0, len(queries), step)]
    found = [one for part in parts for one in part]
    return [near for near, _ in found], np.array([scored for _, scored in found], np.int64)


def _some(queries: np.ndarray, projected: np.ndarray | None, part: slice) -> tuple[np.ndarray, np.ndarray | None]:
    return queries[part], None if projected is None else projected[part]


class _Search:
    """Of the k best among the allowed shapes of a gallery."""

    def __init__(
        self, gallery: SearchGallery, bounds: GalleryBounds, allowed: np.ndarray, k: int, devices: Sequence[jax.Device]
    ):
        self._gallery, self._bounds, self._allowed, self._k, self._devices = gallery, bounds, allowed, k, devices
        self._hidden = None if allowed.all() else ~allowed
        self._spaces: SimpleQueue = SimpleQueue()  # memory that is new each time would cost more than the products
        for _ in range(threads()):
            self._spaces.put(aligned_empty((_SPACE, *gallery.rows.shape[1:]), gallery.rows.dtype))

    def left(self, queries: np.ndarray, projected: np.ndarray | None) -> float:
        """About what share of the shapes the bounds leave, by some of them."""
        numbers = range(self._bounds.blocks)[::_SAMPLED]
        size = self._bounds.shapes
        ids = np.concatenate([np.arange(n * size, min((n + 1) * size, len(self._gallery))) for n in numbers])
        places = np.flatnonzero(self._allowed[ids])
        if not len(places):
            return 1.0
        upper = self._bounds.upper(queries, numbers, self._devices).reshape(len(queries), -1)[:, places]
        k = max(1, round(self._k * len(places) / np.count_nonzero(self._allowed)))
        shares = []
        for row, bound in enumerate(upper):
            first = _best_of_groups(bound, max(_LEAST, 2 * k))
            limit = _kth(self._scorer(queries, projected, row)(ids[places[first]]), k)
            left = np.flatnonzero(bound >= limit)
            some = left[:: max(1, len(left) // _SPACE)]
            scored = np.mean(self._second(queries, projected, row)(ids[places[some]]) >= limit) if len(some) else 0.0
            shares.append(len(left) / len(places) * (_SECOND + scored))
        return float(np.mean(shares))

    def run(self, queries: np.ndarray, projected: np.ndarray | None) -> list[tuple[np.ndarray, int]]:
        """Of each query its candidates, and how many shapes were scored."""
        upper = self._bounds.upper(queries, range(self._bounds.blocks), self._devices)
        upper = upper.reshape(len(queries), -1)[:, : len(self._gallery)]
        if self._hidden is not None:
            upper[:, self._hidden] = -np.inf
        centred = queries - self._gallery.centre[None]
        error = key_error(self._gallery.similarity, centred, projected, self._gallery.radius, self._gallery.views)

        def one(row: int) -> tuple[np.ndarray, int]:
            scorer, second = self._scorer(queries, projected, row), self._second(queries, projected, row)
            return _search_one(scorer, second, upper[row], self._k, 2 * error[row])

        return spread(one, range(len(queries)))

    def _scorer(self, queries: np.ndarray, projected: np.ndarray | None, row: int) -> Keys:
        """What gives fast keys, float64 [N], of a query and the shapes of any indices [N]."""
        query, side = _some(queries, projected, slice(row, row + 1))
        sides = jax.device_put((query, side, self._gallery.centre), self._devices[0])
        return in_parts(partial(self._keys, sides), _SPACE, self._pieces(queries))

    def _second(self, queries: np.ndarray, projected: np.ndarray | None, row: int) -> Keys:
        """What gives second bounds, as `_scorer`."""
        one = _some(queries, projected, slice(row, row + 1))
        return self._bounds.second(*one, self._devices[0], pieces=self._pieces(queries))

    @staticmethod
    def _pieces(queries: np.ndarray) -> int:
        return threads() if len(queries) == 1 else 1  # several queries share the threads among them

    def _keys(self, sides: tuple, ids: np.ndarray) -> np.ndarray:
        space = self._spaces.get()
        try:
            np.take(self._gallery.rows, ids, axis=0, out=space[: len(ids)], mode='clip')  # 'raise' copies once more
            rows = jax.device_put(space[: power_of_two(max(_FIRST, len(ids)))], self._devices[0])
            keys = _keys(self._gallery.similarity, *sides, rows)
            return np.asarray(keys)[0, : len(ids)].astype(np.float64)
        finally:
            self._spaces.put(space)


@partial(jax.jit, static_argnums=0)
def _keys(kind: str, query: jax.Array, projected: jax.Array | None, centre: jax.Array, rows: jax.Array) -> jax.Array:
    return fast_keys(kind, query, projected, rows, centre)


def _search_one(scorer: Keys, second: Keys, upper: np.ndarray, k: int, margin: float) -> tuple[np.ndarray, int]:
    """Candidates of one query, and how many shapes were scored.

    Args:
      scorer, second: its keys, and its second bounds.
      upper: [G] first bounds, -inf of shapes that are not allowed; changed.
      k: results wanted, at most as many as are allowed.
      margin: how much lower than the K-th best key a candidate's may be.
    """
    first = _best_of_groups(upper, max(_LEAST, 2 * k))
    places, keys = [first], [scorer(first)]
    limit = _kth(keys[0], k) - margin
    upper[first] = -np.inf
    rest = np.flatnonzero(upper >= limit)
    tighter = second(rest)
    order = np.argsort(-tighter)
    rest, tighter = rest[order], tighter[order]
    start, size = 0, _FIRST
    while start < len(rest):
        chunk = rest[start : start + size][tighter[start : start + size] >= limit]
        if not len(chunk):
            break
        places.append(chunk)
        keys.append(scorer(chunk))
        limit = max(limit, _kth(np.concatenate(keys), k) - margin)
        start, size = start + size, min(2 * size, _MOST)
    places, keys = np.concatenate(places), np.concatenate(keys)
    return places[keys >= limit], len(places)


def _best_of_groups(upper: np.ndarray, count: int) -> np.ndarray:
    """Places of at least `count` good bounds: the best ones of the groups whose best are best; fewer if the rest is
    -inf.
    """
    groups = len(upper) // _GROUP
    if groups >= 2 * count:
        grouped = upper[: groups * _GROUP].reshape(groups, _GROUP)
        highest = grouped.max(axis=1)
        chosen = np.argpartition(-highest, count - 1)[:count]
        if highest[chosen].min() > -np.inf:
            return chosen * _GROUP + grouped[chosen].argmax(axis=1)
    chosen = np.argpartition(-upper, min(count, len(upper)) - 1)[:count]
    return chosen[upper[chosen] > -np.inf]


def _kth(keys: np.ndarray, k: int) -> float:
    return -np.partition(-keys, k - 1)[k - 1]
