"""Photo -> CAD model: data, CMIC, training, evaluation and report, read from top to bottom."""

import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from console import console
from experiment import (
    check_training_values,
    check_workdir_has_checkpoints,
    checkpoint_note,
    process_share,
    processes,
    provenance,
    trained_state,
    view_ring,
)
from ml_collections import ConfigDict
from overrides import cache_folder
from photo_to_shape.data import LAYOUTS, count_note, data_folder, read_layout
from photo_to_shape.pictures import ANSWERS, print_metrics, query_cards, query_planes, unseen_cards
from photo_to_shape.unseen_gallery import Unseen, compare_unseen, prepare_unseen, read_unseen
from pretrained_start import pretrained_facts, pretrained_start

from data_pipelines.batching import steps_per_epoch
from data_pipelines.photo_to_shape import batches as pipeline
from data_pipelines.photo_to_shape.dataset import PhotoDataset
from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable, load_gallery, load_queries, prepare
from data_pipelines.random_crops import Augmentation
from jaxret.errors import ConfigError, Problem
from jaxret.files import write_atomically
from jaxret.metrics.photo_to_shape import add_shape_metrics, retrieval_metrics
from jaxret.metrics.ranking import top_k_indices
from jaxret.metrics.shape_distances import compare_shapes
from jaxret.pretrained.networks import FIRST_CONVOLUTIONS
from jaxret.reports.attention_planes import draw_category_planes
from jaxret.reports.photo_to_shape import UnseenGallery, write_report
from jaxret.runs.config import flatten
from jaxret.runs.split import RunSplit
from jaxret.systems.cmic import CMIC
from jaxret.training.embedder import Embedder
from jaxret.training.logging import read_history
from jaxret.training.parallel import make_parallel
from jaxret.training.processes import first_before_others
from jaxret.training.state import TrainState

SELECTION = ('mean_reciprocal_rank', 'top1', 'top10')


