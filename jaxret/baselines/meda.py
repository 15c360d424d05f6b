"""Manifold embedded distribution alignment (MEDA): a classifier of two domains in closed form.

Letters: N source items with labels, M target items without, n = N + M, D features, C classes, d subspace dimensions.
"""

from collections.abc import Callable

import numpy as np
from scipy import linalg
from scipy.spatial.distance import cdist
from sklearn.linear_model import RidgeClassifier

from jaxret.baselines.domain_alignment import Alignment, Standard, checked_domains, nearest_labels, unit_rows

MAX_ITEMS = 2000  # of a domain; more are sampled: the solve takes time n^3 and memory n^2


def meda(
    source: np.ndarray,
    source_labels: np.ndarray,
    target: np.ndarray,
    *,
    dimension: int = 20,
    iterations: int = 10,
    neighbors: int = 10,
    alignment: float = 10.0,
    smoothness: float = 1.0,
    shrinkage: float = 0.1,
    max_items: int = MAX_ITEMS,
    seed: int = 0,
) -> Alignment:
    """Class scores [., C] of both domains: kernel ridge regression of the labels that also aligns distributions.

    Standardised features go through the geodesic flow kernel and are scaled to length 1. Then, `iterations` times,
      B = ((A + l M + r L) K + e I)^(-1) A Y,   scores(z) = K(z, .) B,
    K the Gaussian kernel exp(-|z - z'|^2 / 2), A = 1 at source items, Y their one-hot labels, L the normalised
    Laplacian of the graph of p nearest neighbours weighted by cosine, l alignment, r smoothness, e shrinkage, p
    neighbors. M is (1 - mu) C times the outer product of the difference of the domains' means (in weights of items),
    plus mu times that of each class, over its Frobenius norm. Target classes come from the nearest source item, then
    from the scores. mu weighs how far apart classes are against how far domains are (`adaptive_weight`).

    Differs from the public code in: a class without target items has no term; mu compares each class with the target
    items of that class (the code takes those of the first class), by the balanced error of a ridge classifier.

    Args:
      source: [N, D].
      source_labels: [N] class ids.
      target: [M, D].
      dimension: d of the subspaces; at most D / 2, and below the number of items.
      iterations: at least 1.
      neighbors, alignment, smoothness, shrinkage: p, l, r, e.
      max_items, seed: more items of a domain than that are sampled.

    Raises:
      DataError: as `checked_domains`.

    Source: Wang et al., "Visual domain adaptation with manifold embedded distribution alignment", ACM MM 2018.
    """
    source, labels, target = checked_domains(source, source_labels, target, max_items=max_items, seed=seed)
    standards = Standard.of(source), Standard.of(target)
    flow = geodesic_flow(standards[0](source), standards[1](target), dimension)
    parts = [unit_rows(own(x) @ flow) for own, x in zip(standards, (source, target), strict=True)]
    z, count = np.concatenate(parts), len(source)
    names, place = np.unique(labels, return_inverse=True)
    found = nearest_labels(z[:count], place, z[count:])
    known = (np.arange(len(z)) < count).astype(np.float64)
    kernel = _gaussian(z, z)
    fixed = linalg.lu_factor(
        (np.diag(known) + smoothness * laplacian(z, neighbors)) @ kernel + shrinkage * np.eye(len(z))
    )
    truth = np.zeros((len(z), len(names)))
    truth[np.arange(count), place] = 1.0
    unaligned = linalg.lu_solve(fixed, truth)
    for _ in range(iterations):
        # M = U U^T has low rank: by Woodbury's identity the factors above serve every iteration.
        u = discrepancy_vectors(place, found, len(names), adaptive_weight(z[:count], place, z[count:], found))
        u *= np.sqrt(alignment / np.linalg.norm(u.T @ u))
        inner = u.T @ kernel
        step = linalg.solve(np.eye(u.shape[1]) + inner @ linalg.lu_solve(fixed, u), inner @ unaligned)
        weights = unaligned - linalg.lu_solve(fixed, u @ step)
        found = np.argmax(kernel[count:] @ weights, axis=1)
    columns = np.zeros((len(z), int(names.max()) + 1))
    columns[:, names] = weights

    def scores(standard: Standard) -> Callable[[np.ndarray], np.ndarray]:
        return lambda x: _gaussian(unit_rows(standard(x) @ flow), z) @ columns

    return Alignment(scores(standards[0]), scores(standards[1]))


