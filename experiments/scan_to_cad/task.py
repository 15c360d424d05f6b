"""Partial scans and CAD models in one space: data, training, retrieval metrics of every split, report."""

import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from console import console, print_banner
from experiment import (
    check_training_values,
    check_workdir_has_checkpoints,
    checkpoint_note,
    processes,
    provenance,
    trained_state,
)
from ml_collections import ConfigDict
from rich.table import Table
from scan_to_cad.data import (
    RESOLUTION,
    SPLITS,
    ScanData,
    cad_batches,
    data_folder,
    finetunes,
    load_data,
    read_scans,
    scan_batches,
    simulation_note,
    training_batches,
    training_units,
)
from scan_to_cad.pictures import scan_cards

from data_pipelines.batching import steps_per_epoch
from jaxret.baselines.descriptors import fpfh_descriptors, open3d, overlap_descriptors
from jaxret.errors import CheckpointError, ConfigError
from jaxret.files import write_atomically
from jaxret.metrics.scan_to_cad import Annotations, pool_metrics, scan_cad_metrics
from jaxret.reports.scan_to_cad import RATES, write_scan_report
from jaxret.runs.config import flatten
from jaxret.runs.finished import start_variables
from jaxret.runs.workdir import has_checkpoints, stored_config
from jaxret.systems.base import Variables
from jaxret.systems.scan_cad import ScanCad
from jaxret.training.embedder import Embedder
from jaxret.training.logging import read_history
from jaxret.training.parallel import make_parallel
from jaxret.training.processes import first_before_others, is_first
from jaxret.training.state import TrainState

SELECTION = {
    'last': 'progress',
    **{name: f'val_{name}' for name in ('category_top1', 'exact_top1', 'instance_top1', 'ranking_quality')},
}  # metric that picks the checkpoint
UNTRAINED = {'fpfh': 'FPFH', 'overlap': 'overlap of the occupied cells'}  # methods that train nothing
HEADINGS = {
    'test': 'Test',
    'val': 'Validation',
    'train': 'Training',
    'all': 'All annotations of the three splits together, those of training scans too',
}
Embeddings = tuple[dict[str, np.ndarray], np.ndarray]  # of the scans of every split, and of the gallery


def run(config: ConfigDict, workdir: Path, *, train: bool) -> int:
    """Trains (or resumes) and evaluates, or only evaluates; returns the exit status."""
    started = time.monotonic()
    _check_config(config)
    parallel = make_parallel(config.parallel.mode, devices=config.parallel.devices, batch_size=config.batch_size)
    learned = config.method == 'learned'
    if not train and learned:
        check_workdir_has_checkpoints(workdir)
    with first_before_others():
        data_dir, synthetic = data_folder(config)
        layout = read_scans(config, data_dir, workdir, train=train)
        data = load_data(config, layout)
        check_data(config, data, train=train)
    facts = {
        'data': f'{data.dataset.root}{" (synthetic)" if synthetic else ""}',
        'scans': ', '.join(f'{len(data.scans[split])} {split}' for split in reversed(SPLITS))
        + f'; {len(data.dataset.categories)} categories',
        'annotations': ', '.join(f'{len(data.pools[split])} {split}' for split in reversed(SPLITS)),
        'gallery': f'{len(data.cads)} CADs',
        'skipped': f'{len(data.dataset.skipped)} (listed in the report)' if data.dataset.skipped else 'nothing',
    }
    if learned:
        system, state = _trained(config, workdir, data, parallel=parallel, train=train, facts=facts)
        if state is None:
            return 0
        variables, step = state.evaluation_variables, int(state.step)
        embeddings = _embed(config, Embedder(system, parallel), variables, data, SPLITS)
    elif not is_first():
        return 0
    else:
        print_banner(f'scans to CADs by {UNTRAINED[config.method]}, nothing is trained', facts)
        system = variables = None
        step, embeddings = 0, _described(config, data)

    splits = all_metrics(data, *embeddings)
    metrics = flat_metrics(splits) | {
        'step': step,
        'data_dir': str(data_dir),
        'synthetic': synthetic,
        'seed': config.seed,
    }
    write_atomically(workdir / 'metrics.json', json.dumps(metrics, indent=2) + '\n')
    test, gallery = data.scans['test'], embeddings[1]
    own, first = np.unique(test.instance, return_index=True)  # one scan of each model
    report = write_scan_report(
        workdir / 'report',
        title=f'Scans to CAD models: {workdir.name}',
        splits={HEADINGS[split]: values for split, values in splits.items()},
        embeddings={'scan': embeddings[0]['test'][first], 'CAD': gallery[own]},
        labels=test.category[first],
        category_names=data.dataset.category_names,
        cards=scan_cards(data, embeddings[0]['test'], gallery, system=system, variables=variables),
        config=flatten(config),
        history=read_history(workdir / 'metrics.jsonl'),
        skipped=[str(problem) for problem in data.dataset.skipped],
        notes=_notes(config, workdir, step, data, data_dir),
        provenance=provenance(config, data_dir, parallel, synthetic=synthetic, started=started),
    )
    print_rates(splits)
    console.print(f'report: {report}', soft_wrap=True)
    return 0