def run(config: ConfigDict, workdir: Path, *, train: bool) -> int:
    """Trains (or resumes) and evaluates, or only evaluates; returns the exit status."""
    started = time.monotonic()
    _check_config(config)
    CMIC.from_config(config)  # refuses wrong values
    ring = view_ring(config, 'data.image_size')
    parallel = make_parallel(
        config.parallel.mode, devices=config.parallel.devices, batch_size=config.batch_size, chunk=config.model.chunk
    )
    if not train:
        check_workdir_has_checkpoints(workdir)
    start = (
        pretrained_start(
            config,
            workdir,
            CMIC.from_config(config, shapes=1),
            _example(config),
            first_convolution=config.pretrained.first_convolution,
        )
        if train
        else None
    )
    with first_before_others():
        data_dir, synthetic = data_folder(config)
        unseen_layout = read_unseen(config)
        layout, run_split = read_layout(config, data_dir, workdir, train=train)
        make_system = partial(CMIC.from_config, config, shapes=len(run_split.gallery), chunk=config.model.chunk)
        system = make_system()
        prepared = prepare(
            layout,
            ring,
            size=config.data.image_size,
            crop=config.data.crop,
            margin=config.data.margin,
            fit=config.data.fit,
            cache_dir=cache_folder(config),
            processes=processes(config),
            on_bad_file=config.on_bad_file,
            name=config.data.layout,
        )
        layout = prepared.dataset
        gallery = load_gallery(prepared)
        queries = {split: load_queries(prepared, split) for split in ('train', 'val', 'test')}
        test = queries['test']
        unseen = prepare_unseen(config, unseen_layout, ring, layout, test) if unseen_layout else None

    embedder = Embedder(system, parallel)
    steps = 0
    if train:
        photos = len(queries['train'].names)
        pipeline.check_batch_size(config.batch_size, photos, len(gallery.names))
        steps = max(1, round(config.epochs * steps_per_epoch(photos, config.batch_size)))

    def evaluate(state: TrainState) -> dict[str, float]:
        held_out = queries['val']
        shapes = _embed_shapes(config, embedder, state, gallery)
        scores = embedder.score(state.evaluation_variables, _embed_photos(config, embedder, state, held_out), shapes)
        values = retrieval_metrics(
            scores, held_out.shape, held_out.category, gallery.category, category_names=layout.categories
        )
        return {f'val_{name}': values[name] for name in (*SELECTION, 'category_top1')}

    size = config.data.image_size
    state = trained_state(
        config,
        workdir,
        train=train,
        parallel=parallel,
        steps=steps,
        evaluate=evaluate,
        make_system=lambda axis_name: make_system(axis_name=axis_name),
        example=_example(config),
        start=start,
        batches=partial(_training_batches, config, queries['train'], gallery),
        metric=f'val_{config.select}',
        title='CMIC, photo to CAD model',
        facts={
            'data': f'{layout.root}{" (synthetic)" if synthetic else ""}',
            'photos': ', '.join(f'{len(table.names)} {split}' for split, table in queries.items())
            + f'; {size} x {size} pixels',
            'gallery': f'{len(gallery.names)} shapes, {config.render.views} views each; {", ".join(layout.categories)}',
            'skipped': f'{len(layout.skipped)} files (listed in the report)' if layout.skipped else 'nothing',
            'encoders': f'{config.model.query_encoder}, {config.model.view_encoder}',
            **pretrained_facts(workdir),
        },
    )
    if state is None:
        return 0

    variables = state.evaluation_variables
    photos, shapes = _embed_photos(config, embedder, state, test), _embed_shapes(config, embedder, state, gallery)
    scores = embedder.score(variables, photos, shapes)
    metrics, problems = _test_metrics(config, layout, scores, test, gallery, _train_positive(run_split, gallery.names))
    metrics |= {'step': int(state.step), 'data_dir': str(data_dir), 'synthetic': synthetic, 'seed': config.seed}
    shown = None
    if unseen:
        found, shown = _search_unseen(config, embedder, state, unseen, photos, layout, test, gallery)
        metrics |= shown.metrics
        problems = (*problems, *unseen.skipped, *found)
    write_atomically(workdir / 'metrics.json', json.dumps(metrics, indent=2) + '\n')
    notes = [
        checkpoint_note(
            workdir,
            int(state.step),
            metric=f'val_{config.select}',
            held_out=f'{run_split.count("val")} held-out training photos',
        )
    ]
    if not synthetic and (note := count_note(config, layout)):
        notes.append(note)
    planes = query_planes(system, variables, photos, shapes, test, gallery, layout.categories)
    report = write_report(
        workdir / 'report',
        title=f'Photo to CAD model: {workdir.name}',
        metrics=metrics,
        config=flatten(config),
        history=read_history(workdir / 'metrics.jsonl'),
        queries=query_cards(layout, scores, test, gallery),
        skipped=[str(problem) for problem in (*layout.skipped, *problems)],
        notes=notes,
        provenance=provenance(config, data_dir, parallel, synthetic=synthetic, started=started)
        | pretrained_facts(workdir),
        planes=draw_category_planes(planes, layout.categories),
        unseen=shown,
    )
    print_metrics(metrics)
    console.print(f'report: {report}', soft_wrap=True)
    return 0


def _check_config(config: ConfigDict) -> None:
    """Refuses values that would fail only after long work."""
    if config.select not in SELECTION:
        raise ConfigError(f'config.select: {config.select!r} is not one of {", ".join(SELECTION)}')
    check_training_values(
        config,
        positive=(
            'data.image_size',
            'model.embedding_dim',
            'loss.temperature',
            'evaluation.batch_size',
            'evaluation.points',
            'evaluation.voxels',
        ),
        not_negative=(
            'data.margin',
            'data.views_per_step',
            'loss.category_weight',
            'loss.margin',
            'loss.label_weight',
            'loss.center_weight',
            'loss.alignment_weight',
            'color.hsv_range',
        ),
        fractions=('data.test_fraction', 'data.val_fraction'),
        choices={
            'data.layout': tuple(LAYOUTS),
            'data.gallery': ('folder', 'referenced'),
            'data.crop': ('mask', 'bbox', 'none'),
            'data.fit': ('pad', 'stretch'),
            'data.masks': ('auto', 'pose', 'frame'),
            'evaluation.unseen_categories': ('own', 'all'),
            'pretrained.first_convolution': FIRST_CONVOLUTIONS,
        },
    )
    if not 0 <= config.color.probability <= 1:
        raise ConfigError(f'config.color.probability: {config.color.probability!r} is not in [0, 1]')
    if config.data.views_per_step > config.render.views:
        raise ConfigError(
            f'config.data.views_per_step: {config.data.views_per_step}, but config.render.views is '
            f'{config.render.views}'
        )
    for group in (config.photo_augmentation, config.view_augmentation):
        Augmentation.from_config(group)


