"""Features of two domains brought together without training: correlation alignment and JGSA; MEDA is in `meda`.

Letters: N source items with labels, M target items without, D features, C classes, k dimensions of a subspace.

Every method is fitted on labelled source features and unlabelled target features and gives one map a domain, which also
takes items that it was not fitted on. Features of a domain are first standardised by that domain's own mean and
deviation, so that nothing depends on the offset and scale of a feature in either domain.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from sklearn.metrics import pairwise_distances_argmin

from jaxret.errors import refused

MAX_ITEMS = 20_000  # of a domain; more are sampled
MAX_DIMENSION = 2048  # of the features: eigenvalue problems of twice that size


@dataclass(frozen=True)
class Alignment:
    """Maps of the features [n, D] of either domain to common features [n, d]."""

    source: Callable[[np.ndarray], np.ndarray]
    target: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Standard:
    """(x - mean) / deviation of one domain's features; features that are constant there only lose their mean."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray) -> 'Standard':
        """Mean and deviation of features [n, D]."""
        deviation = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(deviation > 1e-12 * np.abs(features).max(initial=0), deviation, 1.0))

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return (np.asarray(features, np.float64) - self.mean) / self.deviation


def coral(
    source: np.ndarray,
    source_labels: np.ndarray,
    target: np.ndarray,
    *,
    regularization: float = 1.0,
    max_items: int = MAX_ITEMS,
    seed: int = 0,
) -> Alignment:
    """Correlation alignment: source features are whitened and given the target's covariance.

    x' = x (C_S + r I)^(-1/2) (C_T + r I)^(1/2) of standardised features; target features are only standardised.

    Args:
      source: [N, D].
      source_labels: [N], not used (the same call as of the other methods).
      target: [M, D].
      regularization: r.
      max_items, seed: more items of a domain than that are sampled.

    Raises:
      DataError: as `checked_domains`.

    Source: Sun, Feng, Saenko, "Return of frustratingly easy domain adaptation", AAAI 2016.
    """
    source, _, target = checked_domains(source, source_labels, target, max_items=max_items, seed=seed)
    standards = Standard.of(source), Standard.of(target)
    covariances = [
        np.cov(own(x), rowvar=False, ddof=1).reshape(2 * (x.shape[1],)) + regularization * np.eye(x.shape[1])
        for own, x in zip(standards, (source, target), strict=True)
    ]
    change = _power(covariances[0], -0.5) @ _power(covariances[1], 0.5)
    return Alignment(lambda x: standards[0](x) @ change, standards[1])


def jgsa(
    source: np.ndarray,
    source_labels: np.ndarray,
    target: np.ndarray,
    *,
    dimension: int = 30,
    iterations: int = 10,
    divergence: float = 1.0,
    target_variance: float = 1.0,
    discrimination: float = 0.1,
    max_items: int = MAX_ITEMS,
    seed: int = 0,
) -> Alignment:
    """Joint geometrical and statistical alignment: two subspaces A, B, from one generalised eigenvalue problem.

    The columns of W = [A; B] are the k largest solutions of S_max w = s S_min w with
      S_max = diag(b S_between, m S_target),
      S_min = T + [a I + b S_within, -a I; -a I, (a + m) I],
    a divergence, b discrimination, m target_variance; T sums, over all items and over each class, the outer product of
    the difference of the domains' means. Target classes come from the nearest source item, first of the features, then
    of the projections, `iterations` times. A class without target items has no term. As in the public code, features
    are standardised and scaled to length 1, scatter matrices are sums over items, the difference of all items counts C
    times, and T is divided by the Frobenius norm of that term's matrix, C (1/N + 1/M).

    Args:
      source: [N, D].
      source_labels: [N] class ids.
      target: [M, D].
      dimension: k; at most 2D.
      iterations: at least 1.
      divergence, target_variance, discrimination: a, m, b.
      max_items, seed: more items of a domain than that are sampled.

    Raises:
      DataError: as `checked_domains`.

    Source: Zhang, Li, Ogunbona, "Joint geometrical and statistical alignment for visual domain adaptation", CVPR 2017.
    """
    source, labels, target = checked_domains(source, source_labels, target, max_items=max_items, seed=seed)
    standards = Standard.of(source), Standard.of(target)
    x, y = unit_rows(standards[0](source)), unit_rows(standards[1](target))
    size, classes = x.shape[1], np.unique(labels)
    within, between = _scatter(x, labels)
    zero, identity = np.zeros((size, size)), np.eye(size)
    spread = (y - y.mean(axis=0)).T @ (y - y.mean(axis=0))
    largest = np.block([[discrimination * between, zero], [zero, target_variance * spread]])
    fixed = np.block(
        [
            [divergence * identity + discrimination * within, -divergence * identity],
            [-divergence * identity, (divergence + target_variance) * identity],
        ]
    )
    k = min(dimension, 2 * size)
    a, b = identity, identity
    for _ in range(iterations):
        found = nearest_labels(x @ a, labels, y @ b)
        means = mean_differences(x, labels, y, found)
        means[:, 0] *= np.sqrt(len(classes))
        smallest = fixed + means @ means.T / (len(classes) * (1 / len(x) + 1 / len(y)))
        _, vectors = linalg.eigh(largest, smallest, subset_by_index=(2 * size - k, 2 * size - 1))
        a, b = np.ascontiguousarray(vectors[:size, ::-1]), np.ascontiguousarray(vectors[size:, ::-1])
    return Alignment(lambda x: unit_rows(standards[0](x)) @ a, lambda y: unit_rows(standards[1](y)) @ b)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows [n, D] scaled to length 1; zero ones stay zero."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(length > 0, length, 1.0)


