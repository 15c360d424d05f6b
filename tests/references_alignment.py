"""Slow oracles of the closed-form domain alignments: loops over items and full matrices, from the definitions."""

import numpy as np
from scipy import linalg


def standard(x):
    """Columns less their mean, over their deviation where it is not 0."""
    out = np.zeros_like(x)
    for d in range(x.shape[1]):
        column = [float(v) for v in x[:, d]]
        mean = sum(column) / len(column)
        deviation = (sum((v - mean) ** 2 for v in column) / len(column)) ** 0.5
        out[:, d] = [(v - mean) / (deviation or 1.0) for v in column]
    return out


def unit(x):
    return np.stack([row / np.linalg.norm(row) for row in x])


def nearest(x, labels, y):
    return np.array([labels[min(range(len(x)), key=lambda i, row=row: np.linalg.norm(row - x[i]))] for row in y])


def discrepancy(labels, found, weight_all, weight_class, classes):
    """[n, n]: sum of e e^T with e = 1/N at the source and -1/M at the target, of all items and of each class."""
    n, total = len(labels), len(labels) + len(found)
    e = np.array([1 / n] * n + [-1 / len(found)] * len(found))
    matrix = weight_all * np.outer(e, e)
    for c in classes:
        mine, theirs = sum(labels == c), sum(found == c)
        if theirs:
            e = np.zeros(total)
            for i in range(n):
                e[i] = 1 / mine if labels[i] == c else 0
            for j in range(len(found)):
                e[n + j] = -1 / theirs if found[j] == c else 0
            matrix += weight_class * np.outer(e, e)
    return matrix


def jgsa(source, labels, target, *, dimension, iterations, divergence=1.0, target_variance=1.0, discrimination=0.1):
    """A, B and the features of both domains, with the MMD matrix over items and a general eigenvalue solver."""
    x, y = unit(standard(source)), unit(standard(target))
    n, m, d = len(x), len(y), x.shape[1]
    classes = sorted(set(labels))
    within, between = np.zeros((d, d)), np.zeros((d, d))
    for c in classes:
        mine = x[labels == c]
        for row in mine:
            within += np.outer(row - mine.mean(0), row - mine.mean(0))
            between += np.outer(mine.mean(0) - x.mean(0), mine.mean(0) - x.mean(0))
    spread = sum(np.outer(row - y.mean(0), row - y.mean(0)) for row in y)
    both = linalg.block_diag(x, y)  # [n + m, 2d]
    found = nearest(x, labels, y)
    for _ in range(iterations):
        alone = np.outer([1 / n] * n + [-1 / m] * m, [1 / n] * n + [-1 / m] * m) * len(classes)
        matrix = discrepancy(labels, found, len(classes), 1.0, classes) / np.linalg.norm(alone)
        largest = linalg.block_diag(discrimination * between, target_variance * spread)
        smallest = both.T @ matrix @ both
        smallest[:d, :d] += divergence * np.eye(d) + discrimination * within
        smallest[d:, d:] += (divergence + target_variance) * np.eye(d)
        smallest[:d, d:] -= divergence * np.eye(d)
        smallest[d:, :d] -= divergence * np.eye(d)
        values, vectors = linalg.eig(largest, smallest)
        order = np.argsort(-values.real)[:dimension]
        w = vectors[:, order].real
        w = w / np.sqrt(np.sum(w * (smallest @ w), axis=0))
        found = nearest(x @ w[:d], labels, y @ w[d:])
    return w[:d], w[d:], x @ w[:d], y @ w[d:]


def flow_kernel(source, target, dimension, steps=2000):
    """G [D, D], the integral of P(t) P(t)^T by the midpoint rule along the geodesic of principal subspaces."""
    bases = [np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:dimension].T for x in (source, target)]
    left, cosine, right = np.linalg.svd(bases[0].T @ bases[1])
    p, end = bases[0] @ left, bases[1] @ right.T
    total = np.zeros((len(p), len(p)))
    for t in (np.arange(steps) + 0.5) / steps:
        columns = []
        for i in range(p.shape[1]):
            angle = np.arccos(min(1.0, cosine[i]))
            rest = end[:, i] - p[:, i] * np.cos(angle)
            q = rest / np.sin(angle) if np.sin(angle) > 1e-9 else 0 * rest
            columns.append(p[:, i] * np.cos(t * angle) + q * np.sin(t * angle))
        now = np.stack(columns, axis=1)
        total += now @ now.T / steps
    return total


def laplacian(z, neighbors):
    n = len(z)
    weights = np.zeros((n, n))
    for i in range(n):
        others = sorted((j for j in range(n) if j != i), key=lambda j, i=i: -float(z[i] @ z[j]))[:neighbors]
        for j in others:
            weights[i, j] = weights[j, i] = max(float(z[i] @ z[j]), 0.0)
    degree = weights.sum(1)
    out = np.eye(n)
    for i in range(n):
        for j in range(n):
            if weights[i, j]:
                out[i, j] -= weights[i, j] / np.sqrt(degree[i] * degree[j])
    return out


def meda_scores(
    z, labels, target, classes, mu_of, *, iterations, neighbors, alignment=10.0, smoothness=1.0, shrinkage=0.1
):
    """Scores of all items: the full linear system solved anew in every iteration."""
    x = np.concatenate([z, target])
    n = len(z)
    kernel = np.array([[np.exp(-np.sum((a - b) ** 2) / 2) for b in x] for a in x])
    known = np.diag([1.0] * n + [0.0] * len(target))
    truth = np.zeros((len(x), classes))
    for i, c in enumerate(labels):
        truth[i, c] = 1
    found = nearest(z, labels, target)
    for _ in range(iterations):
        mu = mu_of(z, labels, target, found)
        matrix = discrepancy(labels, found, (1 - mu) * classes, mu, range(classes))
        system = (known + alignment * matrix / np.linalg.norm(matrix) + smoothness * laplacian(x, neighbors)) @ kernel
        scores = kernel @ np.linalg.solve(system + shrinkage * np.eye(len(x)), known @ truth)
        found = scores[n:].argmax(1)
    return scores
