"""Labelled photos, unlabelled shapes: data, training, photo -> shape retrieval, report, read from top to bottom.

No label of a shape has a part in training or in the choice of the checkpoint: batches hold none, and `shape_labels` is
called once, after training, to score.
"""

import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from console import console
from domain_adaptation.data import all_batches, data_folder, example, prepare_domains, read_domains, training_batches
from domain_adaptation.stages import before_stage, check_before, store_embeddings
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
from data_pipelines.domain_adaptation.mi3dor import paper_note
from data_pipelines.domain_adaptation.prepare import PhotoTable, ShapeTable, load_photos, load_shapes, shape_labels
from data_pipelines.random_crops import Augmentation
from jaxret.baselines import domain_alignment, meda
from jaxret.errors import ConfigError
from jaxret.files import write_atomically
from jaxret.metrics.domain_adaptation import benchmark_metrics
from jaxret.metrics.shrec_scores import SCORES
from jaxret.reports.domain_adaptation import TITLES, write_domain_report
from jaxret.runs.config import flatten
from jaxret.systems.base import Variables
from jaxret.systems.hifa import Hifa
from jaxret.training.embedder import Embedder
from jaxret.training.logging import read_history
from jaxret.training.optimizers import check_optimizer
from jaxret.training.parallel import make_parallel
from jaxret.training.processes import first_before_others
from jaxret.training.state import TrainState

SELECTION = {'last': 'progress', 'source_accuracy': 'val_source_accuracy'}  # metric that picks the checkpoint
# Of extracted features, in closed form, and how many items of a domain they take.
ALIGNMENTS = {
    'coral': (domain_alignment.coral, domain_alignment.MAX_ITEMS),
    'jgsa': (domain_alignment.jgsa, domain_alignment.MAX_ITEMS),
    'meda': (meda.meda, meda.MAX_ITEMS),
}


