"""Slow oracles of the image-to-shape benchmark scores: loops and Python numbers, written from their definitions."""

import math


def prepared(features, official):
    """Rows scaled to length 1; in the official mode negative entries are 0 first. Zero rows stay zero."""
    rows = []
    for row in features:
        row = [max(float(v), 0.0) if official else float(v) for v in row]
        length = math.sqrt(math.fsum(v * v for v in row))
        rows.append([v / length if length else 0.0 for v in row])
    return rows


def ranked(queries, gallery, query_labels, gallery_labels, official):
    """Relevance in order of every query: nearest first, irrelevant shapes first among equals (in steps of 2^-36)."""
    x, y = prepared(queries, official), prepared(gallery, official)
    lists = []
    for q, label in zip(x, query_labels, strict=True):
        keys = []
        for g, other in zip(y, gallery_labels, strict=True):
            if official:
                distance = math.fsum((a - b) ** 2 for a, b in zip(q, g, strict=True))
            else:
                distance = -math.fsum(a * b for a, b in zip(q, g, strict=True))
            keys.append((round(distance * 2**36), other == label))
        lists.append([relevant for _, relevant in sorted(keys)])
    return lists


def largest(query_labels, gallery_labels, official):
    counts = [sum(g == c for g in gallery_labels) for c in set(gallery_labels) if official or c in set(query_labels)]
    return max(counts, default=0)


def query_scores(relevance, official, largest_class, depth=20):
    """Scores of one query, F of the official mode excepted; None without relevant shapes."""
    total, found = len(relevance), sum(relevance)
    if not found:
        return None
    scores = {'nn': float(relevance[0]), 'ft': sum(relevance[:found]) / found}
    scores['st'] = sum(relevance[: 2 * found - 1 if official else 2 * found]) / found
    gain, ideal = 0.0, 0.0
    for k in range(1, total + 1):
        weight = 1.0 if k == 1 else 1 / math.log2(k)
        if relevance[k - 1] and (k <= found or not official):
            gain += weight
        if k <= found:
            ideal += weight
    scores['dcg'] = gain / ideal
    cut = min(depth, total)
    precision, recall = sum(relevance[:cut]) / cut, sum(relevance[:cut]) / found
    if not official:
        scores['f'] = 2 * precision * recall / (precision + recall) if precision else 0.0
    limit = min(4 * found, 2 * largest_class)
    if official:
        ranks = [k if relevance[k - 1] else limit + 1 for k in range(1, found + 1)]
        scores['anmrr'] = (sum(ranks) / found - found / 2 - 0.5) / (limit - found / 2 + 0.5)
    else:
        ranks = [k if k <= limit else 1.25 * limit for k in range(1, total + 1) if relevance[k - 1]]
        scores['anmrr'] = (sum(ranks) / found - 0.5 * (1 + found)) / (1.25 * limit - 0.5 * (1 + found))
        scores['auc'] = sum(sum(relevance[:k]) / k for k in range(1, total + 1) if relevance[k - 1]) / found
    return scores


def set_scores(lists, official, largest_class, depth=20):
    """Scores of all queries that have relevant shapes: means, and in the official mode pooled F and AUC."""
    lists = [row for row in lists if any(row)]
    rows = [query_scores(row, official, largest_class, depth) for row in lists]
    scores = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    if official:
        cut = min(depth, len(lists[0]))
        hits = sum(sum(row[:cut]) for row in lists)
        precision, recall = hits / (cut * len(lists)), hits / sum(sum(row) for row in lists)
        scores['f'] = 2 * precision * recall / (precision + recall) if hits else 0.0
        curve = pooled_curve(lists)
        scores['auc'] = sum(
            (curve[k + 1][0] - curve[k][0]) * (curve[k + 1][1] + curve[k][1]) / 2 for k in range(len(curve) - 1)
        )
    return scores


def pooled_curve(lists):
    """(recall, precision) at every rank, over all queries together."""
    relevant = sum(sum(row) for row in lists)
    points = []
    for k in range(1, len(lists[0]) + 1):
        hits = sum(sum(row[:k]) for row in lists)
        points.append((hits / relevant, hits / (k * len(lists))))
    return points
