"""Retrieval metrics of a score matrix: Top-k, category accuracy, chance, prior and intervals.

Letters: Q queries, G gallery shapes, K top-k. Scores, ties and absent shapes: see `ranking`, whose order is used
throughout. 'micro' (no suffix) is the mean over queries, '_macro' the mean over the categories that have queries;
published tables mix the two, so both are always given.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxret.errors import refused
from jaxret.metrics.ranking import ABSENT, checked_scores, positive_ranks, top_k_indices
from jaxret.metrics.rates import Rate, category_means, checked_ids, known_mean, macro_metrics, rate_metrics


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
    queries, gallery = scores.shape
    query_category = checked_ids('query_category', query_category, queries, len(category_names))
    gallery_category = checked_ids('gallery_category', gallery_category, gallery, len(category_names))
    train = _known_positives(train_positive, gallery)
    ranks, present = positive_ranks(scores, positive), positive != ABSENT

    def rate(hits: np.ndarray, chance: np.ndarray, prior: np.ndarray | None) -> Rate:
        return Rate(hits, np.ones(queries), query_category, {'chance': chance, 'prior': prior})

    rates = {}
    for k in sorted(set(ks)):
        prior = None
        if train is not None:
            prior = np.where(present, most_frequent_weights(train, gallery, k)[np.maximum(positive, 0)], 0.0)
        rates[f'top{k}'] = rate(present & (ranks <= k), present * (min(k, gallery) / gallery), prior)
    best = top_k_indices(scores, 1, positive, query_category=query_category, gallery_category=gallery_category)[:, 0]
    share = np.bincount(gallery_category, minlength=len(category_names)) / gallery
    prior = None
    if train is not None:
        prior = most_frequent_weights(gallery_category[train], len(category_names), 1)[query_category]
    rates['category_top1'] = rate(gallery_category[best] == query_category, share[query_category], prior)

    def summary(rows: np.ndarray) -> dict:
        metrics = {'queries': int(np.count_nonzero(rows))}
        for name, own in rates.items():
            metrics |= rate_metrics(name, own.of(rows), confidence)
        reciprocal = np.where(present, 1.0 / ranks, 0.0)
        return metrics | {
            'mean_reciprocal_rank': known_mean(reciprocal[rows]),
            'median_rank': float(np.median(ranks[rows])),
        }

    metrics = summary(np.ones(queries, bool))
    for name, own in rates.items():
        metrics |= macro_metrics(name, own, confidence)
    metrics['gallery'] = gallery
    metrics['queries_without_positive'] = int(np.count_nonzero(~present))
    metrics['per_category'] = {category_names[c]: summary(query_category == c) for c in np.unique(query_category)}
    return metrics


def _known_positives(train_positive: np.ndarray | None, gallery: int) -> np.ndarray | None:
    """Indices of the training shapes that are in the gallery; None without any."""
    if train_positive is None:
        return None
    train = np.asarray(train_positive, np.int64).reshape(-1)
    if train.size and train.max() >= gallery:
        raise refused('train_positive', f'gallery index {train.max()}', f'use 0..{gallery - 1} or -1')
    train = train[train >= 0]
    return train if train.size else None


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
    query_category = checked_ids('query_category', query_category, queries, len(category_names))
    values = {'hausdorff': np.asarray(hausdorff, np.float64), 'iou': np.asarray(iou, np.float64)}
    if values['iou'].shape != (queries,) or values['hausdorff'].shape != (queries,):
        raise refused('hausdorff, iou', f'shapes {np.shape(hausdorff)} and {np.shape(iou)}', 'give one value a query')
    result = dict(metrics)
    result['per_category'] = {name: dict(row) for name, row in metrics.get('per_category', {}).items()}
    for name, value in values.items():
        result[name], means = known_mean(value), category_means(value, query_category)
        result[f'{name}_macro'] = known_mean(means.values())
        for c, mean in means.items():
            result['per_category'].setdefault(category_names[c], {})[name] = mean
    counted = np.isfinite(values['hausdorff']) & np.isfinite(values['iou'])
    result['shape_metric_queries'] = int(np.count_nonzero(counted))
    return result
