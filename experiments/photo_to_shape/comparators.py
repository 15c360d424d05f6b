"""References of a run, and what the built-in model of search reaches without training."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from photo_to_shape.built_in import BuiltIn, photo_vectors
from photo_to_shape.data import PhotoData

from jaxret.metrics.photo_to_shape import retrieval_metrics
from jaxret.search.parts import views_centre
from jaxret.search.references import TEMPERATURE, pooled_scores, reference_probabilities, view_scores

_REFERENCES = 2 / 3  # their weight beside the views
_VIEW_TEMPERATURE = 0.025


def reference_vectors(
    data: PhotoData, built_in: BuiltIn, split: str, known: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of a split's photos [Q, F] and of those of the known splits [R, F]."""
    references = np.concatenate([built_in.photos(data.queries[each]) for each in known if data.queries[each].names])
    views, owner = built_in.views(data.gallery), np.concatenate([data.queries[each].shape for each in known])
    return photo_vectors(built_in.parts, views, built_in.photos(data.queries[split]), references, owner)


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


def untrained_metrics(data: PhotoData, built_in: BuiltIn) -> dict[str, Mapping[str, Any]]:
    """Accuracies of `reports.tables.UNTRAINED` on the test photos, by the built-in model alone."""
    gallery, test, known = data.gallery, data.queries['test'], ('train', 'val')
    views = built_in.views(gallery).astype(np.float32)
    photos = built_in.parts.view_queries(built_in.photos(test), None, views_centre(views))
    zero_shot = view_scores(photos, views)
    owner = np.concatenate([data.queries[split].shape for split in known])
    counts = np.bincount(owner, minlength=len(gallery.names)) + 1 / len(owner)
    vectors = reference_vectors(data, built_in, 'test', known)
    temperatures = {'temperature': TEMPERATURE, 'view_temperature': _VIEW_TEMPERATURE}
    found = {
        'zero_shot': zero_shot,
        'zero_shot_prior': zero_shot / _VIEW_TEMPERATURE + np.log(counts),
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
