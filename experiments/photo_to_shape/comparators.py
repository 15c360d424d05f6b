"""References of a run, and what the same frozen features reach without training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from photo_to_shape.data import PhotoData
from photo_to_shape.embedding import Pictures

from jaxret.metrics.photo_to_shape import retrieval_metrics
from jaxret.search.references import TEMPERATURE, pooled_scores, reference_probabilities, standardized, view_scores

_REFERENCES = 2 / 3  # their weight beside the views


def frozen_photos(data: PhotoData, pictures: Pictures, split: str, known: Sequence[str]) -> tuple[np.ndarray, ...]:
    """Frozen features as unit vectors: of a split's photos [Q, F], and of those of the known splits [R, F]."""

    def features(split: str) -> np.ndarray:
        return _pooled(pictures.photo_features(data.queries[split], split)[:, 0], 1)

    references = np.concatenate([features(each) for each in known if data.queries[each].names])
    return standardized(features(split), references), standardized(references, references)


def with_references(
    scores: np.ndarray,
    vectors: tuple[np.ndarray, ...],
    data: PhotoData,
    known: Sequence[str],
    *,
    weight: float,
    temperature: float,
    view_temperature: float,
) -> np.ndarray:
    """Scores [Q, G] of views, pooled with what references say.

    Args:
      scores: [Q, G].
      vectors: unit vectors of queries and references.
      data: of the run.
      known: splits whose photos are the references.
      weight, temperature: of the references.
      view_temperature: of the scores.
    """
    owner = np.concatenate([data.queries[split].shape for split in known])
    found = reference_probabilities(*vectors, owner, scores.shape[1], temperature=temperature)
    return pooled_scores(scores, found, weight=weight, temperature=view_temperature)


def untrained_metrics(data: PhotoData, pictures: Pictures) -> dict[str, Mapping[str, Any]]:
    """Accuracies of `UNTRAINED` on the test photos, by the frozen features alone."""
    gallery, test, known = data.gallery, data.queries['test'], ('train', 'val')
    views = _pooled(pictures.view_features(gallery, 'gallery')[:, 0], 2)
    vectors = frozen_photos(data, pictures, 'test', known)
    if vectors[0].shape[-1] != views.shape[-1]:  # two networks, whose features say nothing of each other
        return {}
    zero_shot = view_scores(vectors[0], standardized(views, views))
    owner = np.concatenate([data.queries[split].shape for split in known])
    counts = np.bincount(owner, minlength=len(gallery.names)) + 1 / len(owner)
    temperatures = {'temperature': TEMPERATURE, 'view_temperature': TEMPERATURE}
    found = {
        'zero_shot': zero_shot,
        'zero_shot_prior': zero_shot / TEMPERATURE + np.log(counts),
        'references': with_references(zero_shot, vectors, data, known, weight=1.0, **temperatures),
        'references_views': with_references(zero_shot, vectors, data, known, weight=_REFERENCES, **temperatures),
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


def _pooled(features: np.ndarray, axes: int) -> np.ndarray:
    """[..., F] with that many axes before the last; maps by their mean."""
    return features.mean(axis=tuple(range(axes, features.ndim - 1))) if features.ndim > axes + 1 else features
