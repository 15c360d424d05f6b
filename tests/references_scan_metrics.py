"""Slow oracles of the scan-to-CAD metrics: all orders of equal distances and of random galleries are gone through."""

import itertools
import math


def distance(x, y):
    return math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True)))


def possible_orders(distances):
    """Every order, nearest first, in which the items can stand when equals may be swapped."""
    items = range(len(distances))
    for order in itertools.permutations(items):
        if all(distances[a] <= distances[b] for a, b in itertools.pairwise(order)):
            yield order


def instance_hit(order, ranked):
    return float(order[0] in ranked)


def exact_matches(order, ranked):
    return sum(order[place] == cad for place, cad in enumerate(ranked))


def overlap(order, ranked):
    return len(set(order[: len(ranked)]) & set(ranked)) / len(ranked)


def pool_values(distances, rank, valid):
    """({measure: worst over equals}, {measure: mean over all orders}, n), or None without a ranked CAD.

    `ranked` lists the pool's CADs that are there, best first.
    """
    there = [p for p in range(len(rank)) if valid[p]]
    ranked = [there.index(p) for p in sorted(there, key=lambda p: rank[p]) if rank[p] > 0]
    if not ranked:
        return None
    measures = {'instance_top1': instance_hit, 'ranking_quality': exact_matches, 'ranking_overlap': overlap}
    orders = list(possible_orders([distances[p] for p in there]))
    random = list(itertools.permutations(range(len(there))))
    worst = {name: min(measure(order, ranked) for order in orders) for name, measure in measures.items()}
    chance = {name: sum(measure(order, ranked) for order in random) / len(random) for name, measure in measures.items()}
    return worst, chance, len(ranked)


def benchmark(distances, rank, valid, *, filtered=False):
    """{measure: (value, chance)} over annotations; ranking_quality pooled over positions."""
    rows = [pool_values(*row) for row in zip(distances, rank, valid, strict=True)]
    rows = [row for row in rows if row is not None and (not filtered or row[2] >= 3)]
    positions = sum(n for _, _, n in rows)
    result = {}
    for name in ('instance_top1', 'ranking_quality', 'ranking_overlap'):
        count = positions if name == 'ranking_quality' else len(rows)
        result[name] = tuple(sum(row[i][name] for row in rows) / count for i in (0, 1))
    return result


def category_hit(distances, cad_category, category):
    """Whether every possible nearest CAD has the category."""
    nearest = min(distances)
    return all(c == category for d, c in zip(distances, cad_category, strict=True) if d == nearest)


def exact_hit(distances, cad_category, category, true_cad):
    """Whether the scan's own model is nearer than every other CAD of the category."""
    if true_cad < 0:
        return False
    return all(
        g == true_cad or d > distances[true_cad]
        for g, (d, c) in enumerate(zip(distances, cad_category, strict=True))
        if c == category
    )


def confusion(scans, cads, k):
    """Share of foreign neighbours of each item, scans first; items of the own domain come first among equals."""
    pooled = [*scans, *cads]
    shares = []
    for i, x in enumerate(pooled):
        others = sorted((distance(x, y), (i < len(scans)) != (j < len(scans))) for j, y in enumerate(pooled) if j != i)[
            :k
        ]
        shares.append(sum(foreign for _, foreign in others) / len(others))
    return shares
