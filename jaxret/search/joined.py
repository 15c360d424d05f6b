"""One query of two: a photo and a text that together say what is wanted.

Scores of texts lie closer together than those of photos, so that their plain mean would hardly depend on the text. Each
is measured by how far it spreads over the gallery. Letters: Q queries, G gallery shapes, N shapes of the sample, V
views, D embedding.
"""

import numpy as np

from jaxret.search.gallery import SearchGallery
from jaxret.search.similarity import exact_scores

_SAMPLE = 64  # shapes whose scores tell the spread


def joined_queries(gallery: SearchGallery, first: np.ndarray, second: np.ndarray, *, weight: float) -> np.ndarray:
    """(1 - weight) first + weight spread(first) / spread(second) second, of each pair of queries.

    The spread of a query is the standard deviation of its scores over evenly spaced shapes of the gallery; where one
    has none, both count as they are.

    Args:
      gallery: whose similarity is 'best_views'.
      first: float32 [Q, D]; its scores keep their scale.
      second: float32 [Q, D].
      weight: of the second, from 0 to 1.

    Returns:
      float32 [Q, D].
    """
    ids = np.linspace(0, len(gallery) - 1, min(_SAMPLE, len(gallery))).astype(int)
    joined = []
    for pair in zip(first, second, strict=True):
        one, other = (exact_scores(gallery.similarity, query, None, gallery.embeddings, ids)[0].std() for query in pair)
        ratio = one / other if one > 0 and other > 0 else 1.0
        joined.append((1 - weight) * pair[0] + weight * ratio * pair[1])
    return np.array(joined, np.float32)
