"""What each system takes of queries and of shapes, from the config of its run: the same as training made.

Letters: B a batch, V views, S size in pixels, N points, M faces, R voxels a side, D embedding.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxret.errors import CheckpointError, ConfigError
from jaxret.geometry.mesh_features import FACE_VALUES
from jaxret.preprocessing.photos import PhotoInputs
from jaxret.preprocessing.shapes import RESOLUTION, ShapeInputs, spaced, view_ring
from jaxret.runs.finished import FinishedRun
from jaxret.search.similarity import similarity_of
from jaxret.systems.base import Batch, Variables
from jaxret.systems.cmic import CMIC, pool_views
from jaxret.systems.cross_modal_center import CrossModalCenter
from jaxret.systems.hifa import Hifa
from jaxret.systems.scan_cad import ScanCad

Arrays = Mapping[str, tuple[tuple[int, ...], type]]  # name -> shape without the batch axis, type


@dataclass(frozen=True)
class QueryKind:
    """How one kind of query is embedded.

    Attributes:
      inputs: what is made of a file.
      modality: passed on to `TrainedSystem.embed`.
      arrays: what the encoder takes.
    """

    inputs: PhotoInputs | ShapeInputs
    modality: str
    arrays: Arrays


@dataclass(frozen=True)
class TrainedSystem:
    """A system as a tool.

    Attributes:
      name: 'cmic', 'cross_modal_center', 'hifa' or 'scan_cad'.
      embed: (variables, arrays [B, ...] by name, modality) -> [B, D] or [B, V, D].
      shape_inputs: what is made of a model file.
      gallery: modality of the shapes that are searched.
      queries: by kind.
      similarity: one of `similarity.KINDS`.
      batch_size: items that are embedded at once, as in the run's evaluation.
      notes: what a user should know.
    """

    name: str
    embed: Callable[[Variables, Batch, str], jax.Array]
    shape_inputs: ShapeInputs
    gallery: str
    queries: Mapping[str, QueryKind]
    similarity: str
    batch_size: int
    notes: tuple[str, ...] = ()


def trained_system(run: FinishedRun, gallery: str | None) -> TrainedSystem:
    """The system of a run.

    Args:
      run: of one of the four systems.
      gallery: by what a shape is searched, where there is a choice; None for the first.

    Raises:
      CheckpointError: a run that trained nothing, or none of the four.
      ConfigError: `gallery` is none of its choices.
    """
    makers = {
        'photo_to_shape': _cmic,
        'cross_modal': _cross_modal,
        'domain_adaptation': _hifa,
        'scan_to_cad': _scan_cad,
    }
    if run.config.experiment not in makers:
        raise CheckpointError(f'{run.workdir}: experiment {run.config.experiment!r} is not one of {", ".join(makers)}')
    if gallery is not None and run.config.experiment != 'cross_modal':
        raise ConfigError(f'gallery {gallery!r}: only cross-modal centers leave a choice')
    return makers[run.config.experiment](run, gallery)


def _cmic(run: FinishedRun, gallery: str | None) -> TrainedSystem:
    del gallery
    config, size = run.config, run.config.data.image_size
    # Centers and label head of loss.kind 'center' embed nothing; their number does not matter here.
    system = CMIC.from_config(config, shapes=1)
    ring = view_ring(config.render, size=size)
    shapes = ShapeInputs('views', ring=ring, view_ids=tuple(range(ring.views)), side=size, up_axis=config.data.up_axis)
    photo = PhotoInputs('masked', size=size, crop=config.data.crop, margin=config.data.margin, fit=config.data.fit)
    arrays = {'image': ((size, size, 3), np.uint8), 'mask': ((size, size, 1), np.uint8)}
    embed, similarity = system.embed, system.pooling
    if system.pooling == 'unit_mean':  # a shape is one unit vector, whatever the query
        embed, similarity = partial(_unit_mean, system), 'dot'
    return TrainedSystem(
        'cmic',
        embed,
        shapes,
        'views',
        {'photo': QueryKind(photo, 'photo', arrays)},
        similarity,
        config.evaluation.batch_size,
    )


def _unit_mean(system: CMIC, variables: Variables, batch: Batch, modality: str) -> jax.Array:
    embeddings = system.embed(variables, batch, modality)
    return pool_views(embeddings, 'unit_mean') if modality == 'views' else embeddings


def _cross_modal(run: FinishedRun, gallery: str | None) -> TrainedSystem:
    config, data = run.config, run.config.data
    system = CrossModalCenter.from_config(config, classes=len(run.categories))
    ring = view_ring(config.render, size=data.image_size)
    base = ShapeInputs(
        'views',
        ring=ring,
        view_ids=spaced(min(config.evaluation.views, ring.views), ring.views),
        side=data.image_size,
        unit_sphere=True,
        points=data.points,
        faces=data.faces,
        up_axis=data.up_axis,
    )
    modalities = {'views': 'image', 'faces': 'mesh', 'points': 'point'}
    chosen = gallery or 'views'
    if chosen not in modalities:
        raise ConfigError(f'gallery {chosen!r}: choose one of {", ".join(modalities)}')
    size = data.image_size
    faces = {'faces': ((data.faces, FACE_VALUES), np.float32), 'neighbors': ((data.faces, 3), np.int32)}
    queries = {
        'photo': QueryKind(PhotoInputs('view', size=size), 'image', {'views': ((1, size, size, 1), np.uint8)}),
        'mesh': QueryKind(replace(base, representation='faces'), 'mesh', faces),
        'points': QueryKind(
            replace(base, representation='points'), 'point', {'points': ((data.points, 3), np.float32)}
        ),
    }
    notes = (
        'It was trained on rendered views: a photo is cut out by its mask and made grey, and finds less than a '
        'view would.',
    )
    return TrainedSystem(
        'cross_modal_center',
        partial(_images_by_views, system),
        replace(base, representation=chosen),
        modalities[chosen],
        queries,
        similarity_of(system),
        config.evaluation.batch_size,
        notes,
    )


def _images_by_views(system: CrossModalCenter, variables: Variables, batch: Batch, modality: str) -> jax.Array:
    return system.embed(variables, {'image': batch['views']} if modality == 'image' else batch, modality)


def _hifa(run: FinishedRun, gallery: str | None) -> TrainedSystem:
    del gallery
    config, data = run.config, run.config.data
    system = Hifa.from_config(config, classes=len(run.categories), steps=1)
    ring = view_ring(config.render, size=data.stored_size)
    shapes = ShapeInputs(
        'views',
        ring=ring,
        view_ids=spaced(min(config.evaluation.views, ring.views), ring.views),
        side=data.image_size,
        up_axis=data.up_axis,
    )
    photo = PhotoInputs('plain', size=data.image_size, stored_size=data.stored_size, fit=data.fit)
    side = data.image_size
    queries = {
        'photo': QueryKind(photo, 'photo', {'photo': ((side, side, 3), np.uint8)}),
        'mesh': QueryKind(shapes, 'shape', {'views': ((len(shapes.view_ids), side, side, 1), np.uint8)}),
    }
    notes = ()
    if config.evaluation.alignment != 'none':
        notes = (
            f'Its evaluation aligned the embeddings with {config.evaluation.alignment}, which needs the training '
            f'data; here they are those of the network.',
        )
    return TrainedSystem(
        'hifa', system.embed, shapes, 'shape', queries, similarity_of(system), config.evaluation.batch_size, notes
    )


def _scan_cad(run: FinishedRun, gallery: str | None) -> TrainedSystem:
    del gallery
    if run.config.method != 'learned':
        raise CheckpointError(
            f"{run.workdir}: method {run.config.method!r} trains nothing; give a run with config.method='learned'"
        )
    system = ScanCad.from_config(run.config)
    grid = ShapeInputs('grid', up_axis=_up_axis(run.config))
    arrays = {'grid': ((RESOLUTION,) * 3, np.uint8)}
    queries = {'scan': QueryKind(grid, 'scan', arrays), 'mesh': QueryKind(grid, 'cad', arrays)}
    return TrainedSystem(
        'scan_cad',
        partial(_grids, system),
        grid,
        'cad',
        queries,
        similarity_of(system),
        run.config.evaluation.batch_size,
    )


def _up_axis(config: ConfigDict) -> str:
    """Grids have no axis to choose; meshes that become grids are +y up where nothing else is said."""
    return config.data.up_axis if 'up_axis' in config.data else 'y'


def _grids(system: ScanCad, variables: Variables, batch: Batch, modality: str) -> jax.Array:
    return system.embed(variables, {modality: batch['grid']}, modality)


def array_types(arrays: Arrays) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes [1, ...] and types of the arrays of one query."""
    return {name: jax.ShapeDtypeStruct((1, *shape), dtype) for name, (shape, dtype) in arrays.items()}
