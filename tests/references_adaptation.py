"""Slow oracles for the losses between a labelled and an unlabelled domain: loops over float64 numbers, from formulas.

Scores are [N][N], features [N][D]; `valid` is a list of truth values. Nothing here imports jaxret. Where a loss needs
rows that are not there it is 0.
"""

import math

import numpy as np


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def rows_of(features, valid):
    return [[float(x) for x in row] for row, kept in zip(features, valid, strict=True) if kept]


def squared_distance(x, y):
    return sum((a - b) ** 2 for a, b in zip(x, y, strict=True))


def norm(x):
    return math.sqrt(sum(a * a for a in x))


# Mutual information ---------------------------------------------------------------------------------------------------


def joint_and_product(scores, owners, valid):
    """Scores of the true pairs, and of pairs of rows with different owners."""
    rows = [i for i in range(len(owners)) if valid[i]]
    joint = [float(scores[i][i]) for i in rows]
    product = [float(scores[i][j]) for i in rows for j in rows if owners[i] != owners[j]]
    return joint, product


def log_mean_exp(values):
    top = max(values)
    return top + math.log(mean(math.exp(value - top) for value in values))


def binary_cross_entropy(scores, owners, valid):
    joint, product = joint_and_product(scores, owners, valid)
    if not joint or not product:
        return 0.0
    return mean(softplus(-t) for t in joint) + mean(softplus(t) for t in product)


def jensen_shannon(scores, owners, valid):
    """As DIM's code: E log2 - softplus(-T) of the joint less E softplus(-T) + T - log 2 of the product, negated."""
    joint, product = joint_and_product(scores, owners, valid)
    if not joint or not product:
        return 0.0
    return -(mean(math.log(2) - softplus(-t) for t in joint) - mean(softplus(-t) + t - math.log(2) for t in product))


def donsker_varadhan(scores, owners, valid):
    joint, product = joint_and_product(scores, owners, valid)
    if not joint or not product:
        return 0.0
    return -(mean(joint) - log_mean_exp(product))


def mine_gradient(scores, owners, valid, average):
    """d/dT of E exp(T-) / average - E T+ for a given average."""
    rows = [i for i in range(len(owners)) if valid[i]]
    pairs = [(i, j) for i in rows for j in rows if owners[i] != owners[j]]
    gradient = np.zeros(np.shape(scores))
    for i, j in pairs:
        gradient[i][j] += math.exp(scores[i][j]) / len(pairs) / average
    for i in rows:
        gradient[i][i] -= 1 / len(rows)
    return gradient


# Alignment ------------------------------------------------------------------------------------------------------------


def fixed_norm(features, valid, radius):
    rows = rows_of(features, valid)
    return (mean(norm(row) for row in rows) - radius) ** 2 if rows else 0.0


def centroids(features, labels, classes, valid):
    """Mean row of every class (zeros without rows), and whether it has rows."""
    found, present = [], []
    for k in range(classes):
        rows = rows_of(features, [v and label == k for label, v in zip(labels, valid, strict=True)])
        present.append(bool(rows))
        found.append([mean(row[d] for row in rows) for d in range(np.shape(features)[1])])
    return found, present


def centroid_distance(source, target, counted, *, reduction='sum'):
    total = sum(squared_distance(s, t) for s, t, c in zip(source, target, counted, strict=True) if c)
    return total / (len(source) * len(source[0])) if reduction == 'mean' else total


def running_centroids(history, classes, dim, *, momentum, masked):
    """Centroids after a history of (batch centroids, present), one class and number at a time."""
    now, seen = np.zeros((classes, dim)), [False] * classes
    for batch, present in history:
        for k in range(classes):
            if not masked:
                now[k] = [momentum * old + (1 - momentum) * new for old, new in zip(now[k], batch[k], strict=True)]
            elif present[k] and not seen[k]:
                now[k] = batch[k]
            elif present[k]:
                now[k] = [momentum * old + (1 - momentum) * new for old, new in zip(now[k], batch[k], strict=True)]
            seen[k] = seen[k] or bool(present[k])
    return now, seen


def adversarial(source, target, source_valid, target_valid):
    source = [float(x) for x, v in zip(source, source_valid, strict=True) if v]
    target = [float(x) for x, v in zip(target, target_valid, strict=True) if v]
    if not source or not target:
        return 0.0
    first = mean(-math.log(1 / (1 + math.exp(-x))) for x in source)
    return 0.5 * (first + mean(-math.log(1 - 1 / (1 + math.exp(-x))) for x in target))


# Discrepancy ----------------------------------------------------------------------------------------------------------


def linear_mmd(source, target):
    if not source or not target:
        return 0.0
    return sum((mean(s[d] for s in source) - mean(t[d] for t in target)) ** 2 for d in range(len(source[0])))


def discrepancy(source, target, kernel):
    """E k(s, s') + E k(t, t') - 2 E k(s, t) over different rows."""
    if len(source) < 2 or len(target) < 2:
        return 0.0
    within = [
        mean(kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j)
        for rows in (source, target)
    ]
    return sum(within) - 2 * mean(kernel(s, t) for s in source for t in target)


def width_of(rows):
    """Mean squared distance over all pairs of rows, each with itself too."""
    return mean(squared_distance(x, y) for x in rows for y in rows) or 1.0


def gaussians(x, y, factors, width):
    return sum(math.exp(-squared_distance(x, y) / (2 * factor * width)) for factor in factors)


def multi_kernel_mmd(source, target, factors, *, width):
    return discrepancy(source, target, lambda x, y: gaussians(x, y, factors, width))


def joint_mmd(source, target, factors, sigma, *, width):
    """source and target: pairs (features, probabilities) of each row."""

    def kernel(x, y):
        return gaussians(x[0], y[0], factors, width) * math.exp(-squared_distance(x[1], y[1]) / (2 * sigma**2))

    return discrepancy(source, target, kernel)


def covariance(rows):
    dim = len(rows[0])
    middle = [mean(row[d] for row in rows) for d in range(dim)]
    return [
        [sum((row[d] - middle[d]) * (row[e] - middle[e]) for row in rows) / (len(rows) - 1) for e in range(dim)]
        for d in range(dim)
    ]


def coral(source, target):
    if len(source) < 2 or len(target) < 2:
        return 0.0
    s, t = covariance(source), covariance(target)
    dim = len(s)
    return sum((s[d][e] - t[d][e]) ** 2 for d in range(dim) for e in range(dim)) / (4 * dim * dim)