def run(config: ConfigDict, workdir: Path, *, train: bool) -> int:
    """Trains (or resumes) and evaluates, or only evaluates; returns the exit status."""
    started = time.monotonic()
    _check_config(config)
    # Photos and shapes are both divided over the devices.
    parallel = make_parallel(
        config.parallel.mode,
        devices=config.parallel.devices,
        batch_size=math.gcd(config.batch_size, config.shapes_per_step),
    )
    if not train:
        check_workdir_has_checkpoints(workdir)
    check_before(config.evaluation.before, workdir)
    side = config.data.image_size
    published = (
        pretrained_start(
            config,
            workdir,
            Hifa.from_config(config, classes=2, steps=1),
            {'photo': np.zeros((1, side, side, 3), np.uint8), 'views': np.zeros((1, 1, side, side, 3), np.uint8)},
        )
        if train
        else None
    )
    with first_before_others():
        data_dir, synthetic = data_folder(config)
        layout, run_domains = read_domains(config, data_dir, workdir, synthetic=synthetic, train=train)
        prepared = prepare_domains(config, layout)
        layout = prepared.dataset
        photos = {split: load_photos(prepared, split) for split in ('train', 'val', 'test')}
        shapes = {part: load_shapes(prepared, part) for part in ('train', 'gallery')}
    steps = max(1, round(config.epochs * steps_per_epoch(len(photos['train']), config.batch_size))) if train else 0

    def make_system(axis_name: str | None) -> Hifa:
        return Hifa.from_config(config, classes=len(run_domains.categories), steps=max(1, steps), axis_name=axis_name)

    system = make_system(None)
    embedder, predict = Embedder(system, parallel), jax.jit(system.predict)

    def embed(variables: Any, table: PhotoTable | ShapeTable) -> np.ndarray:
        modality = 'photo' if isinstance(table, PhotoTable) else 'shape'
        return embedder.embed(variables, all_batches(config, table), modality, valid='valid')

    warned: list[int] = []

    def evaluate(state: TrainState) -> dict[str, float]:
        """Free of target labels: accuracy on held-out photos, and how the classifier spreads over the shapes."""
        variables = state.evaluation_variables
        values = {'progress': int(state.step) / steps}  # higher is later: what select='last' goes by
        if len(photos['val']):
            classes = np.argmax(predict(variables, embed(variables, photos['val'])), axis=1)
            values['val_source_accuracy'] = float(np.mean(classes == photos['val'].label))
        pseudo = np.argmax(predict(variables, embed(variables, shapes['train'])), axis=1)
        count = np.bincount(pseudo)
        values |= {
            'val_pseudo_classes': int(np.count_nonzero(count)),
            'val_pseudo_largest_share': float(count.max() / len(pseudo)),
        }
        if count.max() == len(pseudo) and len(layout.categories) > 1 and not warned:
            warned.append(int(state.step))
            console.print(
                f'warning: at step {int(state.step)} the pseudo-labels of all {len(pseudo)} training shapes '
                f'are one class, {run_domains.categories[int(pseudo[0])]!r}; lower the learning rate or '
                f'--config.loss.centroid_weight',
                style='bold yellow',
                soft_wrap=True,
            )
        return values

    state = trained_state(
        config,
        workdir,
        train=train,
        parallel=parallel,
        make_system=make_system,
        example=example(config, shapes['gallery']),
        start=published,
        batches=partial(training_batches, config, photos['train'], shapes['train']),
        evaluate=evaluate,
        metric=SELECTION[config.select],
        steps=steps,
        title='labelled photos, unlabelled shapes',
        facts={
            'data': f'{layout.root}{" (synthetic)" if synthetic else ""}',
            'photos': ', '.join(f'{len(table)} {split}' for split, table in photos.items())
            + f'; {len(layout.categories)} classes',
            'shapes': f'{len(shapes["train"])} for training ({config.data.train_shapes}, without labels), '
            f'{len(shapes["gallery"])} in the gallery ({config.data.gallery})',
            'inputs': f'photos, {prepared.views} views of shapes; {config.data.image_size} x {config.data.image_size}',
            'skipped': f'{len(layout.skipped)} (listed in the report)' if layout.skipped else 'nothing',
            'adaptation': _adaptation(config),
            'encoder': config.model.backbone,
            **pretrained_facts(workdir),
        },
        parameter_groups={'backbone': config.backbone_optimizer},
    )
    if state is None:
        return 0

    variables = state.evaluation_variables
    test, gallery = photos['test'], shapes['gallery']
    queries, found = embed(variables, test), embed(variables, gallery)
    if config.evaluation.alignment != 'none':
        fitted = ALIGNMENTS[config.evaluation.alignment][0](
            embed(variables, photos['train']),
            photos['train'].label,
            embed(variables, shapes['train']),
            seed=config.seed,
        )
        queries, found = fitted.source(queries), fitted.target(found)
    labels = shape_labels(prepared, 'gallery')  # the only use of a label of a shape
    metrics = benchmark_metrics(queries, found, test.label, labels, test.categories, train_labels=photos['train'].label)
    metrics |= {'step': int(state.step), 'data_dir': str(data_dir), 'synthetic': synthetic, 'seed': config.seed}
    write_atomically(workdir / 'metrics.json', json.dumps(metrics, indent=2) + '\n')
    store_embeddings(workdir, queries, found, test.names, gallery.names)
    start = partial(_initial, config, make_system(None), embed, test, gallery, published)
    report = write_domain_report(
        workdir / 'report',
        title=f'Photos to shapes: {workdir.name}',
        metrics=metrics,
        photos=queries,
        shapes=found,
        before=before_stage(config.evaluation.before, test.names, gallery.names, start),
        photo_labels=test.label,
        shape_labels=labels,
        class_names=test.categories,
        photo_names=test.names,
        shape_names=gallery.names,
        photo_of=lambda row: test.pictures([row])[0],
        view_of=partial(_shown_view, gallery),
        config=flatten(config),
        history=read_history(workdir / 'metrics.jsonl'),
        skipped=[str(problem) for problem in layout.skipped],
        notes=_notes(
            config,
            workdir,
            int(state.step),
            layout,
            held_out=len(photos['val']),
            used=(len(photos['train']), len(shapes['train'])),
        ),
        provenance=provenance(config, data_dir, parallel, synthetic=synthetic, started=started)
        | pretrained_facts(workdir),
    )
    print_scores(metrics)
    console.print(f'report: {report}', soft_wrap=True)
    return 0


def print_scores(metrics: dict[str, Any]) -> None:
    """Prints every score in both modes, with interval, class mean and chance."""
    table = Table(title=f'test: {metrics["queries"]} photos against {metrics["gallery"]} shapes')
    for column in (
        '',
        'official',
        '95 % interval',
        'class mean',
        'chance',
        'standard',
        '95 % interval',
        'class mean',
        'chance',
    ):
        table.add_column(column, justify='right' if column else 'left')
    for name in SCORES:
        cells = []
        for key in (name, f'standard_{name}'):
            value, low, high, macro, chance = (
                metrics[key + suffix] for suffix in ('', '_low', '_high', '_macro', '_chance')
            )
            shown = ['' if number is None else f'{number:.3f}' for number in (value, macro, chance)]
            cells += [shown[0], '' if value is None else f'{low:.3f} - {high:.3f}', *shown[1:]]
        table.add_row(TITLES[name][0], *cells)
    console.print(table)
    if metrics['queries_without_relevant']:
        console.print(
            f'{metrics["queries_without_relevant"]} photos have no shape of their class in the gallery; they '
            f'are in no score'
        )


