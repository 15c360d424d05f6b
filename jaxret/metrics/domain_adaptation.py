"""Photos as queries, shapes as gallery: all benchmark scores in both modes, with intervals, chance and class means.

Letters: Q queries, G gallery shapes, D features. Scores, modes, ties and queries without relevant shapes: see
`benchmark_scores`. Lower is better for ANMRR, higher for all others.
"""

from collections.abc import Sequence

import numpy as np

from jaxret.errors import refused
from jaxret.metrics.average_precision import average_precision
from jaxret.metrics.intervals import mean_interval
from jaxret.metrics.photo_to_shape import most_frequent_weights
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
    query_labels = _checked_labels('queries', query_labels, len(class_names))
    gallery_labels = _checked_labels('gallery', gallery_labels, len(class_names))
    shapes = np.bincount(gallery_labels, minlength=len(class_names))
    classes = [c for c in np.unique(query_labels) if shapes[c]]
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
        options = {'mode': mode, 'largest': largest, 'depth': depth}
        values = per_query_scores(ordered, **options)
        chance = chance_scores(shapes[query_labels], len(gallery_labels), **options)
        rows = [per_query_scores(ordered[query_labels == c], **options) for c in classes]
        rows_chance = [
            chance_scores(shapes[query_labels[query_labels == c]], len(gallery_labels), **options) for c in classes
        ]
        for name in SCORES:
            key = _key(name, mode)
            by_class = [_mean(row[name]) for row in rows]
            metrics[key] = _mean(values[name])
            metrics[f'{key}_low'], metrics[f'{key}_high'] = mean_interval(values[name], confidence)
            metrics[f'{key}_chance'] = chance[name]
            metrics[f'{key}_macro'] = float(np.mean(by_class)) if classes else None
            metrics[f'{key}_macro_chance'] = float(np.mean([row[name] for row in rows_chance])) if classes else None
            for c, value in zip(classes, by_class, strict=True):
                metrics['per_class'][class_names[c]][key] = value
        metrics[f'{_key("nn", mode)}_prior'] = _prior(
            query_labels[shapes[query_labels] > 0], train_labels, len(class_names)
        )
        if mode == 'official':
            metrics['precision_recall'][mode] = _pooled_curve(ordered)
    curve = average_precision(queries, gallery, query_labels, gallery_labels)
    metrics['precision_recall']['standard'] = {
        'recall': curve.recall.tolist(),
        'precision': [None if np.isnan(p) else float(p) for p in curve.precision],
    }
    return metrics


def _key(score: str, mode: Mode) -> str:
    return score if mode == 'official' else f'{mode}_{score}'


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _prior(query_labels: np.ndarray, train_labels: np.ndarray | None, classes: int) -> float | None:
    if train_labels is None or not len(train_labels) or not len(query_labels):
        return None
    return float(most_frequent_weights(np.asarray(train_labels), classes, 1)[query_labels].mean())


def _pooled_curve(ordered: np.ndarray) -> dict[str, list[float]]:
    recall, precision = pooled_precision_recall(ordered)
    kept = np.unique(np.linspace(0, len(recall) - 1, min(_CURVE_POINTS, len(recall))).round().astype(int))
    return {'recall': recall[kept].tolist(), 'precision': precision[kept].tolist()}


def _checked_labels(name: str, labels: np.ndarray, names: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise refused(name, f'labels of shape {labels.shape}', 'give one class id an item')
    if labels.size and (labels.min() < 0 or labels.max() >= names):
        raise refused(name, f'class ids {labels.min()}..{labels.max()}', f'there are {names} class names')
    return labels.astype(np.int64)
