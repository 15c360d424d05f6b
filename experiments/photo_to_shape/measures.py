"""Metrics of a run's test photos, beside those of what nobody trained: accuracies, and how far the best shapes are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from experiment import processes
from ml_collections import ConfigDict
from photo_to_shape.data import PhotoData, train_positive

from jaxret.errors import Problem
from jaxret.metrics.photo_to_shape import add_shape_metrics, retrieval_metrics
from jaxret.metrics.ranking import top_k_indices
from jaxret.metrics.shape_distances import compare_shapes
from jaxret.metrics.unseen_gallery import MEASURES

_BY_VIEWS = 'by_views'  # key of metrics.json


def seen_metrics(
    config: ConfigDict,
    data: PhotoData,
    scores: np.ndarray,
    untrained: Mapping[str, np.ndarray],
    *,
    by_views: np.ndarray | None = None,
) -> tuple[dict[str, Any], tuple[Problem, ...]]:
    """Metrics of a run, and what could not be compared.

    Args:
      config: of the run.
      data: its test photos and gallery.
      scores: [Q, G] of the run.
      untrained: {name: scores}, which become `comparators` of the metrics, with all but chance and prior.
      by_views: [Q, G] of the run without references, where it has some; likewise `by_views` of the metrics.

    Returns:
      `retrieval_metrics`, with `evaluation.shape_metrics` also those of `add_shape_metrics`, and as `hausdorff_prior`
      and `iou_prior` what always answering a shape most frequent in training reaches (of several one at random).
    """
    test, gallery, categories = data.queries['test'], data.gallery, data.dataset.categories
    train = train_positive(data.split, gallery.names)
    common = test.shape, test.category, gallery.category
    metrics = retrieval_metrics(scores, *common, category_names=categories, train_positive=train)
    others = {**untrained} if by_views is None else {**untrained, _BY_VIEWS: by_views}
    compared = {name: retrieval_metrics(own, *common, category_names=categories) for name, own in others.items()}
    if not config.evaluation.shape_metrics:
        return _joined(metrics, compared), ()

    best = [top_k_indices(own, 1, test.shape)[:, 0] for own in (scores, *others.values())]
    counts = np.bincount(train[train >= 0], minlength=len(gallery.names))
    frequent = int(np.argmax(counts + np.random.default_rng(0).random(len(counts))))
    answers = [*best, np.full(len(test.shape), frequent)]
    distances = compare_shapes(
        gallery.paths,
        np.tile(test.shape, len(answers)),
        np.concatenate(answers),
        points=config.evaluation.points,
        resolution=config.evaluation.voxels,
        up_axis=config.data.up_axis,
        on_bad_file=config.on_bad_file,
        processes=processes(config),
    )
    values = [np.split(getattr(distances, name), len(answers)) for name in MEASURES]
    shared = {'query_category': test.category, 'category_names': categories}
    metrics, *with_distances, prior = (
        add_shape_metrics(own, hausdorff=hausdorff, iou=iou, **shared)
        for own, hausdorff, iou in zip((metrics, *compared.values(), {}), *values, strict=True)
    )
    if train.max(initial=-1) >= 0:
        _add_prior(metrics, prior)
    return _joined(metrics, dict(zip(compared, with_distances, strict=True))), distances.problems


def _joined(metrics: Mapping[str, Any], compared: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Metrics with those of others, which lack what does not differ between them: chance and prior."""
    reached = {name: _reached(own) for name, own in compared.items()}
    by_views = {_BY_VIEWS: reached.pop(_BY_VIEWS)} if _BY_VIEWS in reached else {}
    return {**metrics, **by_views, 'comparators': reached}


def _add_prior(metrics: dict[str, Any], prior: Mapping[str, Any]) -> None:
    for name in MEASURES:
        metrics |= {f'{name}_prior': prior[name], f'{name}_macro_prior': prior[f'{name}_macro']}
        for category, own in prior['per_category'].items():
            metrics['per_category'][category][f'{name}_prior'] = own[name]


def _reached(metrics: Mapping[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in metrics.items() if not key.endswith(('_chance', '_prior'))}
    if 'per_category' in found:
        found['per_category'] = {name: _reached(row) for name, row in found['per_category'].items()}
    return found