def _check_config(config: ConfigDict) -> None:
    """Refuses values that would fail only after long work."""
    check_training_values(
        config,
        positive=(
            'shapes_per_step',
            'data.image_size',
            'data.stored_size',
            'render.views',
            'evaluation.batch_size',
            'backbone_optimizer.learning_rate',
            *(f'sample.{name}' for name in config.sample),
        ),
        not_negative=(
            'data.views_per_step',
            'evaluation.views',
            'backbone_optimizer.weight_decay',
            'backbone_optimizer.clip_norm',
        ),
        fractions=(
            'data.val_fraction',
            'backbone_optimizer.b1',
            'backbone_optimizer.b2',
            'backbone_optimizer.momentum',
        ),
        choices={
            'select': tuple(SELECTION),
            'data.train_shapes': ('train', 'all'),
            'data.gallery': ('test', 'all'),
            'data.unmatched_classes': ('drop', 'error'),
            'data.fit': ('cover', 'stretch', 'pad'),
            'data.sampling': ('balanced', 'uniform'),
            'evaluation.alignment': ('none', *ALIGNMENTS),
        },
    )
    check_optimizer(config.backbone_optimizer, group='backbone_optimizer')
    Hifa.from_config(config, classes=2, steps=1)
    view_ring(config, 'data.stored_size')
    data = config.data
    if data.image_size > data.stored_size:
        raise ConfigError(
            f'config.data.image_size: {data.image_size}, but pictures are stored at '
            f'data.stored_size={data.stored_size}; set it to at least that'
        )
    for key, value in (('data.views_per_step', data.views_per_step), ('evaluation.views', config.evaluation.views)):
        if value > config.render.views:
            raise ConfigError(f'config.{key}: {value}, but a shape has render.views={config.render.views}')
    devices = config.parallel.devices
    if devices and config.shapes_per_step % devices:
        raise ConfigError(
            f'config.shapes_per_step: {config.shapes_per_step} does not divide over {devices} devices; '
            f'set --config.shapes_per_step to a multiple'
        )
    if config.select == 'source_accuracy' and data.val_fraction == 0:
        raise ConfigError(
            'config.select: source_accuracy is measured on held-out photos; set '
            '--config.data.val_fraction above 0, or use last'
        )
    for group in (config.photo_augmentation, config.view_augmentation):
        Augmentation.from_config(group)


def _adaptation(config: ConfigDict) -> str:
    """The losses that are on, besides the label loss."""
    loss = config.loss
    parts = [
        *(
            f'{value} {title}'
            for value, title in (
                (loss.mutual_information, 'mutual information'),
                (loss.norm, 'norm'),
                (loss.centroid, 'centroids'),
                (loss.adversarial, 'adversary'),
                (loss.mmd, 'MMD'),
            )
            if value != 'none'
        ),
        *(['correlation'] if loss.coral_weight else []),
        *([f'{config.evaluation.alignment} of the features'] if config.evaluation.alignment != 'none' else []),
    ]
    return ', '.join(parts) or 'none (source only)'


def _initial(
    config: ConfigDict,
    system: Hifa,
    embed,
    test: PhotoTable,
    gallery: ShapeTable,
    published: Callable[[Variables], Variables] | None,
) -> tuple[str, np.ndarray, np.ndarray]:
    """Embeddings of the weights before training; the random ones where the file of published ones is read no more."""
    variables = jax.jit(system.init)(jax.random.key(config.seed), example(config, gallery))
    if published is not None:
        variables = published(variables)
    name = 'random weights' if config.pretrained.backbone and published is None else 'initial weights'
    return name, embed(variables, test), embed(variables, gallery)


def _shown_view(table: ShapeTable, row: int) -> np.ndarray:
    """The view by which reports show a shape: turned a little, which shows more than the front."""
    view = table.views([row], [1 % table.views_encoded.shape[1]])[0, 0]
    return view[..., 0] if table.channels == 1 else view


def _notes(config: ConfigDict, workdir: Path, step: int, layout, *, held_out: int, used: tuple[int, int]) -> list[str]:
    """What a reader of the numbers must know; `used`: photos and shapes of training."""
    checkpoint = f'Checkpoint of step {step}, the last one.'
    if config.select == 'source_accuracy':
        checkpoint = checkpoint_note(
            workdir, step, metric='val_source_accuracy', held_out=f'{held_out} held-out training photos'
        )
    counts = paper_note(layout)
    method, seen = config.evaluation.alignment, 'all' if layout.train_shapes == 'all' else 'the training shapes'
    searched = 'all' if layout.gallery == 'all' else 'the test shapes'
    return [
        checkpoint + ' No label of a shape was used in training or for this choice.',
        f'Shapes in training, without labels: {seen}; in the gallery: {searched}.',
        'Equal distances count against the system.',
        *(
            [
                f'Embeddings went through {method}, fitted on '
                f'{min(used[0], ALIGNMENTS[method][1])} of {used[0]} training photos with labels and '
                f'{min(used[1], ALIGNMENTS[method][1])} of {used[1]} training shapes without.'
            ]
            if method != 'none'
            else []
        ),
        *([counts] if counts else []),
    ]
