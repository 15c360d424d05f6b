"""References of a run, and how those score photos that nobody trained: silhouettes, the built-in model of search."""

from collections.abc import Sequence

import numpy as np
from frozen_features import digest
from photo_to_shape.built_in import BuiltIn, decoded, photo_vectors
from photo_to_shape.data import PhotoData

from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from jaxret.baselines.light_field import light_field_descriptors, light_field_scores
from jaxret.search.parts import views_centre
from jaxret.search.references import TEMPERATURE, pooled_scores, reference_probabilities, view_scores

_REFERENCES = 2 / 3  # their weight beside the views
_VIEW_TEMPERATURE = 0.025
_KNOWN = ('train', 'val')  # splits whose photos are the references
_KEPT = 16  # data sets whose scores a process keeps
_kept: dict[str, dict[str, np.ndarray]] = {}  # of runs that follow each other in one process, as those of tables do


def reference_vectors(
    data: PhotoData, built_in: BuiltIn, split: str, known: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of a split's photos [Q, F] and of those of the known splits [R, F], which have some."""
    references = np.concatenate([built_in.photos(data.queries[each]) for each in known])
    views, owner = built_in.views(data.gallery), np.concatenate([data.queries[each].shape for each in known])
    return photo_vectors(built_in.parts, views, built_in.photos(data.queries[split]), references, owner)


def splits_with_photos(data: PhotoData, known: Sequence[str]) -> tuple[str, ...]:
    """Those of some splits that have photos; none where all photos of other data are test photos."""
    return tuple(split for split in known if data.queries[split].names)


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


def untrained_scores(data: PhotoData, built_in: BuiltIn | None, background: int) -> dict[str, np.ndarray]:
    """Scores [Q, G] of the test photos by each of `reports.tables.UNTRAINED`, once a process for the same data.

    Those that look at known photos are left out where there are none (`--mode=eval` on other data).

    Args:
      data: of the run.
      built_in: what looks at pictures; without it silhouettes alone are compared.
      background: grey level of the views' ground.
    """
    tables = [data.queries[split] for split in ('test', *_KNOWN)]
    key = digest(
        *(part for table in tables for part in (*table.images_encoded, *table.masks_encoded, table.shape.tobytes())),
        *(np.ascontiguousarray(views) for views in data.gallery.views),
        repr((built_in and built_in.fingerprint, background, data.gallery.views.shape)).encode(),
    )
    if key not in _kept:
        for old in list(_kept)[: len(_kept) + 1 - _KEPT]:
            del _kept[old]
        _kept[key] = _untrained_scores(data, built_in, background)
    return _kept[key]


def _untrained_scores(data: PhotoData, built_in: BuiltIn | None, background: int) -> dict[str, np.ndarray]:
    gallery, test = data.gallery, data.queries['test']
    found = {'light_field': outline_scores(test, gallery, background)}
    if built_in is None:
        return found
    found['zero_shot'] = zero_shot = zero_shot_scores(test, gallery, built_in)
    known = splits_with_photos(data, _KNOWN)
    if not known:
        return found
    owner = np.concatenate([data.queries[split].shape for split in known])
    counts = np.bincount(owner, minlength=len(gallery.names)) + 1 / len(owner)
    vectors = reference_vectors(data, built_in, 'test', known)
    temperatures = {'temperature': TEMPERATURE, 'view_temperature': _VIEW_TEMPERATURE}
    return found | {
        'zero_shot_prior': zero_shot / _VIEW_TEMPERATURE + np.log(counts),
        'references': with_references(zero_shot, vectors, data, known, weight=1.0, **temperatures),
        'references_views': with_references(zero_shot, vectors, data, known, weight=_REFERENCES, **temperatures),
    }


def untrained_unseen(
    photos: QueryTable, gallery: GalleryTable, built_in: BuiltIn | None, background: int
) -> dict[str, np.ndarray]:
    """The same [Q, G] for a gallery without any photo's shape, by those that need no training photo."""
    found = {'light_field': outline_scores(photos, gallery, background)}
    return found | ({'zero_shot': zero_shot_scores(photos, gallery, built_in)} if built_in else {})


def zero_shot_scores(photos: QueryTable, gallery: GalleryTable, built_in: BuiltIn) -> np.ndarray:
    """Scores [Q, G] of photos against views by the built-in model."""
    views = built_in.views(gallery).astype(np.float32)
    return view_scores(built_in.parts.view_queries(built_in.photos(photos), None, views_centre(views)), views)


def outline_scores(photos: QueryTable, gallery: GalleryTable, background: int) -> np.ndarray:
    """Scores [Q, G] of the photos' masks against the views' silhouettes, by light-field descriptors."""
    masks = np.stack([decoded(mask) > 127 for mask in photos.masks_encoded])
    views = [light_field_descriptors((views != background).any(axis=-1)) for views in gallery.views]
    return light_field_scores(light_field_descriptors(masks), np.stack(views))