def all_metrics(data: ScanData, scans: Mapping[str, np.ndarray], cads: np.ndarray) -> dict[str, dict]:
    """Metrics of every split that has scans, and of all annotations together (key 'all').

    Args:
      data: the splits and the gallery.
      scans: embeddings [Q, D] of the scans of each split.
      cads: [G, D] of the gallery.
    """
    splits, together = {}, []
    for split, embeddings in scans.items():
        table, pools = data.scans[split], data.pools[split]
        if not len(table):
            continue
        annotations = None
        if data.annotated:
            annotations = Annotations(
                np.linalg.norm(embeddings[pools.scan][:, None] - cads[pools.pool], axis=-1),
                pools.rank,
                pools.category,
                pools.pool_valid,
            )
            together.append(annotations)
        splits[split] = scan_cad_metrics(
            embeddings,
            cads,
            scan_category=table.category,
            cad_category=data.cads.category,
            category_names=data.dataset.category_names,
            true_cad=table.instance,
            annotations=annotations,
        )
    if len(together) > 1:
        columns = (
            np.concatenate(column)
            for column in zip(*((a.distances, a.rank, a.category, a.valid) for a in together), strict=True)
        )
        splits['all'] = pool_metrics(Annotations(*columns), category_names=data.dataset.category_names)
    return splits


