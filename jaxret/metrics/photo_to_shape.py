"""Retrieval metrics of a score matrix: Top-k, category accuracy, chance, prior and intervals.

Letters: Q queries, G gallery shapes, K top-k. Scores, ties and absent shapes: see `ranking`, whose order is used
throughout. 'micro' (no suffix) is the mean over queries, '_macro' the mean over the categories that have queries;
published tables mix the two, so both are always given.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jaxret.errors import refused
from jaxret.metrics.intervals import mover_interval, wilson_interval
from jaxret.metrics.ranking import ABSENT, checked_scores, positive_ranks, top_k_indices


@dataclass(frozen=True)
class _Accuracy:
    """One kind of hit a query: what happened, and what guessing gives. All [Q]; prior is None if unknown."""

    hit: np.ndarray
    chance: np.ndarray
    prior: np.ndarray | None


def most_frequent_weights(train_positive: np.ndarray, count: int, k: int) -> np.ndarray:
    """Probability of every item to be among the k most frequent ones in training.

    Equal counts share the places that are left: with k = 1 and three items seen equally often each gets 1/3. The prior
    thus does not depend on the order of the gallery (it is the expectation over a random order).

    Args:
      train_positive: [N] item index of every training query.
      count: number of items G.
      k: places.

    Returns:
      [G] float64 in [0, 1] with sum min(k, G).
    """
    counts = np.bincount(train_positive, minlength=count)
    if k >= count:
        return np.ones(count)
    threshold = np.sort(counts)[-k]
    above, tied = counts > threshold, counts == threshold
    return above + tied * ((k - above.sum()) / tied.sum())


def retrieval_metrics(
    scores: np.ndarray,
    positive: np.ndarray,
    query_category: np.ndarray,
    gallery_category: np.ndarray,
    *,
    category_names: Sequence[str],
    train_positive: np.ndarray | None = None,
    ks: Sequence[int] = (1, 10),
    confidence: float = 0.95,
) -> dict:
    """All accuracies of one evaluation, each with its interval, chance level and prior.

    Args:
      scores: [Q, G], higher is better.
      positive: [Q] gallery index of the true shape, -1 where absent.
      query_category, gallery_category: [Q], [G] category ids.
      category_names: name of every category id.
      train_positive: [N] gallery index of the training queries' shapes (entries < 0, shapes outside this gallery, are
        ignored). Without any, the priors are None.
      ks: the k of Top-k.
      confidence: level of the intervals.

    Returns:
      A flat dict of Python numbers. For each accuracy A in top<k>, category_top1 (category of the best shape):
        A, A_low, A_high     mean over queries and its Wilson interval
        A_macro, A_macro_low, A_macro_high  mean over categories; interval: MOVER on the Wilson intervals
        A_chance, A_macro_chance   expected by a uniformly random order: min(k, G)/G (0 for an absent true shape);
                             for the category its share of the gallery
        A_prior, A_macro_prior     always answering the k most frequent training shapes, or the most frequent training
                             category; equal counts share (`most_frequent_weights`)
      and mean_reciprocal_rank (0 for an absent shape), median_rank, queries, gallery, queries_without_positive, and
      per_category: {name: the same keys without macro}.

    Raises:
      DataError: no queries, empty gallery, arrays that do not fit together, indices out of range.

    Source: Zou and Donner, Stat. Med. 27 (2008) 1693 (MOVER).
    """
    scores, positive = checked_scores(scores, positive)
    query_category = _checked_category('query_category', query_category, scores.shape[0], len(category_names))
    gallery_category = _checked_category('gallery_category', gallery_category, scores.shape[1], len(category_names))
    ranks = positive_ranks(scores, positive)
    present = positive != ABSENT
    train = None if train_positive is None else np.asarray(train_positive, np.int64).reshape(-1)
    if train is not None:
        if train.size and train.max() >= scores.shape[1]:
            raise refused('train_positive', f'gallery index {train.max()}', f'use 0..{scores.shape[1] - 1} or -1')
        train = train[train >= 0]
    if train is not None and not train.size:
        train = None

    accuracies = {
        f'top{k}': _shape_accuracy(ranks, positive, present, scores.shape[1], k, train) for k in sorted(set(ks))
    }
    best = top_k_indices(scores, 1, positive, query_category=query_category, gallery_category=gallery_category)[:, 0]
    share = np.bincount(gallery_category, minlength=len(category_names)) / scores.shape[1]
    prior = train if train is None else most_frequent_weights(gallery_category[train], len(category_names), 1)
    accuracies['category_top1'] = _Accuracy(
        hit=gallery_category[best] == query_category,
        chance=share[query_category],
        prior=None if prior is None else prior[query_category],
    )

    reciprocal = np.where(present, 1.0 / ranks, 0.0)
    metrics = _summary(accuracies, reciprocal, ranks, slice(None), confidence)
    per_category = {
        category_names[c]: _summary(accuracies, reciprocal, ranks, query_category == c, confidence)
        for c in np.unique(query_category)
    }
    for name in accuracies:
        metrics.update(_macro(name, list(per_category.values())))
    metrics['gallery'] = int(scores.shape[1])
    metrics['queries_without_positive'] = int(np.count_nonzero(~present))
    metrics['per_category'] = per_category
    return metrics


def add_shape_metrics(
    metrics: Mapping,
    *,
    hausdorff: np.ndarray,
    iou: np.ndarray,
    query_category: np.ndarray,
    category_names: Sequence[str],
) -> dict:
    """Adds the means of the shape metrics of the Top-1 shapes to the result of `retrieval_metrics`.

    Args:
      metrics: result of `retrieval_metrics`, left unchanged.
      hausdorff, iou: [Q]; NaN where it is not defined (true shape unknown or mesh unusable), left out of the means.
      query_category: [Q] category ids.
      category_names: name of every category id.

    Returns:
      A copy with hausdorff, hausdorff_macro, iou, iou_macro, shape_metric_queries (queries that count), and hausdorff,
      iou inside per_category. None where no query counts.

    Raises:
      DataError: arrays that do not fit together.
    """
    queries = len(np.asarray(hausdorff))
    query_category = _checked_category('query_category', query_category, queries, len(category_names))
    values = {'hausdorff': np.asarray(hausdorff, np.float64), 'iou': np.asarray(iou, np.float64)}
    if values['iou'].shape != (queries,) or values['hausdorff'].shape != (queries,):
        raise refused('hausdorff, iou', f'shapes {np.shape(hausdorff)} and {np.shape(iou)}', 'give one value a query')
    result = dict(metrics)
    result['per_category'] = {name: dict(row) for name, row in metrics.get('per_category', {}).items()}
    for name, value in values.items():
        known = np.isfinite(value)
        means = {}
        for c in np.unique(query_category):
            means[category_names[c]] = _mean(value[known & (query_category == c)])
        for category, mean in means.items():
            result['per_category'].setdefault(category, {})[name] = mean
        result[name] = _mean(value[known])
        result[f'{name}_macro'] = _mean(np.array([mean for mean in means.values() if mean is not None]))
    counted = np.isfinite(values['hausdorff']) & np.isfinite(values['iou'])
    result['shape_metric_queries'] = int(np.count_nonzero(counted))
    return result


def _shape_accuracy(ranks, positive, present, gallery: int, k: int, train: np.ndarray | None) -> _Accuracy:
    prior = None
    if train is not None:
        prior = np.where(present, most_frequent_weights(train, gallery, k)[np.maximum(positive, 0)], 0.0)
    return _Accuracy(hit=present & (ranks <= k), chance=present * (min(k, gallery) / gallery), prior=prior)


def _summary(accuracies: Mapping[str, _Accuracy], reciprocal, ranks, rows, confidence: float) -> dict:
    """Means over the queries in `rows`."""
    summary = {'queries': int(len(ranks[rows]))}
    for name, accuracy in accuracies.items():
        hits, n = int(np.count_nonzero(accuracy.hit[rows])), summary['queries']
        summary[name] = hits / n
        summary[f'{name}_low'], summary[f'{name}_high'] = wilson_interval(hits, n, confidence)
        summary[f'{name}_chance'] = _mean(accuracy.chance[rows])
        summary[f'{name}_prior'] = None if accuracy.prior is None else _mean(accuracy.prior[rows])
    summary['mean_reciprocal_rank'] = _mean(reciprocal[rows])
    summary['median_rank'] = float(np.median(ranks[rows]))
    return summary


def _macro(name: str, rows: Sequence[Mapping]) -> dict:
    """Mean of one accuracy over categories, with the MOVER of their Wilson intervals."""
    mean, low, high = mover_interval([(row[name], row[f'{name}_low'], row[f'{name}_high']) for row in rows])
    priors = [row[f'{name}_prior'] for row in rows]
    return {
        f'{name}_macro': mean,
        f'{name}_macro_low': low,
        f'{name}_macro_high': high,
        f'{name}_macro_chance': float(np.mean([row[f'{name}_chance'] for row in rows])),
        f'{name}_macro_prior': None if None in priors else float(np.mean(priors)),
    }


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _checked_category(name: str, category, count: int, names: int) -> np.ndarray:
    category = np.asarray(category)
    if category.shape != (count,):
        raise refused(name, f'shape {category.shape}', f'give one category id for each of the {count} items')
    if count and (category.min() < 0 or category.max() >= names):
        raise refused(name, f'ids {category.min()}..{category.max()}', f'there are {names} category names')
    return category.astype(np.int64)
