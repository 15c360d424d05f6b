"""Exact search: the k shapes of a gallery that score best for each query.

Letters: Q queries, G gallery shapes, V views, D embedding, K results.

    gallery = SearchGallery(embeddings, 'attention')
    found = search(gallery, queries, 10, projected=projected)

Scores are those of `similarity.exact_scores`, equal scores are ordered by index, and every method, block size and
number of devices gives the same result, bit by bit. Work is done in blocks, so that memory does not grow with the
gallery beyond its own arrays, which may be mapped from files.

Who answers many queries calls `bounds.prepare(gallery)` once; 'auto' then prunes where the bounds of a query or two say
that it pays: it gains most for single queries, as a pass of brute force over the rows costs the same for one and for
many. On accelerators 'auto' is brute force.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from jaxret.errors import ConfigError, refused
from jaxret.search.blocks import on_host
from jaxret.search.bounds import prepare
from jaxret.search.brute import brute_candidates
from jaxret.search.gallery import SearchGallery
from jaxret.search.pruned import pruned_candidates
from jaxret.search.similarity import unit64

METHODS = ('auto', 'brute', 'pruned')
_LONGEST = 1e15  # as for the gallery
# Microseconds of a core for a shape of 12 x 128 numbers: brute force reads it for all queries and multiplies for each;
# pruning does so with its codes, and gathers and scores what they leave.
_READ, _MULTIPLY, _READ_CODES, _MULTIPLY_CODES, _LEFT = 0.45, 0.09, 0.02, 0.01, 1.5
_CALL, _EACH = 2000.0, 1000.0  # what pruning takes more for a call, and for each query
_MEASURED_NUMBERS = 12 * 128
_SEARCHES = 25  # before pruning is tried again where its bounds left too much: trying costs up to a search


@dataclass(frozen=True)
class Found:
    """Results of a search, best first, ties by lower index. K is min(k, shapes allowed).

    Attributes:
      indices: int64 [Q, K], into the gallery.
      scores: float32 [Q, K], higher is closer.
      views: int64 [Q, K], the view that the attention weighted most (for pooled views the one that fits the query
        best); None for galleries without views.
      fully_scored: float64 [Q], share of the allowed shapes that were scored with all their numbers: 1 for brute
        force, 0 where none is allowed.
      poses: float64 [Q, K, 2], azimuth and elevation in degrees from where a photo sees each shape; None where that is
        no finer than `views`.
    """

    indices: np.ndarray
    scores: np.ndarray
    views: np.ndarray | None
    fully_scored: np.ndarray
    poses: np.ndarray | None = None


def search(
    gallery: SearchGallery,
    queries: np.ndarray,
    k: int,
    *,
    projected: np.ndarray | None = None,
    candidates: np.ndarray | None = None,
    method: str = 'auto',
    block: int | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> Found:
    """The k best shapes of every query.

    Args:
      gallery: to search in.
      queries: float [Q, D], as the system embeds them.
      k: how many results; fewer where fewer shapes are allowed.
      projected: W q [Q, D], for 'attention' only.
      candidates: bool [G], which shapes are allowed; None allows all.
      method: 'brute', 'pruned' or 'auto'. The results are the same. Codes are always looked at one by one.
      block: shapes at a time on a device in brute force; None chooses. Bounds memory.
      devices: to share the work among; None takes all local ones.

    Raises:
      ConfigError: unknown method; k or block below 1; projected given or missing against the similarity.
      DataError: arrays of a wrong shape, or queries that are not finite.
    """
    _check_options(method, k, block)
    queries, projected = _checked_queries(gallery, queries, projected)
    allowed = _checked_candidates(gallery, candidates)
    total = int(np.count_nonzero(allowed))
    k = min(k, total)
    if not total or not len(queries):
        return _ranked(gallery, queries, projected, [np.zeros(0, np.int64)] * len(queries), k, np.zeros(len(queries)))
    devices = tuple(devices or jax.local_devices())
    fast = unit64(queries).astype(np.float32) if gallery.similarity == 'cosine' else queries
    part = (fast, projected, k, allowed)
    pruned = None
    if method == 'pruned' and not gallery.coded:
        pruned = pruned_candidates(gallery, prepare(gallery), *part, devices=devices)
    elif method == 'auto' and _may_prune(gallery, devices):
        most = _most_left(gallery, total, len(queries))
        if most > 0:
            pruned = pruned_candidates(gallery, gallery.bounds, *part, devices=devices, most=most)
            gallery.waits = _SEARCHES if pruned is None else 0
    if pruned is None:
        near, scored = brute_candidates(gallery, *part, devices=devices, block=block), np.full(len(queries), total)
    else:
        near, scored = pruned
    return _ranked(gallery, queries, projected, near, k, scored / total)


def _check_options(method: str, k: int, block: int | None) -> None:
    if method not in METHODS:
        raise ConfigError(f'search method {method!r} is unknown; choose one of {", ".join(METHODS)}')
    if k < 1 or (block is not None and block < 1):
        raise ConfigError(f'k = {k}, block = {block}: both must be at least 1')


def _checked_queries(
    gallery: SearchGallery, queries: np.ndarray, projected: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Both as float32, [Q, D]."""
    if (projected is None) == (gallery.similarity == 'attention'):
        raise ConfigError(
            f"projected queries belong to similarity 'attention' and to it alone; this gallery has "
            f'{gallery.similarity!r}'
        )
    queries = _checked('queries', queries, gallery.width)
    if projected is not None:
        projected = _checked('projected', projected, gallery.width)
        if len(projected) != len(queries):
            raise refused('projected', f'{len(projected)} rows', f'give one a query, {len(queries)}')
    return queries, projected