def geodesic_flow(source: np.ndarray, target: np.ndarray, dimension: int) -> np.ndarray:
    """Map F [D, 2d] whose inner products are those of the geodesic flow kernel: F F^T = int_0^1 P(t) P(t)^T dt.

    P(t) goes along the geodesic from the principal subspace of the source to that of the target. With the principal
    angles a_i, source directions p_i and directions q_i towards the target, P(t)_i = p_i cos(t a_i) + q_i sin(t a_i).

    Args:
      source, target: [N, D], [M, D] standardised features.
      dimension: d; at most D / 2 and N - 1, M - 1 are used.

    Source: Gong et al., "Geodesic flow kernel for unsupervised domain adaptation", CVPR 2012.
    """
    d = max(1, min(dimension, source.shape[1] // 2, len(source) - 1, len(target) - 1))
    start, end = (np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:d].T for x in (source, target))
    left, cosine, right = np.linalg.svd(start.T @ end)
    angle = np.arccos(np.clip(cosine, -1, 1))
    p = start @ left
    q = end @ right.T - p * cosine
    length = np.linalg.norm(q, axis=0)
    q = np.divide(q, length, out=np.zeros_like(q), where=length > 1e-12)
    twice = np.where(angle > 1e-8, 2 * angle, 1.0)
    same = np.where(angle > 1e-8, np.sin(twice) / twice, 1.0)
    mixed = np.where(angle > 1e-8, (1 - np.cos(twice)) / twice, 0.0)
    blocks = np.stack([np.stack([1 + same, mixed], -1), np.stack([mixed, 1 - same], -1)], -2) / 2  # [d, 2, 2]
    values, vectors = np.linalg.eigh(blocks)
    roots = vectors * np.sqrt(np.maximum(values, 0))[:, None, :]
    directions = np.stack([p, q], axis=-1)  # [D, d, 2]
    return np.einsum('xdi,dij->xdj', directions, roots).reshape(len(p), 2 * d)


def laplacian(z: np.ndarray, neighbors: int) -> np.ndarray:
    """I - D^(-1/2) W D^(-1/2) [n, n] of the graph of nearest neighbours (either way), weighted by cosine, 0 below 0.

    Args:
      z: [n, d] of length 1.
      neighbors: p; at most n - 1.
    """
    cosine = z @ z.T
    np.fill_diagonal(cosine, -np.inf)
    p = min(neighbors, len(z) - 1)
    near = np.argpartition(-cosine, p - 1, axis=1)[:, :p]
    weights = np.zeros_like(cosine)
    np.put_along_axis(weights, near, np.maximum(np.take_along_axis(cosine, near, axis=1), 0), axis=1)
    weights = np.maximum(weights, weights.T)
    degree = weights.sum(axis=1)
    root = np.divide(1, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    return np.eye(len(z)) - root[:, None] * weights * root[None, :]


def discrepancy_vectors(labels: np.ndarray, target_labels: np.ndarray, classes: int, weight: float) -> np.ndarray:
    """U [n, 1 + c], with M = U U^T before it is scaled.

    1/N at source and -1/M at target items: of all, times sqrt((1 - mu) C), and of each class of both, times sqrt(mu).
    """

    def column(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
        return np.concatenate([mine / mine.sum(), -(theirs / theirs.sum())])

    columns = [np.sqrt((1 - weight) * classes) * column(np.ones(len(labels)), np.ones(len(target_labels)))]
    columns += [
        np.sqrt(weight) * column(labels == c, target_labels == c) for c in range(classes) if np.any(target_labels == c)
    ]
    return np.stack(columns, axis=1)


def adaptive_weight(source: np.ndarray, labels: np.ndarray, target: np.ndarray, target_labels: np.ndarray) -> float:
    """mu in [0, 1]: mean distance of the domains within a class, over that plus their distance as a whole.

    The distance is 2 (1 - 2 error), at least 0, of a linear classifier that tells the domains apart, on its own items.
    """
    within = [
        domain_distance(source[labels == c], target[target_labels == c])
        for c in np.unique(labels)
        if np.any(target_labels == c)
    ]
    inside, whole = float(np.mean(within)) if within else 0.0, domain_distance(source, target)
    return inside / (inside + whole) if inside + whole > 0 else 0.5


def domain_distance(source: np.ndarray, target: np.ndarray) -> float:
    """2 (1 - 2 error) of a balanced ridge classifier of the domain, cut at 0."""
    domain = np.repeat([0, 1], [len(source), len(target)])
    wrong = (
        RidgeClassifier(class_weight='balanced')
        .fit(np.concatenate([source, target]), domain)
        .predict(np.concatenate([source, target]))
        != domain
    )
    return max(0.0, 2 * (1 - (wrong[domain == 0].mean() + wrong[domain == 1].mean())))


def _gaussian(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.exp(-cdist(x, y, 'sqeuclidean') / 2)