def flat_metrics(splits: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Keys of metrics.json: those of the test split as they are, of the others behind their name ('val_', ...)."""
    return {
        key if split == 'test' else f'{split}_{key}': value
        for split, metrics in splits.items()
        for key, value in metrics.items()
    }


def print_rates(splits: Mapping[str, Mapping[str, Any]]) -> None:
    """Prints every rate by its key, of every split beside its chance level; of test also interval and class mean."""
    test, others = splits['test'], [split for split in splits if split != 'test']
    table = Table(title=f'{test["scans"]} test scans against {test["gallery"]} CADs of all categories')
    for column in (
        '',
        'test',
        '95 %',
        'classes',
        'chance',
        *(title for split in others for title in (split, 'chance')),
    ):
        table.add_column(column, justify='right' if column else 'left')
    for key in RATES:
        if key not in test:
            continue
        names = (key, f'{key}_macro', f'{key}_chance')
        value, macro, chance = ('' if test[name] is None else f'{test[name]:.3f}' for name in names)
        interval = f'{test[f"{key}_low"]:.2f}-{test[f"{key}_high"]:.2f}' if value else ''
        more = (splits[split].get(name) for split in others for name in (key, f'{key}_chance'))
        table.add_row(key, value, interval, macro, chance, *('' if x is None else f'{x:.3f}' for x in more))
    console.print(table)
    console.print(
        f'domain confusion, {test["domain_confusion_neighbors"]} neighbours: '
        f'{test["domain_confusion"]:.3f} (mixed domains: {test["domain_confusion_expected"]:.3f})'
        + ('; all: the annotations of all splits together, those of training scans too' if 'all' in splits else ''),
        soft_wrap=True,
    )


def _check_config(config: ConfigDict) -> None:
    """Refuses values that would fail only after long work."""
    check_training_values(
        config,
        positive=('evaluation.batch_size', *(f'sample.{name}' for name in config.sample), 'simulate.scans_per_model'),
        not_negative=('data.classes_per_batch', 'simulate.seed'),
        choices={'select': tuple(SELECTION), 'method': ('learned', *UNTRAINED)},
    )
    ScanCad.from_config(config)
    if config.data.classes_per_batch and config.batch_size % config.data.classes_per_batch:
        raise ConfigError(
            f'config.data.classes_per_batch: {config.data.classes_per_batch} does not divide the batch '
            f'of {config.batch_size}'
        )
    if config.method == 'fpfh':
        open3d()
    if config.start_from and not has_checkpoints(Path(config.start_from)):
        raise CheckpointError(
            f'config.start_from: {config.start_from} has no checkpoints; give the work directory of a trained run'
        )


def check_data(config: ConfigDict, data: ScanData, *, train: bool) -> None:
    """Refuses data that the run needs and that is not there."""
    if not train or config.method != 'learned':
        return
    if config.select != 'last' and not len(data.scans['val']):
        raise ConfigError(
            f'config.select: {config.select} is measured on validation scans, of which '
            f'{data.dataset.root} has none; use last'
        )
    if config.select in ('instance_top1', 'ranking_quality') and not len(data.pools['val']):
        raise ConfigError(
            f'config.select: {config.select} is measured on annotated validation scans, of which '
            f'{data.dataset.root} has none; use last or exact_top1'
        )
    units, what = training_units(config, data)
    if units < config.batch_size:
        raise ConfigError(
            f'config.batch_size: {config.batch_size}, but there are {units} {what}; set '
            f'--config.batch_size to at most {units}'
        )


def _trained(
    config: ConfigDict, workdir: Path, data: ScanData, *, parallel, train: bool, facts: Mapping[str, str]
) -> tuple[ScanCad, TrainState | None]:
    """The system, and the state of its best checkpoint (None where a signal stopped the training)."""
    system = ScanCad.from_config(config)
    embedder = Embedder(system, parallel)
    units, _ = training_units(config, data)
    steps = max(1, round(config.epochs * steps_per_epoch(units, config.batch_size))) if train else 0

    def evaluate(state: TrainState) -> dict[str, float]:
        values = {'progress': int(state.step) / steps}  # higher is later: what select='last' goes by
        if len(data.scans['val']):
            found = _embed(config, embedder, state.evaluation_variables, data, ('val',))
            metrics = all_metrics(data, *found)['val']
            values |= {
                name: metrics[name.removeprefix('val_')]
                for name in SELECTION.values()
                if metrics.get(name.removeprefix('val_')) is not None
            }
        return values

    state = trained_state(
        config,
        workdir,
        train=train,
        parallel=parallel,
        steps=steps,
        evaluate=evaluate,
        make_system=lambda axis_name: ScanCad.from_config(config, axis_name=axis_name),
        example=_example(config),
        batches=partial(training_batches, config, data),
        metric=SELECTION[config.select],
        title='scans to CAD models' + (', fine-tuning on annotations' if finetunes(config) else ''),
        facts=dict(facts) | ({'starts from': config.start_from} if config.start_from else {}),
        start=partial(_start, Path(config.start_from)) if config.start_from else None,
    )
    return system, state


def _start(other: Path, variables: Variables) -> Variables:
    """The variables of another run's best checkpoint, by the metric that it chose itself."""
    stored = stored_config(other / 'config.json')
    if stored['experiment'] != 'scan_to_cad' or stored.get('select') not in SELECTION:
        raise CheckpointError(f'{other}: a run of {stored["experiment"]}; give the work directory of a scan_to_cad run')
    return start_variables(variables, other, metric=SELECTION[stored['select']])


def _example(config: ConfigDict) -> dict[str, np.ndarray]:
    """One scan of zeros, with the shapes of a training batch."""
    grid = np.zeros((1, *(RESOLUTION,) * 3), np.uint8)
    return {
        'scan': grid,
        'mask': grid,
        'cad': grid,
        'category': np.zeros(1, np.int32),
        'instance': np.zeros(1, np.int32),
        'valid': np.ones(1, bool),
    }


def _embed(
    config: ConfigDict, embedder: Embedder, variables: Variables, data: ScanData, splits: tuple[str, ...]
) -> Embeddings:
    """Embeddings of the scans of some splits and of the gallery."""
    scans = {
        split: embedder.embed(variables, scan_batches(config, data.scans[split]), 'scan', valid='valid')
        for split in splits
        if len(data.scans[split])
    }
    return scans, embedder.embed(variables, cad_batches(config, data.cads), 'cad', valid='valid')


def _described(config: ConfigDict, data: ScanData) -> Embeddings:
    """Descriptors of the scans, clutter included, and of the gallery."""
    describe = (
        overlap_descriptors if config.method == 'overlap' else partial(fpfh_descriptors, processes=processes(config))
    )
    scans = {
        split: describe(data.scans[split].scans(np.arange(len(data.scans[split]))))
        for split in SPLITS
        if len(data.scans[split])
    }
    return scans, describe(data.cads.cads(np.arange(len(data.cads))))


def _notes(config: ConfigDict, workdir: Path, step: int, data: ScanData, data_dir: Path) -> list[str]:
    """What a reader of the numbers must know."""
    checkpoint = f'Checkpoint of step {step}, the last one.'
    if config.method != 'learned':
        checkpoint = f'{UNTRAINED[config.method]}: nothing was trained.'
    elif config.select != 'last':
        checkpoint = checkpoint_note(
            workdir, step, metric=SELECTION[config.select], held_out=f'{len(data.scans["val"])} validation scans'
        )
    return [
        checkpoint,
        f'Category and own model: Euclidean distance to one grid of every CAD model of the data, {len(data.cads)} in '
        f'all, those of training pairs too. Equal distances count against the system.',
        *simulation_note(data_dir),
        *([] if data.annotated else ['The data has no annotations: nothing is said about pools.']),
    ]
