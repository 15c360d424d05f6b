"""What the frozen features of a run reach without training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from domain_adaptation.data import DomainData
from domain_adaptation.embedding import Pictures, Table

from data_pipelines.domain_adaptation.prepare import PhotoTable
from jaxret.losses.scores import l2_normalize
from jaxret.metrics.domain_adaptation import benchmark_metrics
from jaxret.metrics.shrec_scores import SCORES
from jaxret.search.references import reference_probabilities


def untrained_metrics(data: DomainData, pictures: Pictures, labels: np.ndarray) -> dict[str, Mapping[str, Any]]:
    """Scores of `UNTRAINED` (`jaxret.reports.domain_adaptation`) on the test photos, by the frozen features alone.

    'zero_shot' compares features: of a photo, and the mean of a shape's views, each of length 1. 'references' compares
    class probabilities, which soft nearest neighbours among the training photos give photos and, as their mean, views;
    it is left out where there are none (`--mode=eval`).

    Args:
      data: of the run.
      pictures: with frozen features.
      labels: of the gallery's shapes, to score.
    """
    test, gallery, known = data.photos['test'], data.shapes['gallery'], data.photos['train']

    asked = pooled(pictures.plain_features(test, 'test'), 1)
    views = pooled(pictures.plain_features(gallery, 'gallery'), 2)
    compared = {'zero_shot': (asked, views.mean(axis=1))}
    if len(known):
        references = pooled(pictures.plain_features(known, 'train'), 1)

        def classes(rows: np.ndarray) -> np.ndarray:
            found = reference_probabilities(
                rows.reshape(-1, rows.shape[-1]), references, known.label, len(test.categories)
            )
            return found.reshape(*rows.shape[:-1], -1)

        compared['references'] = classes(asked), classes(views).mean(axis=1)
    return {name: scores(*pair, test.label, labels, test.categories) for name, pair in compared.items()}


def compared_features(pictures: Pictures, table: Table, name: str) -> np.ndarray:
    """Frozen features [N, F] as 'zero_shot' compares them: of photos, and the mean of a shape's views, of length 1."""
    features = pictures.plain_features(table, name)
    return pooled(features, 1) if isinstance(table, PhotoTable) else pooled(features, 2).mean(axis=1)


def pooled(features: np.ndarray, axes: int) -> np.ndarray:
    """Unit vectors [..., F] of features whose first axes are of items and views; maps by their mean."""
    return np.asarray(l2_normalize(features.mean(axis=tuple(range(axes, features.ndim - 1)))))


def scores(*given: Any) -> dict[str, float | None]:
    """The scores of `benchmark_metrics` in both modes, without what goes with them; takes its arguments."""
    names = {*SCORES, *(f'standard_{score}' for score in SCORES)}
    return {name: value for name, value in benchmark_metrics(*given).items() if name in names}