def nearest_labels(source: np.ndarray, labels: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Label of the nearest source item (Euclidean; the first of equals) of every target item: [M]."""
    return labels[pairwise_distances_argmin(target, source)]


def mean_differences(
    source: np.ndarray, labels: np.ndarray, target: np.ndarray, target_labels: np.ndarray
) -> np.ndarray:
    """[2D, 1 + c]: (source mean; -target mean) of all items, then of each of the c classes that both domains have."""
    both = [c for c in np.unique(labels) if np.any(target_labels == c)]
    pairs = [(source, target), *((source[labels == c], target[target_labels == c]) for c in both)]
    return np.stack([np.concatenate([s.mean(axis=0), -t.mean(axis=0)]) for s, t in pairs], axis=1)


def checked_domains(
    source: np.ndarray, labels: np.ndarray, target: np.ndarray, *, max_items: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features in float64 and labels, at most `max_items` of each domain, drawn by the seed where there are more.

    Raises:
      DataError: fewer than two items in a domain, arrays that do not fit together, more than 2,048 features, values
        that are not finite.
    """
    source, target, labels = np.asarray(source, np.float64), np.asarray(target, np.float64), np.asarray(labels)
    for name, x in (('source', source), ('target', target)):
        if x.ndim != 2 or len(x) < 2 or not x.shape[1]:
            raise refused(f'{name} features', f'shape {x.shape}', 'give [n, D] of at least two items')
        if not np.isfinite(x).all():
            raise refused(f'{name} features', 'values that are not finite', 'check the training')
    if source.shape[1] != target.shape[1]:
        raise refused('features', f'lengths {source.shape[1]} and {target.shape[1]}', 'give features of one length')
    if source.shape[1] > MAX_DIMENSION:
        raise refused('features', f'length {source.shape[1]}', f'give at most {MAX_DIMENSION}')
    if labels.shape != source.shape[:1]:
        raise refused('source labels', f'shape {labels.shape}', f'give one class id for each of {len(source)} items')
    rng = np.random.default_rng(seed)
    kept = [
        np.sort(rng.choice(len(x), max_items, replace=False)) if len(x) > max_items else slice(None)
        for x in (source, target)
    ]
    return source[kept[0]], labels[kept[0]], target[kept[1]]


def _scatter(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scatter within and between classes, sums over items: two [D, D]."""
    within, between = np.zeros((2, x.shape[1], x.shape[1]))
    for c in np.unique(labels):
        mine = x[labels == c]
        apart, middle = mine - mine.mean(axis=0), mine.mean(axis=0) - x.mean(axis=0)
        within += apart.T @ apart
        between += len(mine) * np.outer(middle, middle)
    return within, between


def _power(matrix: np.ndarray, exponent: float) -> np.ndarray:
    """Power of a symmetric positive definite matrix."""
    values, vectors = linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T
