"""References of a run, and what the same frozen features reach without training."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from photo_to_shape.data import PhotoData
from photo_to_shape.embedding import Pictures

from jaxret.baselines.references import TEMPERATURE, mixed_scores, reference_probabilities, standardized, view_scores
from jaxret.metrics.photo_to_shape import retrieval_metrics

NAMES = {
    'zero_shot': 'views, not trained',
    'zero_shot_prior': 'views and prior, not trained',
    'references': 'training photos as references, not trained',
}
_VIEWS = 0.1  # weight of the views beside references: it orders the shapes that no reference shows


def known_photos(data: PhotoData, splits: tuple[str, ...]) -> tuple[Callable[..., np.ndarray], np.ndarray]:
    """What joins an array by photo of each split, and the gallery index of the joined photos' shapes."""
    owner = np.concatenate([data.queries[split].shape for split in splits])

    def join(of: Callable[[str], np.ndarray]) -> np.ndarray:
        return np.concatenate([of(split) for split in splits if data.queries[split].names])

    return join, owner


def with_references(
    scores: np.ndarray,
    queries: np.ndarray,
    references: np.ndarray,
    owner: np.ndarray,
    *,
    weight: float,
    temperature: float,
    view_temperature: float,
) -> np.ndarray:
    """Scores [Q, G] of views mixed with what references [R, D] say of queries [Q, D]; both unit vectors."""
    found = reference_probabilities(queries, references, owner, scores.shape[1], temperature=temperature)
    return mixed_scores(scores, found, weight=weight, temperature=view_temperature)


def untrained_metrics(data: PhotoData, pictures: Pictures) -> dict[str, Mapping[str, Any]]:
    """Accuracies of `NAMES` on the test photos, by the frozen features alone."""
    gallery, test = data.gallery, data.queries['test']
    join, owner = known_photos(data, ('train', 'val'))

    def pooled(features: np.ndarray, axes: int) -> np.ndarray:
        """[..., F], maps by their mean."""
        features = features[:, 0]
        return features.mean(axis=tuple(range(axes, features.ndim - 1))) if features.ndim > axes + 1 else features

    known = join(lambda split: pooled(pictures.photo_features(data.queries[split], split), 1))
    asked = pooled(pictures.photo_features(test, 'test'), 1)
    views = pooled(pictures.view_features(gallery, 'gallery'), 2)
    if known.shape[-1] != views.shape[-1]:  # two networks, whose features say nothing of each other
        return {}
    asked, references, views = standardized(asked, known), standardized(known, known), standardized(views, views)
    zero_shot = view_scores(asked, views)
    counts = np.bincount(owner, minlength=len(gallery.names)) + 1 / len(owner)
    found = {
        'zero_shot': zero_shot,
        'zero_shot_prior': zero_shot / TEMPERATURE + np.log(counts),
        'references': with_references(
            zero_shot,
            asked,
            references,
            owner,
            weight=1 - _VIEWS,
            temperature=TEMPERATURE,
            view_temperature=TEMPERATURE,
        ),
    }
    return {
        name: {
            key: value
            for key, value in retrieval_metrics(
                scores, test.shape, test.category, gallery.category, category_names=data.dataset.categories
            ).items()
            if key.startswith(('top1', 'top10', 'category_top1')) and 'chance' not in key and 'prior' not in key
        }
        for name, scores in found.items()
    }