def _example(config: ConfigDict) -> dict[str, np.ndarray]:
    """One photo and one view of zeros, with the shapes of a training batch."""
    size, channels = config.data.image_size, view_ring(config, 'data.image_size').channels
    return {
        'image': np.zeros((1, size, size, 3), np.uint8),
        'mask': np.zeros((1, size, size, 1), np.uint8),
        'views': np.zeros((1, 1, size, size, channels), np.uint8),
    }


def _training_batches(
    config: ConfigDict, queries: QueryTable, gallery: GalleryTable, start: int, stop: int
) -> Iterator[pipeline.Batch]:
    return pipeline.training_batches(
        queries,
        gallery,
        size=config.data.image_size,
        batch_size=config.batch_size,
        seed=config.seed,
        start=start,
        stop=stop,
        photo_augmentation=Augmentation.from_config(config.photo_augmentation),
        view_augmentation=Augmentation.from_config(config.view_augmentation),
        views_per_step=config.data.views_per_step,
        share=process_share(),
    )


def _embed_shapes(config: ConfigDict, embedder: Embedder, state: TrainState, gallery: GalleryTable) -> np.ndarray:
    """[G, V, D]; each shape is encoded once."""
    batches = pipeline.gallery_batches(gallery, batch_size=config.evaluation.batch_size)
    return embedder.embed(state.evaluation_variables, batches, 'views', valid='shape_valid')


def _embed_photos(config: ConfigDict, embedder: Embedder, state: TrainState, queries: QueryTable) -> np.ndarray:
    """[Q, D]."""
    batches = pipeline.query_batches(queries, size=config.data.image_size, batch_size=config.evaluation.batch_size)
    return embedder.embed(state.evaluation_variables, batches, 'photo', valid='query_valid')


def _search_unseen(
    config: ConfigDict,
    embedder: Embedder,
    state: TrainState,
    unseen: Unseen,
    photos: np.ndarray,
    layout: PhotoDataset,
    test: QueryTable,
    gallery: GalleryTable,
) -> tuple[tuple[Problem, ...], UnseenGallery]:
    """What could not be compared, and metrics and cards of the unseen gallery; `photos` [Q, D] are all of `test`."""
    shapes = _embed_shapes(config, embedder, state, unseen.gallery)
    scores = embedder.score(state.evaluation_variables, photos[unseen.queries], shapes)
    metrics, order, distances, problems = compare_unseen(config, unseen, scores, test, gallery, answers=ANSWERS)
    cards = unseen_cards(
        layout, unseen.queries, test, gallery, unseen.gallery, scores=scores, order=order, distances=distances
    )
    return problems, UnseenGallery(unseen.folder, unseen.own, metrics, cards)


def _test_metrics(
    config: ConfigDict,
    layout: PhotoDataset,
    scores: np.ndarray,
    test: QueryTable,
    gallery: GalleryTable,
    train_positive: np.ndarray,
) -> tuple[dict[str, Any], tuple]:
    """Accuracies, and the distance of the Top-1 shapes to the true ones."""
    metrics = retrieval_metrics(
        scores,
        test.shape,
        test.category,
        gallery.category,
        category_names=layout.categories,
        train_positive=train_positive,
    )
    if not config.evaluation.shape_metrics:
        return metrics, ()
    best = top_k_indices(scores, 1, test.shape)[:, 0]
    distances = compare_shapes(
        gallery.paths,
        test.shape,
        best,
        points=config.evaluation.points,
        resolution=config.evaluation.voxels,
        up_axis=config.data.up_axis,
        on_bad_file=config.on_bad_file,
        processes=processes(config),
    )
    return add_shape_metrics(
        metrics,
        hausdorff=distances.hausdorff,
        iou=distances.iou,
        query_category=test.category,
        category_names=layout.categories,
    ), distances.problems


def _train_positive(run_split: RunSplit, names: Sequence[str]) -> np.ndarray:
    """Gallery index of the shape of every photo that the run was trained on, -1 where it is not in this gallery.

    Held-out photos are among them, so that the prior does not depend on their choice.
    """
    index_of = {name: index for index, name in enumerate(names)}
    return np.array(
        [index_of.get(run_split.shape[photo], -1) for photo, split in run_split.split.items() if split != 'test'],
        np.int64,
    )
