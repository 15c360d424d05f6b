"""Slow search: one pair at a time in float64, a full sort."""

import math

import numpy as np


def score(kind, query, projected, shape):
    """(score, view or None) of one pair; vectors are lists of floats, `shape` is a list of views or one vector."""

    def dot(a, b):
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    def unit(a):
        length = math.sqrt(dot(a, a))
        return [x / length for x in a] if max(map(abs, a)) > 1e-12 else [0.0 for _ in a]

    if kind == 'dot':
        return dot(query, shape), None
    if kind == 'cosine':
        return dot(unit(query), unit(shape)), None
    if kind == 'euclidean':
        return -math.dist(query, shape), None
    fit = [dot(query, view) for view in shape]
    if kind == 'attention':
        logits = [dot(projected, view) for view in shape]
        weights = [math.exp(x - max(logits)) for x in logits]
        return math.fsum(w * x for w, x in zip(weights, fit, strict=True)) / math.fsum(weights), logits.index(
            max(logits)
        )
    if kind == 'best_views':
        best = sorted(fit, reverse=True)[:2]
        return math.fsum(best) / len(best), fit.index(max(fit))
    columns = list(zip(*shape, strict=True))
    pooled = [max(c) for c in columns] if kind == 'max' else [math.fsum(c) / len(c) for c in columns]
    return dot(query, pooled), fit.index(max(fit))


def search(kind, queries, projected, gallery, k, allowed):
    """(indices, scores, views) of every query's k best allowed shapes; scores rounded to float32, ties by index."""
    rows = []
    for number, query in enumerate(queries.astype(float).tolist()):
        side = None if projected is None else projected[number].astype(float).tolist()
        scored = []
        for index, shape in enumerate(gallery.astype(float).tolist()):
            if allowed[index]:
                value, view = score(kind, query, side, shape)
                scored.append((-float(np.float32(value)), index, view))
        rows.append(sorted(scored, key=lambda item: item[:2])[:k])
    return (
        [[index for _, index, _ in row] for row in rows],
        [[-value for value, _, _ in row] for row in rows],
        [[view for _, _, view in row] for row in rows],
    )
