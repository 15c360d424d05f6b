"""Search that scores only the shapes whose upper bound reaches the K-th best score.

Letters: Q queries, G gallery shapes, N shapes at a time, D embedding.

All bounds are computed first (`bounds.GalleryBounds`). Then, for each query: the shapes with the best bounds are
scored, the K-th best score so far sets the limit, the others are scored in order of their bounds, and the search stops
at the first bound below the limit. The limit leaves room for every rounding (`similarity.key_error`; bounds include
theirs), so that no shape of the exact result is lost. Queries are shared among threads.
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

_BOUND_ELEMENTS = 2**25  # bounds, or products of a block, held at a time
_ASKED = 2  # queries that tell what the bounds are worth
_GROUP = 64  # shapes of which the one with the best bound may be scored first
_LEAST = 256  # shapes that are scored first
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

    None where the bounds of the first queries leave more than the share `most` of the shapes. Other arguments as for
    `brute.brute_candidates`.
    """
    search, found = _Search(gallery, bounds, allowed, k, devices), []
    step = max(_ASKED, _BOUND_ELEMENTS // max(len(allowed), bounds.block_rows))
    while len(found) < len(queries):
        asked = most < 1 and not found
        part = slice(len(found), len(found) + (_ASKED if asked else step))
        begun = search.begin(*_some(queries, projected, part))
        if asked and np.mean([one.share() for one in begun]) > most:
            return None
        found += spread(_Begun.finish, begun)
    return [near for near, _ in found], np.array([scored for _, scored in found], np.int64)


def _some(queries: np.ndarray, projected: np.ndarray | None, part: slice) -> tuple[np.ndarray, np.ndarray | None]:
    return queries[part], None if projected is None else projected[part]


class _Search:
    """Of the k best among the allowed shapes of a gallery."""

    def __init__(
        self, gallery: SearchGallery, bounds: GalleryBounds, allowed: np.ndarray, k: int, devices: Sequence[jax.Device]
    ):
        self._gallery, self._bounds, self._allowed, self._k, self._devices = gallery, bounds, allowed, k, devices
        self._count = int(np.count_nonzero(allowed))
        self._spaces: SimpleQueue = SimpleQueue()  # memory that is new each time would cost more than the products
        for _ in range(threads()):
            self._spaces.put(aligned_empty((_SPACE, *gallery.rows.shape[1:]), gallery.rows.dtype))

    def begin(self, queries: np.ndarray, projected: np.ndarray | None) -> list['_Begun']:
        """The search of each query as far as its first bounds, and the keys of the shapes with the best of them."""
        upper = self._bounds.upper(queries, self._devices)
        centred = queries - self._gallery.centre[None]
        error = key_error(self._gallery.similarity, centred, projected, self._gallery.radius, self._gallery.views)

        def one(row: int) -> _Begun:
            query = _some(queries, projected, slice(row, row + 1))
            second = self._bounds.second(*query, self._devices[0])
            every = self._count == len(self._allowed)
            bounds = upper[row] if every else np.where(self._allowed, upper[row], -np.inf)
            return _Begun(self._scorer(*query), second, bounds, self._k, 2 * error[row], self._count)

        return spread(one, range(len(queries)))

    def _scorer(self, query: np.ndarray, projected: np.ndarray | None) -> Keys:
        """What gives fast keys, float64 [N], of a query [1, D] and the shapes of any indices [N]."""
        sides = jax.device_put((query, projected, self._gallery.centre), self._devices[0])
        return in_parts(partial(self._keys, sides), _SPACE)

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


class _Begun:
    """The search of one query.

    Args:
      scorer, second: its keys, and its second bounds.
      upper: [G] first bounds, -inf of shapes that are not allowed.
      k: results wanted, at most as many as are allowed.
      margin: how much lower than the K-th best key a candidate's may be.
      shapes: how many are allowed.
    """

    def __init__(self, scorer: Keys, second: Keys, upper: np.ndarray, k: int, margin: float, shapes: int):
        self._scorer, self._second, self._k, self._margin, self._shapes = scorer, second, k, margin, shapes
        first = _best_of_groups(upper, max(_LEAST, 2 * k))
        self._places, self._keys = [first], [scorer(first)]
        self._limit = _kth(self._keys[0], k) - margin
        left = np.flatnonzero(upper >= self._limit)
        self._rest = np.delete(left, np.searchsorted(left, first[upper[first] >= self._limit]))

    def share(self) -> float:
        """About what share of the allowed shapes is left to score, with what it costs to find out."""
        some = self._rest[:: max(1, len(self._rest) // _SPACE)]
        scored = np.mean(self._second(some) >= self._limit) if len(some) else 0.0
        return len(self._rest) / self._shapes * (_SECOND + scored)

    def finish(self) -> tuple[np.ndarray, int]:
        """Candidates, and how many shapes were scored."""
        tighter = self._second(self._rest)
        left = np.flatnonzero(tighter >= self._limit)
        order = left[np.argsort(-tighter[left])]
        rest, tighter = self._rest[order], tighter[order]
        start, size = 0, _FIRST
        while start < len(rest):
            chunk = rest[start : start + size][tighter[start : start + size] >= self._limit]
            if not len(chunk):
                break
            self._places.append(chunk)
            self._keys.append(self._scorer(chunk))
            self._limit = max(self._limit, _kth(np.concatenate(self._keys), self._k) - self._margin)
            start, size = start + size, min(2 * size, _MOST)
        places, keys = np.concatenate(self._places), np.concatenate(self._keys)
        return places[keys >= self._limit], len(places)


def _best_of_groups(upper: np.ndarray, count: int) -> np.ndarray:
    """Places of at least `count` good bounds: the best ones of the groups whose best are best; fewer if the rest is
    -inf.
    """
    groups = len(upper) // _GROUP
    if groups >= 2 * count:
        grouped = upper[: groups * _GROUP].reshape(_GROUP, groups)
        highest = grouped.max(axis=0)
        chosen = np.argpartition(-highest, count - 1)[:count]
        if highest[chosen].min() > -np.inf:
            return grouped[:, chosen].argmax(axis=0) * groups + chosen
    chosen = np.argpartition(-upper, min(count, len(upper)) - 1)[:count]
    return chosen[upper[chosen] > -np.inf]


def _kth(keys: np.ndarray, k: int) -> float:
    return -np.partition(-keys, k - 1)[k - 1]
