"""How sure the best of some scores is: logistic models of the score and of its lead. No JAX.

Source: Platt, Probabilistic outputs for support vector machines, 1999.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit


@dataclass(frozen=True)
class Certainty:
    """p = 1 / (1 + exp(-(a s + b (s - s') + c))), s the best score, s' the second best.

    Attributes:
      weights: a, b, c.
      area: under the ROC curve, on scores that the weights were not fitted to; 0.5 tells nothing.
    """

    weights: tuple[float, float, float]
    area: float

    def __call__(self, scores: Sequence[float]) -> float:
        """The chance by the scores of a query, best first; of one shape alone there is no lead."""
        return float(expit(np.dot(self.weights, [*lead(np.asarray(scores, np.float64)[None])[0], 1.0])))


def lead(scores: np.ndarray) -> np.ndarray:
    """Best score and its lead over the second, [Q, 2], of scores [Q, G] in any order; no lead where G is 1."""
    if scores.shape[1] == 1:
        return np.concatenate([scores, np.zeros_like(scores)], axis=1)
    best = -np.partition(-scores, 1, axis=1)[:, :2]
    return np.stack([best[:, 0], best[:, 0] - best[:, 1]], axis=1)


def learn_certainty(
    leads: np.ndarray, right: np.ndarray, groups: np.ndarray, *, weights: np.ndarray | None = None, folds: int = 5
) -> Certainty | None:
    """The model for what `lead` gives.

    Args:
      leads: [Q, 2].
      right: bool [Q].
      groups: int [Q]; queries of one group are never on both sides of a fold.
      weights: [Q], how much each counts; None for all alike.
      folds: how many; at least as many groups are needed.

    Returns:
      the model; None where all or none are right in some fold, or too few groups are there.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold

    if len(np.unique(groups)) < folds:
        return None
    model = LogisticRegression(solver='newton-cholesky')  # for three weights the quickest, and exact
    held_out, weights = np.zeros(len(right)), np.ones(len(right)) if weights is None else weights
    for known, rest in GroupKFold(folds).split(leads, right, groups):
        if len(np.unique(right[known])) < 2:
            return None
        held_out[rest] = model.fit(leads[known], right[known], weights[known]).predict_proba(leads[rest])[:, 1]
    model.fit(leads, right, weights)
    (first, second), rest = model.coef_[0], model.intercept_[0]
    return Certainty(
        (float(first), float(second), float(rest)), float(roc_auc_score(right, held_out, sample_weight=weights))
    )
