"""Images, meshes and point clouds in one space: data, training, the nine directions of retrieval, report."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from console import console
from cross_modal.data import (
    INPUTS,
    STORED_POINTS,
    available_views,
    data_folder,
    modality_batches,
    prepare_objects,
    read_objects,
    training_batches,
)
from experiment import (
    check_training_values,
    check_workdir_has_checkpoints,
    checkpoint_note,
    provenance,
    trained_state,
    view_ring,
)
from ml_collections import ConfigDict
from pretrained_start import pretrained_facts, pretrained_start
from rich.table import Table

from data_pipelines.batching import steps_per_epoch
from data_pipelines.cross_modal.prepare import ObjectTable, load_objects
from data_pipelines.random_crops import Augmentation
from jaxret.errors import ConfigError
from jaxret.files import write_atomically
from jaxret.metrics.cross_modal import cross_modal_metrics
from jaxret.pretrained.networks import FIRST_CONVOLUTIONS
from jaxret.reports.cross_modal import write_cross_modal_report
from jaxret.runs.config import flatten
from jaxret.systems.cross_modal_center import MODALITIES, CrossModalCenter
from jaxret.training.embedder import Embedder
from jaxret.training.logging import read_history
from jaxret.training.optimizers import check_optimizer
from jaxret.training.parallel import make_parallel
from jaxret.training.processes import first_before_others
from jaxret.training.state import TrainState

SELECTION = {'last': 'progress', 'mean_map': 'val_mean_map'}  # metric that picks the checkpoint


def run(config: ConfigDict, workdir: Path, *, train: bool) -> int:
    """Trains (or resumes) and evaluates, or only evaluates; returns the exit status."""
    started = time.monotonic()
    _check_config(config)
    parallel = make_parallel(config.parallel.mode, devices=config.parallel.devices, batch_size=config.batch_size)
    if not train:
        check_workdir_has_checkpoints(workdir)
    start = (
        pretrained_start(
            config,
            workdir,
            CrossModalCenter.from_config(config, classes=1),
            _example(config, not config.data_dir),
            first_convolution=config.pretrained.first_convolution,
        )
        if train
        else None
    )
    with first_before_others():
        data_dir, synthetic = data_folder(config)
        layout, run_objects = read_objects(config, data_dir, workdir, synthetic=synthetic, train=train)
        prepared = prepare_objects(config, layout)
        layout = prepared.dataset
        tables = {split: load_objects(prepared, split) for split in ('train', 'val', 'test')}

    def make_system(axis_name: str | None) -> CrossModalCenter:
        return CrossModalCenter.from_config(config, classes=len(run_objects.categories), axis_name=axis_name)

    embedder = Embedder(make_system(None), parallel)
    steps = max(1, round(config.epochs * steps_per_epoch(len(tables['train']), config.batch_size))) if train else 0

    def evaluate(state: TrainState) -> dict[str, float]:
        values = {'progress': int(state.step) / steps}  # higher is later: what select='last' goes by
        if len(tables['val']):
            metrics = _metrics(tables['val'], _embed(config, embedder, state, tables['val']))
            values |= {f'val_{name}': metrics[name] for name in ('mean_map', 'mean_map_excluding_self')}
        return values

    state = trained_state(
        config,
        workdir,
        train=train,
        parallel=parallel,
        make_system=make_system,
        example=_example(config, synthetic),
        batches=partial(training_batches, config, tables['train']),
        evaluate=evaluate,
        metric=SELECTION[config.select],
        steps=steps,
        start=start,
        title='cross-modal centers: images, meshes, point clouds',
        facts={
            'data': f'{layout.root}{" (synthetic)" if synthetic else ""}',
            'objects': ', '.join(f'{len(table)} {split}' for split, table in tables.items())
            + f'; {len(layout.categories)} classes',
            'inputs': f'{prepared.views} views of {prepared.size} x {prepared.size} pixels, {config.data.points} '
            f'points, {config.data.faces} faces',
            'skipped': f'{len(layout.skipped)} files (listed in the report)' if layout.skipped else 'nothing',
            'losses': f'labels, {config.loss.center}, {config.loss.alignment}',
            'encoders': f'{config.model.image_encoder}, meshnet, {config.model.point_encoder}',
            **pretrained_facts(workdir),
        },
        parameter_groups={'centers': config.center_optimizer},
    )
    if state is None:
        return 0

    test = tables['test']
    embeddings = _embed(config, embedder, state, test)
    metrics = _metrics(test, embeddings)
    metrics |= {'step': int(state.step), 'data_dir': str(data_dir), 'synthetic': synthetic, 'seed': config.seed}
    write_atomically(workdir / 'metrics.json', json.dumps(metrics, indent=2) + '\n')
    report = write_cross_modal_report(
        workdir / 'report',
        title=f'Images, meshes and point clouds: {workdir.name}',
        metrics=metrics,
        embeddings=embeddings,
        labels=test.label,
        class_names=test.categories,
        names=test.names,
        view_of=partial(_shown_view, test),
        config=flatten(config),
        history=read_history(workdir / 'metrics.jsonl'),
        skipped=[str(problem) for problem in layout.skipped],
        notes=_notes(config, workdir, int(state.step), views=prepared.views, held_out=len(tables['val'])),
        provenance=provenance(config, data_dir, parallel, synthetic=synthetic, started=started)
        | pretrained_facts(workdir),
    )
    print_directions(metrics)
    console.print(f'report: {report}', soft_wrap=True)
    return 0


def print_directions(metrics: dict[str, Any]) -> None:
    """Prints the mAP of the nine directions and their mean, with intervals and what chance gives."""
    table = Table(title=f'test: mAP over {metrics["queries"]} objects in every modality')
    for column in ('query \u2192 gallery', 'mAP', '95 % interval', 'class mean', 'chance', 'without itself', 'chance'):
        table.add_column(column, justify='right' if table.columns else 'left')

    def row(title: str, key: str, *, alone: bool) -> None:
        names = [key, f'{key}_macro', f'{key}_chance']
        names += [f'{key}_excluding_self', f'{key}_excluding_self_chance'] if alone else []
        values = [metrics.get(name) for name in names] + [None] * (5 - len(names))
        shown = ['' if value is None else f'{value:.3f}' for value in values]
        low, high = metrics.get(f'{key}_low'), metrics.get(f'{key}_high')
        interval = '' if low is None or high is None else f'{low:.3f} - {high:.3f}'
        table.add_row(title, shown[0], interval, *shown[1:])

    for query in MODALITIES:
        for gallery in MODALITIES:
            row(f'{query} \u2192 {gallery}', f'map_{query}_{gallery}', alone=query == gallery)
    table.add_section()
    row('mean of the nine', 'mean_map', alone=True)
    console.print(table)


def _check_config(config: ConfigDict) -> None:
    """Refuses values that would fail only after long work."""
    check_training_values(
        config,
        positive=(
            'data.image_size',
            'data.points',
            'data.faces',
            'data.published_views',
            'evaluation.batch_size',
            'sample.train_per_class',
            'sample.test_per_class',
            'center_optimizer.learning_rate',
        ),
        not_negative=(
            'data.train_per_class',
            'data.views_per_step',
            'evaluation.views',
            'center_optimizer.weight_decay',
            'center_optimizer.clip_norm',
        ),
        fractions=('data.val_fraction', 'center_optimizer.b1', 'center_optimizer.b2', 'center_optimizer.momentum'),
        choices={
            'select': tuple(SELECTION),
            'data.layout': ('meshes', 'published'),
            'data.points_up_axis': ('y', 'z'),
            'pretrained.first_convolution': FIRST_CONVOLUTIONS,
        },
    )
    check_optimizer(config.center_optimizer, group='center_optimizer')
    CrossModalCenter.from_config(config, classes=1)
    view_ring(config, 'data.image_size')
    synthetic = not config.data_dir
    views = available_views(config, synthetic=synthetic)
    for key, value, most in (
        ('data.views_per_step', config.data.views_per_step, views),
        ('evaluation.views', config.evaluation.views, views),
        ('data.points', config.data.points, STORED_POINTS),
        ('data.published_views', config.data.published_views, 180),
    ):
        if value > most:
            raise ConfigError(f'config.{key}: {value}, but an object has {most}')
    if config.data.faces < 4:
        raise ConfigError(f'config.data.faces: {config.data.faces} is too few for a mesh; use 4 or more')
    if config.select == 'mean_map' and config.data.val_fraction == 0:
        raise ConfigError(
            'config.select: mean_map is measured on held-out objects; set --config.data.val_fraction '
            'above 0, or use last'
        )
    Augmentation.from_config(config.view_augmentation)


def _example(config: ConfigDict, synthetic: bool) -> dict[str, np.ndarray]:
    """One object of zeros, with the shapes of a training batch."""
    data = config.data
    views = data.views_per_step or available_views(config, synthetic=synthetic)
    return {
        'image': np.zeros((1, views, data.image_size, data.image_size, 1), np.uint8),
        'points': np.zeros((1, data.points, 3), np.float32),
        'faces': np.zeros((1, data.faces, 15), np.float32),
        'neighbors': np.zeros((1, data.faces, 3), np.int32),
    }


def _embed(config: ConfigDict, embedder: Embedder, state: TrainState, table: ObjectTable) -> dict[str, np.ndarray]:
    """Embeddings [N, D] of all objects in every modality."""
    return {
        modality: embedder.embed(
            state.evaluation_variables, modality_batches(config, table, modality), modality, valid='valid'
        )
        for modality in INPUTS
    }


def _metrics(table: ObjectTable, embeddings: dict[str, np.ndarray]) -> dict[str, Any]:
    return cross_modal_metrics(embeddings, table.label, table.categories)


def _shown_view(table: ObjectTable, row: int) -> np.ndarray:
    """The view by which reports show an object: turned a little, which shows more than the front."""
    return table.views([row], [1 % table.views_encoded.shape[1]])[0, 0, :, :, 0]


def _notes(config: ConfigDict, workdir: Path, step: int, *, views: int, held_out: int) -> list[str]:
    """What a reader of the numbers must know."""
    checkpoint = f'Checkpoint of step {step}, the last one.'
    if config.select == 'mean_map':
        checkpoint = checkpoint_note(
            workdir, step, metric='val_mean_map', held_out=f'{held_out} held-out training objects'
        )
    used = config.evaluation.views or views
    return [
        checkpoint,
        'mAP: mean over all test objects of the average precision over the whole gallery, ranked by cosine; relevant '
        'is what has the class of the query. Equal scores count against the system.',
        'Within a modality the query itself is in the gallery, as in the published tables, and comes first; '
        'the columns "without itself" take it out. In other directions the same object in the gallery is relevant.',
        f'An image query is the mean feature of {"all" if used == views else "the same"} {used} of {views} views.',
        'Meshes and point clouds are shown by a rendered view of their object.',
    ]
