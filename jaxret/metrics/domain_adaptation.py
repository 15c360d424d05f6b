"""Photos as queries, shapes as gallery: all benchmark scores in both modes, with intervals, chance and class means.

Letters: Q queries, G gallery shapes, D features. Scores, modes, ties and queries without relevant shapes: see
`shrec_scores`. Lower is better for ANMRR, higher for all others.
"""

from collections.abc import Sequence

import numpy as np

from jaxret.metrics.average_precision import average_precision
from jaxret.metrics.intervals import mean_metrics
from jaxret.metrics.photo_to_shape import most_frequent_weights
from jaxret.metrics.rates import checked_ids, known_mean
from jaxret.metrics.shrec_chance import chance_scores
from jaxret.metrics.shrec_scores import (
    DEPTH,
    MODES,
    SCORES,
    Mode,
    largest_class,
    ordered_relevance,
    per_query_scores,
    pooled_precision_recall,
)

_CURVE_POINTS = 100  # ranks of the pooled curve that are kept


def benchmark_metrics(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    class_names: Sequence[str],
    *,
    train_labels: np.ndarray | None = None,
    depth: int = DEPTH,
    confidence: float = 0.95,
) -> dict:
    """All scores of one evaluation.

    Args:
      queries: [Q, D] features of the photos.
      gallery: [G, D] features of the shapes.
      query_labels, gallery_labels: [Q], [G] class ids.
      class_names: name of every class id.
      train_labels: class ids of the training photos; without them there is no prior.
      depth: rank at which F is taken.
      confidence: level of the intervals.

    Returns:
      A flat dict of Python numbers, JSON-ready. For every score A in nn, ft, st, f, dcg, anmrr, auc (official) and
      standard_nn, ..., standard_auc:
        A, A_low, A_high     over all queries, and its Student-t interval
        A_chance             exact expectation of independent random orders
        A_macro, A_macro_chance   mean over the classes that have queries and shapes
      nn_prior, standard_nn_prior: always answering a shape of the class most frequent in training (None without
      `train_labels`).
      queries, gallery, queries_without_relevant (their class is not in the gallery; left out of every score),
      per_class: {name: {queries, relevant, and every A}}, precision_recall: {official, standard: {recall, precision}}
      (pooled over queries; mean interpolated precision at 11 levels). A value is None where no query counts.

    Raises:
      DataError: no queries or shapes, arrays that do not fit together, ids without a name, features not finite.
    """
    names = len(class_names)
    query_labels = checked_ids('queries', query_labels, len(queries), names, kind='class')
    gallery_labels = checked_ids('gallery', gallery_labels, len(gallery), names, kind='class')
    shapes = np.bincount(gallery_labels, minlength=names)
    metrics: dict = {
        'queries': len(query_labels),
        'gallery': len(gallery_labels),
        'queries_without_relevant': int(np.count_nonzero(shapes[query_labels] == 0)),
        'per_class': {
            class_names[c]: {'queries': int(np.count_nonzero(query_labels == c)), 'relevant': int(shapes[c])}
            for c in np.unique(query_labels)
        },
        'precision_recall': {},
    }
    for mode in MODES:
        ordered = ordered_relevance(queries, gallery, query_labels, gallery_labels, mode=mode)
        largest = largest_class(query_labels, gallery_labels, mode=mode)
        overall, per_class = _mode_metrics(ordered, query_labels, shapes, confidence, mode, largest, depth)
        metrics |= overall
        for c, row in per_class.items():
            metrics['per_class'][class_names[c]] |= row
        metrics[f'{_key("nn", mode)}_prior'] = _prior(query_labels[shapes[query_labels] > 0], train_labels, names)
        if mode == 'official':
            metrics['precision_recall'][mode] = _pooled_curve(ordered)
    curve = average_precision(queries, gallery, query_labels, gallery_labels)
    metrics['precision_recall']['standard'] = {'recall': curve.recall.tolist(), 'precision': curve.known_precision}
    return metrics


def _mode_metrics(
    ordered: np.ndarray,
    query_labels: np.ndarray,
    shapes: np.ndarray,
    confidence: float,
    mode: Mode,
    largest: int,
    depth: int,
) -> tuple[dict, dict[int, dict]]:
    """All scores of one mode over all queries, and of each class that has queries and shapes."""

    def scores(rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float | None]]:
        options = {'mode': mode, 'largest': largest, 'depth': depth}
        chance = chance_scores(shapes[query_labels[rows]], ordered.shape[1], **options)
        return per_query_scores(ordered[rows], **options), chance

    values, chance = scores(np.ones(len(ordered), bool))
    classes = {int(c): scores(query_labels == c) for c in np.unique(query_labels) if shapes[c]}
    metrics, per_class = {}, {c: {} for c in classes}
    for name in SCORES:
        key = _key(name, mode)
        for c, (own, _) in classes.items():
            per_class[c][key] = known_mean(own[name])
        metrics |= mean_metrics(key, values[name], confidence) | {
            f'{key}_chance': chance[name],
            f'{key}_macro': known_mean(row[key] for row in per_class.values()),
            f'{key}_macro_chance': known_mean(own[name] for _, own in classes.values()),
        }
    return metrics, per_class


def _key(score: str, mode: Mode) -> str:
    return score if mode == 'official' else f'{mode}_{score}'


def _prior(query_labels: np.ndarray, train_labels: np.ndarray | None, classes: int) -> float | None:
    if train_labels is None or not len(train_labels) or not len(query_labels):
        return None
    return float(most_frequent_weights(np.asarray(train_labels), classes, 1)[query_labels].mean())


def _pooled_curve(ordered: np.ndarray) -> dict[str, list[float]]:
    recall, precision = pooled_precision_recall(ordered)
    kept = np.unique(np.linspace(0, len(recall) - 1, min(_CURVE_POINTS, len(recall))).round().astype(int))
    return {'recall': recall[kept].tolist(), 'precision': precision[kept].tolist()}
