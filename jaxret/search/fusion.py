"""Search by the views of shapes and by references, photos known to show them.

Letters: Q queries, G shapes, D embedding, N photos of one object, K results, S shapes that are looked at.

The score of a shape g for a query q is

    S_g = (1 - w) s_g / T_v + w e_g,

s_g the score of its views and e_g what references say (`references.reference_evidence`), 0 for a shape without. So
shapes without references are ordered by s_g: of them only the K best by views need be looked at.

Where the silhouette of a photo's object is known, s_g is the score of the views and, with a weight, that of the
silhouettes (`outlines`), which is worked out for the `RESCORED` best by views and for all shapes with references.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from jaxret.search.exact import Found, search
from jaxret.search.gallery import SearchGallery
from jaxret.search.outlines import Outlines
from jaxret.search.references import Evidence, mean_of_best
from jaxret.search.similarity import key_error

RESCORED = 1000  # shapes whose silhouettes are compared

_FIRST = 64  # shapes a photo that are looked at first, where several photos are one query


def fused_search(
    gallery: SearchGallery,
    queries: Sequence[np.ndarray],
    k: int,
    *,
    projected: Sequence[np.ndarray] | None = None,
    candidates: np.ndarray | None = None,
    evidence: Evidence | None = None,
    photos: Sequence[np.ndarray] | None = None,
    outlines: tuple[Outlines, Sequence[np.ndarray], float] | None = None,
    photo_share: float = 1.0,
) -> Found:
    """The k best shapes of every query, each one photo of an object or several, by what views and references say.

    s_g is the mean over a query's photos of the views' exact scores (`similarity.exact_scores`). Equal S_g are ordered
    by s_g, then by index. Where no allowed shape has a reference, scores are s_g.

    Args:
      gallery: to search in.
      queries: Q times float32 [N, D]; Q and N at least 1.
      k: how many results; fewer where fewer shapes are allowed.
      projected: W q, as `queries`, for 'attention' only.
      candidates: bool [G], which shapes are allowed; None allows all.
      evidence: of the references; None without.
      photos: embeddings that are compared with references, as `queries`; None for the queries themselves.
      outlines: the gallery's, silhouettes uint8 [N, B] of every query's photos, and their weight; None without.
      photo_share: of the photos in what the queries say, in [0, 1]; w and the silhouettes' weight are multiplied by it.

    Returns:
      as `exact.search`, with float64 scores; a view is that which fits the first photo.

    Raises:
      ConfigError, DataError: as `exact.search`.
    """
    allowed = np.ones(len(gallery), bool) if candidates is None else candidates
    sides = [None] * len(queries) if projected is None else projected
    first = k if outlines is None else max(k, RESCORED)
    rows = []
    for number, (near, share) in enumerate(_best_by_views(gallery, queries, first, projected, allowed)):
        owned, known = np.zeros(0, np.int64), np.zeros(0)
        if evidence is not None:
            owned, known = evidence.scores((queries if photos is None else photos)[number], allowed)
        ids = np.union1d(near, owned)
        said = np.zeros(len(ids))
        said[np.searchsorted(ids, owned)] = known
        covered = np.zeros(len(ids))
        if outlines is not None:
            covered = photo_share * outlines[2] * outlines[0].scores(outlines[1][number], ids)
        weight, scale = 0.0, 1.0
        if len(owned):
            weight, scale = photo_share * evidence.fusion.weight, 1 / evidence.fusion.view_temperature
        also = (1 - weight) * scale * covered + weight * said  # beside the views
        kept = _can_be_best(gallery, queries[number], ids, k, (1 - weight) * scale, also)
        ids, covered, said = ids[kept], covered[kept], said[kept]
        scores, views = _mean_scores(gallery, queries[number], sides[number], ids)
        scores = scores + covered
        fused = (1 - weight) * (scores * scale) + weight * said if len(owned) else scores
        order = np.lexsort((ids, -scores, -fused))[:k]
        rows.append((ids[order], fused[order], None if views is None else views[order], share))
    indices, scores, views, shares = zip(*rows, strict=True)
    return Found(np.stack(indices), np.stack(scores), None if views[0] is None else np.stack(views), np.array(shares))


def _best_by_views(
    gallery: SearchGallery,
    queries: Sequence[np.ndarray],
    k: int,
    projected: Sequence[np.ndarray] | None,
    allowed: np.ndarray,
) -> Iterator[tuple[np.ndarray, float]]:
    """Of every query the k best shapes by views, and perhaps more; and the share of shapes that were scored for it."""
    if k >= np.count_nonzero(allowed):
        yield from [(np.flatnonzero(allowed), float(allowed.any()))] * len(queries)
        return
    if all(len(photos) == 1 for photos in queries):  # together, as one pass over the gallery serves them all
        sides = None if projected is None else np.concatenate(projected)
        found = search(gallery, np.concatenate(queries), k, projected=sides, candidates=allowed)
        yield from zip(found.indices, found.fully_scored, strict=True)
        return
    for number, photos in enumerate(queries):
        yield _best_of_several(gallery, photos, k, None if projected is None else projected[number], allowed)


def _best_of_several(
    gallery: SearchGallery, photos: np.ndarray, k: int, projected: np.ndarray | None, allowed: np.ndarray
) -> tuple[np.ndarray, float]:
    """The k best shapes by the mean score of the photos, and more; and the share of shapes that were scored.

    Of every photo its best shapes are taken, more and more, until no other can be among the k best: their mean is at
    most that of the photos' last scores.

    Source: the threshold algorithm of Fagin, Lotem and Naor, PODS 2001.
    """
    total, count = int(np.count_nonzero(allowed)), max(_FIRST, 4 * k)
    while True:
        found = search(gallery, photos, count, projected=projected, candidates=allowed)
        ids = np.unique(found.indices)
        if count >= total:
            return ids, 1.0
        scores, _ = _mean_scores(gallery, photos, projected, ids)
        if -np.partition(-scores, k - 1)[k - 1] > _mean(found.scores[:, -1]):
            return ids, float(found.fully_scored.max())
        count *= 4


def _mean_scores(
    gallery: SearchGallery, photos: np.ndarray, projected: np.ndarray | None, ids: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """Mean over photos [N, D] of the exact scores of shapes, float64 [S], and the views that fit the first photo."""
    rows = [
        gallery.score(photo, None if projected is None else projected[number], ids)
        for number, photo in enumerate(photos)
    ]
    return _mean(np.stack([scores for scores, _ in rows])), rows[0][1]


def _can_be_best(
    gallery: SearchGallery, photos: np.ndarray, ids: np.ndarray, k: int, scale: float, also: np.ndarray
) -> np.ndarray:
    """Places of the shapes [S] that can be among the k best by scale * score + also: few more than k as a rule.

    Exact scores of wide embeddings take long; those in float32, whose error is known, leave most shapes out.
    """
    if gallery.similarity != 'best_views' or len(ids) <= k:
        return np.arange(len(ids))
    products = gallery.products(photos, ids)
    keys = mean_of_best(products, np.float64).mean(axis=0)
    error = scale * key_error('best_views', photos, None, gallery.radius, gallery.views).max()
    keys = scale * keys + also
    return np.flatnonzero(keys >= -np.partition(-keys, k - 1)[k - 1] - 3 * error - 1e-9 * np.abs(keys).max())


def _mean(scores: np.ndarray) -> np.ndarray:
    """Mean of float32 [N, ...] in float64, summed in order, so that larger scores never have a smaller mean."""
    total = np.zeros(scores.shape[1:])
    for row in scores:
        total = total + row
    return total / len(scores)
