"""Slow oracles of the retrieval metrics, written with loops and Python numbers from the definitions."""

import itertools
import math


def order(scores_row, category_row=None, query_category=None, positive=None):
    """Gallery indices, best first: score, then other categories, then wrong shapes, then index; NaN is last."""

    def key(g):
        score = float(scores_row[g])
        same = 0 if category_row is None else int(category_row[g] == query_category)
        return (math.isnan(score), 0.0 if math.isnan(score) else -score, same, g == positive, g)

    return sorted(range(len(scores_row)), key=key)


def rank(scores_row, positive):
    """1-based position of the true shape when equals stand before it; G + 1 if it is absent."""
    if positive < 0:
        return len(scores_row) + 1
    return order(scores_row, positive=positive).index(positive) + 1


def wilson(hits, n, z=1.959963984540054):
    """The two roots p0 of (p - p0)^2 = z^2 p0 (1 - p0) / n, found by bisection on each side of p."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n

    def root(a, b):
        def excess(p0):
            return (p - p0) ** 2 - z * z * p0 * (1 - p0) / n

        for _ in range(200):
            middle = (a + b) / 2
            # a is the observed proportion (inside, excess <= 0), b the end of the range (outside)
            a, b = (middle, b) if excess(middle) <= 0 else (a, middle)
        return (a + b) / 2

    return (0.0 if hits == 0 else root(p, 0.0)), (1.0 if hits == n else root(p, 1.0))


def prior_hit(train, item, count, k):
    """Probability that `item` is among the k most frequent, over every order in which equal counts may stand."""
    counts = [sum(1 for t in train if t == g) for g in range(count)]
    hits = total = 0
    for permutation in itertools.permutations(range(count)):
        place = {g: i for i, g in enumerate(permutation)}
        answer = sorted(range(count), key=lambda g: (-counts[g], place[g]))[:k]
        hits += item in answer
        total += 1
    return hits / total


def chance_hit(positive, gallery, k):
    """Share of all orders of the gallery in which the true shape is among the first k."""
    if positive < 0:
        return 0.0
    hits = [positive in permutation[:k] for permutation in itertools.permutations(range(gallery))]
    return sum(hits) / len(hits)


def evaluation(scores, positive, query_category, gallery_category, train, ks):
    """Micro and macro means of every accuracy, chance and prior, by loops over queries."""
    queries, gallery = len(scores), len(scores[0])
    columns = {}
    for q in range(queries):
        position = rank(scores[q], positive[q])
        for k in ks:
            hit = positive[q] >= 0 and position <= k
            columns.setdefault(f'top{k}', []).append(float(hit))
            columns.setdefault(f'top{k}_chance', []).append(chance_hit(positive[q], gallery, k))
            prior = prior_hit(train, positive[q], gallery, k) if positive[q] >= 0 else 0.0
            columns.setdefault(f'top{k}_prior', []).append(prior)
        best = order(scores[q], gallery_category, query_category[q], positive[q])[0]
        columns.setdefault('category_top1', []).append(float(gallery_category[best] == query_category[q]))
        same = sum(1 for g in range(gallery) if gallery_category[g] == query_category[q])
        columns.setdefault('category_top1_chance', []).append(same / gallery)
        train_categories = [gallery_category[t] for t in train]
        prior = prior_hit(train_categories, query_category[q], max(gallery_category) + 1, 1)
        columns.setdefault('category_top1_prior', []).append(prior)
        columns.setdefault('mean_reciprocal_rank', []).append(1 / position if positive[q] >= 0 else 0.0)
    result = {name: sum(values) / queries for name, values in columns.items()}
    present = sorted(set(query_category))
    for name, values in columns.items():
        means = []
        for category in present:
            mine = [v for v, c in zip(values, query_category, strict=True) if c == category]
            means.append(sum(mine) / len(mine))
        base, kind, _ = name.partition('_chance') if '_chance' in name else name.partition('_prior')
        result[f'{base}_macro{kind}'] = sum(means) / len(means)
    return result


def cosine(x, y):
    """Cosine in steps of 2^-36 (a whole number), 0 for a zero vector."""
    length = math.sqrt(math.fsum(a * a for a in x)) * math.sqrt(math.fsum(b * b for b in y))
    return round(math.fsum(a * b for a, b in zip(x, y, strict=True)) / length * 2**36) if length else 0


def ranked_relevance(scores_row, gallery_labels, label, without=None):
    """Whether the item at each rank is relevant: best first, irrelevant ones first among equals, NaN last."""
    places = [g for g in range(len(scores_row)) if g != without]
    places.sort(
        key=lambda g: (
            math.isnan(scores_row[g]),
            0 if math.isnan(scores_row[g]) else -scores_row[g],
            gallery_labels[g] == label,
        )
    )
    return [gallery_labels[g] == label for g in places]


def average_precision(relevance):
    """Mean precision at the ranks of the relevant items; None if there are none."""
    precisions = [sum(relevance[:rank]) / rank for rank in range(1, len(relevance) + 1) if relevance[rank - 1]]
    return sum(precisions) / len(precisions) if precisions else None


def interpolated_precision(relevance, levels):
    """Highest precision at any rank whose recall is at least t / (levels - 1)."""
    total = sum(relevance)
    points = [(sum(relevance[:rank]), rank) for rank in range(1, len(relevance) + 1)]
    return [max(found / rank for found, rank in points if found * (levels - 1) >= t * total) for t in range(levels)]


def mixing(pooled, modality, k):
    """Share of the k nearest by cosine that are of another modality; the own one comes first among equals."""
    found = 0
    for i, x in enumerate(pooled):
        others = [(-cosine(x, y), modality[i] != modality[j]) for j, y in enumerate(pooled) if j != i]
        found += sum(other for _, other in sorted(others)[:k])
    return found / (k * len(pooled))
