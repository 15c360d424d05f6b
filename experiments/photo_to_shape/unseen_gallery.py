"""Retrieval from shapes that a run never saw: `evaluation.unseen_dir`, a folder in ShapeNetCore's layout."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from experiment import processes
from ml_collections import ConfigDict
from overrides import cache_folder

from data_pipelines.photo_to_shape.dataset import PhotoDataset
from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable, load_gallery, prepare
from data_pipelines.photo_to_shape.sample_shapenet import write_shapenet_sample
from data_pipelines.photo_to_shape.shapenet import read_shapenet
from jaxret.errors import DataError, Problem
from jaxret.geometry.render import ViewRing
from jaxret.metrics.shape_distances import compare_shapes
from jaxret.metrics.unseen_gallery import MEASURES, allowed_shapes, best_allowed, random_allowed, unseen_metrics

SAMPLE = 'sample'  # value of unseen_dir that stands for the synthetic gallery
# Pix3D's names of what ShapeNet calls otherwise.
SHAPENET_NAMES = {'bookcase': 'bookshelf', 'desk': 'table', 'wardrobe': 'cabinet'}


@dataclass(frozen=True, eq=False)
class Unseen:
    """An unseen gallery, ready to be searched.

    Attributes:
      folder: where it lies.
      own: whether each photo searches the shapes of its own category alone.
      gallery: its shapes with their views.
      left_out: number of shapes that are the run's own.
      queries: [Q] rows of the test photos that search it.
      query_category: [Q] their categories as ids of the gallery; those that it lacks follow its own.
      names: of all these ids.
      skipped: one line each: shapes and photos that were left out.
    """

    folder: str
    own: bool
    gallery: GalleryTable
    left_out: int
    queries: np.ndarray
    query_category: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[Problem, ...]


def read_unseen(config: ConfigDict) -> PhotoDataset | None:
    """Reads and checks the gallery's files; None where the config names none.

    Raises:
      DataError: with everything that is wrong.
    """
    folder = config.evaluation.unseen_dir
    if not folder:
        return None
    if folder == SAMPLE:
        folder = write_shapenet_sample(cache_folder(config) / 'sample-shapenet')
    return read_shapenet(
        folder, on_bad_file=config.on_bad_file, cache_dir=cache_folder(config), check_processes=processes(config)
    )


def prepare_unseen(
    config: ConfigDict,
    layout: PhotoDataset,
    ring: ViewRing,
    photos: PhotoDataset,
    test: QueryTable,
    *,
    trained_on: Collection[str],
) -> Unseen:
    """Renders the gallery without the run's own shapes, and chooses the test photos that can search it.

    Args:
      config: of the run.
      layout: of `read_unseen`.
      ring: as the run's own gallery.
      photos: names the categories of `test`.
      test: the photos.
      trained_on: names of the shapes that the run was started on; those, and the shapes of `photos`, are its own.

    Raises:
      DataError: nothing but the run's own shapes; shapes that cannot be rendered; photos of a category that the gallery
        lacks, where each searches its own (on_bad_file='skip' leaves them out, unless none is left).
    """
    prepared = prepare(
        layout,
        ring,
        size=config.data.image_size,
        cache_dir=cache_folder(config),
        processes=processes(config),
        on_bad_file=config.on_bad_file,
        name='shapenet',
    )
    known = own_shapes(layout, photos, trained_on)
    if known:
        found = f"{len(known)} of {len(layout.shapes)} shapes are the run's own: {', '.join(known[:3])}"
        problem = Problem(
            str(layout.root), found + (', ...' if len(known) > 3 else ''), 'left out of the unseen gallery'
        )
        prepared = replace(prepared, dataset=prepared.dataset.without(known, [problem]))
    own = config.evaluation.unseen_categories == 'own'
    wanted = [SHAPENET_NAMES.get(name, name) for name in photos.categories]
    present = {shape.category for shape in prepared.dataset.shapes}
    names = (*layout.categories, *(name for name in dict.fromkeys(wanted) if name not in layout.categories))
    category = np.array([names.index(wanted[c]) for c in test.category], np.int64)
    lost = np.array([own and names[c] not in present for c in category], bool)
    where = str(layout.root)
    problems = [
        Problem(
            where,
            f'no shape of category {name!r}, which {count} test photos are of',
            'add shapes, use on_bad_file=skip, or evaluation.unseen_categories=all',
        )
        for name, count in sorted(Counter(names[c] for c in category[lost]).items())
    ]
    if problems and (config.on_bad_file == 'error' or lost.all()):
        raise DataError(problems)
    keep = np.flatnonzero(~lost)
    return Unseen(
        where,
        own,
        load_gallery(prepared),
        len(known),
        keep,
        category[keep],
        names,
        (*prepared.dataset.skipped, *problems),
    )


def own_shapes(layout: PhotoDataset, photos: PhotoDataset, trained_on: Collection[str]) -> list[str]:
    """Names of the shapes of an unseen gallery that are a run's own: of one id, or of one file content.

    A name is '<synset>/<id>', or 'model/<category>/...' of Pix3D's layout, where a folder or a file may be an id.
    """
    parts = (PurePosixPath(name).parts for name in (*trained_on, *(shape.model for shape in photos.shapes)))
    ids = {PurePosixPath(part).stem for name in parts for part in name[2 if name[0] == 'model' else 1 :]}
    sizes = {shape.path.stat().st_size for shape in photos.shapes}
    contents = {_content(shape.path) for shape in photos.shapes}
    return [
        shape.model
        for shape in layout.shapes
        if PurePosixPath(shape.model).name in ids
        or (shape.path.stat().st_size in sizes and _content(shape.path) in contents)
    ]


def _content(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def compare_unseen(
    config: ConfigDict,
    unseen: Unseen,
    scores: np.ndarray,
    test: QueryTable,
    gallery: GalleryTable,
    *,
    answers: int,
    untrained: Mapping[str, np.ndarray] = {},
) -> tuple[dict[str, Any], np.ndarray, dict[str, np.ndarray], tuple[Problem, ...]]:
    """Best answers, and how far the first is from the true shape.

    Args:
      config: of the run.
      unseen: the gallery.
      scores: [Q, G] of its queries.
      test: all test photos.
      gallery: holds their true shapes.
      answers: K.
      untrained: {name: scores} of what nobody trained.

    Returns:
      Metrics (`unseen_metrics`, and as `unseen_comparators` those of each name), best answers [Q, K], {'hausdorff':
      [Q], 'iou': [Q]} of the first, and what could not be compared.
    """
    allowed = allowed_shapes(unseen.query_category, unseen.gallery.category, own=unseen.own)
    order = best_allowed(scores, allowed, answers)
    true = test.shape[unseen.queries]
    first = len(gallery.paths)
    best = [best_allowed(own, allowed, 1)[:, 0] for own in untrained.values()]
    answered = [order[:, 0], random_allowed(allowed), *best]
    paths: list[Path] = [*gallery.paths, *unseen.gallery.paths]
    found = compare_shapes(
        paths,
        np.tile(true, len(answered)),
        np.concatenate(answered) + first,
        points=config.evaluation.points,
        resolution=config.evaluation.voxels,
        up_axis=[config.data.up_axis] * first + ['y'] * len(unseen.gallery.paths),
        on_bad_file=config.on_bad_file,
        processes=processes(config),
    )
    own, chance, *others = (
        dict(zip(MEASURES, part, strict=True))
        for part in zip(*(np.split(getattr(found, name), len(answered)) for name in MEASURES), strict=True)
    )
    common = {
        'query_category': unseen.query_category,
        'gallery_category': unseen.gallery.category,
        'category_names': unseen.names,
    }
    metrics = unseen_metrics(own, chance, **common)
    compared = {name: unseen_metrics(each, chance, **common) for name, each in zip(untrained, others, strict=True)}
    facts = {'unseen_comparators': compared, 'unseen_left_out': unseen.left_out}
    return metrics | facts, order, own, found.problems
