"""Slow oracles for the losses over several modalities: loops over float64 numbers, from the formulas alone.

Features and logits are [M, B, D]; `valid` is a list of B truth values. An oracle without valid objects returns 0.
"""

import math

import numpy as np


def squared_distance(x, y):
    total = 0.0
    for a, b in zip(x, y, strict=True):
        total += (float(a) - float(b)) ** 2
    return total


def counted(features, valid):
    """Every (modality, object) that counts."""
    modalities, objects = np.shape(features)[:2]
    return [(m, b) for m in range(modalities) for b in range(objects) if valid is None or valid[b]]


def published_center_loss(features, labels, centers, *, valid=None):
    """As the public code: a matrix of features by classes, masked by label, clamped, summed, divided by its rows."""
    total, rows = 0.0, 0
    for m, b in counted(features, valid):
        rows += 1
        for c, center in enumerate(centers):
            masked = squared_distance(features[m][b], center) if labels[b] == c else 0.0
            total += min(max(masked, 1e-12), 1e12)
    return total / rows if rows else 0.0


def printed_center_loss(features, labels, centers, *, valid=None):
    """As the papers: one half of the sum."""
    return 0.5 * sum(squared_distance(features[m][b], centers[labels[b]]) for m, b in counted(features, valid))


def noisy_center_loss(features, labels, centers, noise, *, clean_weight, noisy_weight, squared, reduction, valid=None):
    """noise: [C, D], a row a center, or [M, B, D], a vector a feature."""
    total, rows = 0.0, 0
    for m, b in counted(features, valid):
        rows += 1
        center = centers[labels[b]]
        shift = noise[labels[b]] if np.ndim(noise) == 2 else noise[m][b]
        clean = squared_distance(features[m][b], center)
        noisy = squared_distance(features[m][b], [c + s for c, s in zip(center, shift, strict=True)])
        if not squared:
            clean, noisy = math.sqrt(clean), math.sqrt(noisy)
        total += clean_weight * clean + noisy_weight * noisy
    if reduction == 'half_sum':
        return total / 2
    return total / rows if rows else 0.0


def cross_entropy(logits, labels, *, valid=None):
    per_modality = []
    for m in range(len(logits)):
        losses = []
        for _, b in [pair for pair in counted(logits, valid) if pair[0] == m]:
            row = [float(value) for value in logits[m][b]]
            top = max(row)
            losses.append(top + math.log(sum(math.exp(value - top) for value in row)) - row[labels[b]])
        per_modality.append(sum(losses) / len(losses) if losses else 0.0)
    return sum(per_modality)


def cosine(x, y):
    product = sum(float(a) * float(b) for a, b in zip(x, y, strict=True))
    lengths = math.sqrt(sum(float(a) ** 2 for a in x)) * math.sqrt(sum(float(b) ** 2 for b in y))
    return product / lengths if lengths > 0 else 0.0


def simsiam(predictions, targets, *, valid=None):
    """Negative cosine of each ordered pair of different modalities, averaged over pairs and objects."""
    values = []
    for i, b in counted(predictions, valid):
        for j in range(len(targets)):
            if j != i:
                values.append(-cosine(predictions[i][b], targets[j][b]))
    return sum(values) / len(values) if values else 0.0


def pairwise_mse(features, *, valid=None):
    means = []
    for i in range(len(features)):
        for j in range(i):
            rows = [(features[i][b], features[j][b]) for m, b in counted(features, valid) if m == 0]
            values = [(float(x) - float(y)) ** 2 for left, right in rows for x, y in zip(left, right, strict=True)]
            means.append(sum(values) / len(values) if values else 0.0)
    return sum(means)
