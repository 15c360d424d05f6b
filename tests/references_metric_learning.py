"""Slow oracles for the losses between scans and CAD models: loops over single pairs. Nothing here imports jaxret."""

import numpy as np


def kinds(category, instance, valid):
    """Pairs (i, j) of different classes, and of one class with different CAD models."""
    other, same = [], []
    for i in range(len(category)):
        for j in range(len(category)):
            if valid[i] and valid[j] and instance[i] != instance[j]:
                (same if category[i] == category[j] else other).append((i, j))
    return other, same


def mask_of(pairs, shape):
    mask = np.zeros(shape, bool)
    for pair in pairs:
        mask[pair] = True
    return mask


def pairs_of(mask):
    return [tuple(int(i) for i in pair) for pair in np.argwhere(mask)]


def fitting(rule, distances, positive, other, same, *, margin, margin_same_class, relative):
    """Pairs that a rule without chance chooses, with their margins."""
    chosen = {}
    for i in range(len(distances)):
        candidates = [(j, margin) for a, j in other if a == i]
        if margin_same_class > 0:
            candidates += [(j, margin_same_class) for a, j in same if a == i]
        kept = []
        for j, m in sorted(candidates):
            loss = m - distances[i][j] + (positive[i] if relative else 0)
            if rule == 'semi_hard' and not (distances[i][j] > positive[i] and loss > 0):
                continue
            kept.append((loss, j, m))
        if rule == 'hardest' and kept:
            kept = [max(kept, key=lambda entry: (entry[0], -entry[1]))]
        chosen.update({(i, j): m for _, j, m in kept})
    return chosen


def mean(losses, reduction):
    counted = [loss for loss in losses if reduction == 'mean_all' or loss > 0]
    return sum(counted) / len(counted) if counted else 0.0


def pull(distances, pairs, *, margin, reduction='mean_all'):
    return mean([max(0.0, distances[i, j] - margin) for i, j in pairs], reduction)


def push(distances, pairs, margins, *, reduction='mean_all'):
    return mean([max(0.0, margins[i, j] - distances[i, j]) for i, j in pairs], reduction)


def triplet(distances, positive, pairs, margins, *, reduction='mean_all'):
    return mean([max(0.0, positive[i] - distances[i, j] + margins[i, j]) for i, j in pairs], reduction)


def quadruplet(distances, positive, gallery, pairs, second, margins, margin_second, *, reduction='mean_all'):
    first = triplet(distances, positive, pairs, margins, reduction=reduction)
    negative = dict(pairs)
    losses = [max(0.0, positive[i] - gallery[negative[i], k] + margin_second) for i, k in second]
    return first + mean(losses, reduction)


def occupancy_cross_entropy(logits, occupied, weight):
    """Mean over the cells of one grid."""
    total = 0.0
    for logit, cell in zip(np.ravel(logits).astype(np.float64), np.ravel(occupied), strict=True):
        chance = 1 / (1 + np.exp(-logit))
        total += -weight * np.log(chance) if cell else -np.log(1 - chance)
    return total / np.size(occupied)