def _checked_candidates(gallery: SearchGallery, candidates: np.ndarray | None) -> np.ndarray:
    """Which shapes are allowed, bool [G]."""
    allowed = np.ones(len(gallery), bool) if candidates is None else np.asarray(candidates)
    if allowed.shape != (len(gallery),) or allowed.dtype != bool:
        raise refused('candidates', f'{allowed.dtype} {allowed.shape}', f'give booleans [{len(gallery)}]')
    return allowed


def _may_prune(gallery: SearchGallery, devices: Sequence[jax.Device]) -> bool:
    """Whether pruning may be tried; counts the searches until it may."""
    gallery.waits = max(0, gallery.waits - 1)
    return gallery.bounds is not None and on_host(devices) and not gallery.waits


def _most_left(gallery: SearchGallery, shapes: int, queries: int) -> float:
    """The share of so many allowed shapes that bounds may leave for pruning to take no longer than brute force."""
    scale = gallery.rows[:1].size / _MEASURED_NUMBERS
    brute = shapes * scale * (_READ + _MULTIPLY * queries)
    codes = len(gallery) * scale * (_READ_CODES + _MULTIPLY_CODES * queries) + _CALL + _EACH * queries
    return min(1.0, (brute - codes) / (shapes * scale * _LEFT * queries))


def _ranked(
    gallery: SearchGallery,
    queries: np.ndarray,
    projected: np.ndarray | None,
    near: list[np.ndarray],
    k: int,
    fully_scored: np.ndarray,
) -> Found:
    """The k best by exact score of those shapes that can be among them."""
    indices, scores = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)
    views = np.zeros((len(queries), k), np.int64)
    for row, ids in enumerate(near):
        ids = np.sort(ids)
        exact, view = gallery.score(queries[row], None if projected is None else projected[row], ids)
        order = np.argsort(-exact, kind='stable')[:k]
        indices[row], scores[row] = ids[order], exact[order]
        if view is not None:
            views[row] = view[order]
    return Found(indices, scores, views if gallery.embeddings.ndim == 3 else None, fully_scored)


def _checked(name: str, values: np.ndarray, width: int) -> np.ndarray:
    """Query embeddings as float32."""
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] != width or not np.issubdtype(values.dtype, np.floating):
        raise refused(name, f'{values.dtype} {values.shape}', f'give floats [Q, {width}]')
    lengths = np.linalg.norm(values.astype(np.float64), axis=1)
    if not (lengths <= _LONGEST).all():
        raise refused(
            f'{name}[{int(np.argmax(~(lengths <= _LONGEST)))}]',
            'not finite, or longer than 1e15',
            'embed this query again',
        )
    return np.ascontiguousarray(values, np.float32)
