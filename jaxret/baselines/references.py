"""Photos that find shapes without training: by the views of shapes, and by references, photos of known shapes.

Letters: Q queries, R references, G shapes, V views, F features, D embedding.
"""

import numpy as np
from scipy.special import log_softmax

BEST_VIEWS = 2
TEMPERATURE = 0.05
SMOOTHING = 0.01


def standardized(features: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Features [..., F] of unit length, after they lost the mean and spread of their own domain's [..., F].

    Photos and grey views differ more in these than in what they show.
    """
    rows = of.reshape(-1, of.shape[-1])
    centred = (features - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-3)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-12)


def view_scores(queries: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Mean cosine of each shape's best views, [Q, G], of unit vectors [Q, F] and [G, V, F]."""
    cosines = np.einsum('qf,gvf->qgv', queries, views, optimize=True)
    best = min(BEST_VIEWS, cosines.shape[-1])
    return np.partition(cosines, -best, axis=-1)[..., -best:].mean(axis=-1)


def reference_probabilities(
    queries: np.ndarray, references: np.ndarray, owner: np.ndarray, shapes: int, *, temperature: float = TEMPERATURE
) -> np.ndarray:
    """Chance of each shape by soft nearest neighbours among references, [Q, G], rows of sum 1.

    p(g | q) is proportional to the sum over the references r of g of exp(q . r / temperature).

    Args:
      queries: unit vectors [Q, D].
      references: unit vectors [R, D], at least one.
      owner: int [R], the shape of each.
      shapes: G.
      temperature: above 0.

    Source: Goldberger et al., NIPS 2004, Eq. 1 (there of squared distances).
    """
    logits = queries @ references.T / temperature
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    sums = np.zeros((shapes, len(queries)))
    np.add.at(sums, owner, weights.T)
    return (sums / sums.sum(axis=0)).T


def pooled_scores(scores: np.ndarray, probabilities: np.ndarray, *, weight: float, temperature: float) -> np.ndarray:
    """(1 - weight) log softmax(scores / temperature) + weight log p, [Q, G]: what both the views and references say.

    p is `probabilities`, of which a share of `SMOOTHING` is spread over all shapes: those without references stay
    possible.

    Args:
      scores: [Q, G] of the views.
      probabilities: [Q, G] of the references.
      weight: of the references, in [0, 1].
      temperature: of the scores, above 0.

    Source: logarithmic opinion pool, Genest and Zidek, Statistical Science 1986.
    """
    of_references = np.log((1 - SMOOTHING) * probabilities + SMOOTHING / probabilities.shape[1])
    return (1 - weight) * log_softmax(scores / temperature, axis=1) + weight * of_references
