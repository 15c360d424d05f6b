"""The one flow of every experiment: check, read and prepare the data, train or resume, embed, measure, report.

What differs is a `Task`, one a folder beside this file (`<task>/task.py`), found by the config's `experiment`.
"""

import importlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import jax
import numpy as np
from console import console, print_banner
from evaluations import checkpoint_note, evaluation_folder
from machine import provenance
from ml_collections import ConfigDict
from overrides import cache_folder
from predictions import Ranking, write_predictions
from pretrained_start import pretrained_facts
from scalar_writer import ScalarWriter
from trained_state import device_text, trained_state

from data_pipelines.batching import Share
from jaxret.errors import CheckpointError, ConfigError, Problem
from jaxret.files import write_atomically
from jaxret.runs.config import flatten
from jaxret.runs.workdir import has_checkpoints
from jaxret.systems.base import Batch, System, Variables
from jaxret.training.embedder import Embedder
from jaxret.training.logging import read_history
from jaxret.training.parallel import Parallel, make_parallel
from jaxret.training.processes import first_before_others, is_first
from jaxret.workers import default_processes

FOLDER = Path(__file__).parent


class Data(Protocol):
    """What a task has read and prepared; each task adds its tables.

    Attributes:
      folder: where it lies.
      synthetic: whether it is the sample.
      skipped: what was left out.
      units: training items that an epoch goes through.
      held_out: what picks the checkpoint, in words ('held-out training photos').
      facts: rows of the banner.
    """

    folder: Path
    synthetic: bool
    skipped: Sequence[Problem]
    units: int
    held_out: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Evaluation:
    """What a task measured.

    Attributes:
      metrics: of metrics.json.
      report: writes the report; called with its folder, which lies in that of the evaluation, metrics and what every
        report has (title, config, history, skipped, notes, provenance); returns the path of the page.
      show: prints the metrics.
      predictions: what was found for every query.
      notes: what a reader of the numbers must know, besides how the checkpoint was chosen.
      skipped: what could not be measured.
    """

    metrics: Mapping[str, Any]
    report: Callable[..., Path]
    show: Callable[[Mapping[str, Any]], None]
    predictions: Callable[[], Iterable[Ranking]]
    notes: Sequence[str] = ()
    skipped: Sequence[Problem] = ()


class Task(Protocol):
    """One kind of experiment, made once from its config, which it checks. Its methods are called in this order.

    Attributes:
      OF_DATA_DIR: keys that say how data_dir is read: without effect on the synthetic sample.
      OF_LAYOUT: {value of data.layout: keys of the other layouts, without effect on this one}.
      title: of the banner.
      heading: of the report.
      divided: {key of the config: number of items that devices divide evenly in training}.
      trains: whether there is anything to train.
      watched: share of the steps after which `validate` is called once more, without a checkpoint; 0 for none.
      parameter_groups: optimizer configs of top-level parameters that have one of their own.
    """

    OF_DATA_DIR: ClassVar[tuple[str, ...]]
    OF_LAYOUT: ClassVar[Mapping[str, tuple[str, ...]]]
    title: str
    heading: str
    divided: Mapping[str, int]
    trains: bool
    watched: float
    parameter_groups: Mapping[str, ConfigDict]

    @classmethod
    def from_config(cls, config: ConfigDict) -> 'Task':
        """The task of a config. Raises ConfigError for values that would fail only after long work."""
        ...

    def start(self, workdir: Path, *, train: bool) -> Callable[[Variables], Variables] | None:
        """From the initial variables of a new run to those that it trains from; None for the same.

        Raises an error for files that cannot be used, before any data is read.
        """
        ...

    def load(self, workdir: Path, *, train: bool) -> Data:
        """Reads, checks and prepares the data; keeps the split of a new run, and holds a resumed one to its own."""
        ...

    def system(self, data: Data, *, steps: int, axis_name: str | None = None) -> System:
        """The system, for a run of some steps; `axis_name`: of devices, None for global arrays."""
        ...

    def example(self, data: Data) -> Batch:
        """A batch of one item, of zeros, with the shapes and types of training batches."""
        ...

    def freeze(self, embedder: Embedder, variables: Variables) -> None:
        """Called before batches are read, where a part of the system is frozen, with the weights of that.

        From then on features of pictures, computed once, may take the place of these (`frozen_features`).
        """
        ...

    def batches(self, data: Data, start: int, stop: int) -> Iterator[Batch]:
        """The batches of steps start .. stop - 1, of each this process's share."""
        ...

    def validate(self, data: Data, embedder: Embedder, variables: Variables, step: int) -> Mapping[str, float]:
        """Held-out metrics during training ('val_...')."""
        ...

    def evaluate(self, data: Data, embedder: Embedder | None, variables: Variables | None, workdir: Path) -> Evaluation:
        """Embeds and measures the test split; without variables where nothing is trained."""
        ...


def _parallel(config: ConfigDict, divided: Mapping[str, int], *, train: bool) -> Parallel:
    """Devices of a run; an evaluation on a machine with fewer than the training had takes those."""
    devices = config.parallel.devices if train else min(config.parallel.devices, jax.device_count())
    return make_parallel(config.parallel.mode, devices=devices, divided=divided)


def run(config: ConfigDict, workdir: Path, *, train: bool, report: bool = True) -> int:
    """Trains (or resumes) and evaluates, or only evaluates, with a report or without; returns the exit status."""
    started = time.monotonic()
    task = task_class(config.experiment).from_config(config)
    parallel = _parallel(config, task.divided if train else {}, train=train)
    if task.trains and not train and not has_checkpoints(workdir):
        raise CheckpointError(f'{workdir / "checkpoints"}: no checkpoints; train with this --workdir first')
    start = task.start(workdir, train=train)
    with first_before_others():
        data = task.load(workdir, train=train)
    embedder, variables, step = None, None, 0
    facts = {**data.facts, **pretrained_facts(workdir)}
    if task.trains:
        steps = max(1, round(config.epochs * (data.units // config.batch_size))) if train else 0
        make_system = partial(task.system, data, steps=max(1, steps))
        embedder = Embedder(make_system(), parallel)
        state = trained_state(
            config,
            workdir,
            train=train,
            parallel=parallel,
            make_system=make_system,
            example=task.example(data),
            batches=partial(task.batches, data),
            evaluate=lambda state: task.validate(data, embedder, state.evaluation_variables, int(state.step)),
            steps=steps,
            watched=round(task.watched * steps),
            title=task.title,
            facts=facts,
            parameter_groups=task.parameter_groups,
            start=start,
            freeze=partial(task.freeze, embedder),
        )
        if state is None:
            return 0
        variables, step = state.evaluation_variables, int(state.step)
    elif is_first():
        print_banner(task.title, facts)
    else:
        return 0

    evaluation = task.evaluate(data, embedder, variables, workdir)
    metrics = {
        **evaluation.metrics,
        'step': step,
        'data_dir': str(data.folder),
        'synthetic': data.synthetic,
        'seed': config.seed,
    }
    folder = workdir if train else evaluation_folder(workdir, config, data.folder)
    write_atomically(folder / 'metrics.json', json.dumps(metrics, indent=2) + '\n')
    write_predictions(folder, evaluation.predictions())
    if task.trains and train:
        with closing(ScalarWriter(workdir / 'tensorboard')) as writer:
            writer.write_results(step, metrics)
    evaluation.show(metrics)
    if not report:
        return 0
    checkpoint = [checkpoint_note(config, workdir, step, held_out=data.held_out)] if task.trains else []
    page = evaluation.report(
        folder / 'report',
        title=f'{task.heading}: {workdir.name}{"" if train else f", {folder.name}"}',
        metrics=metrics,
        config=flatten(config),
        history=read_history(workdir / 'metrics.jsonl'),
        skipped=[str(problem) for problem in (*data.skipped, *evaluation.skipped)],
        notes=[*checkpoint, *evaluation.notes],
        provenance=provenance(config, data, device_text(parallel), started=started) | pretrained_facts(workdir),
    )
    console.print(f'report: {page}', soft_wrap=True)
    if task.trains:
        console.print(f'next: jaxret index --checkpoint {workdir} --models DIR --out INDEX', soft_wrap=True)
    return 0


def task_names() -> list[str]:
    """What a config's `experiment` may be."""
    return sorted(path.parent.name for path in FOLDER.glob('*/task.py'))


def task_class(name: str) -> type[Task]:
    """The task of a folder beside this file, whatever a config file says.

    Raises:
      ConfigError: an unknown name.
    """
    if name not in task_names():
        raise ConfigError(f'config.experiment: {name!r} is not one of {", ".join(task_names())}')
    return importlib.import_module(f'{name}.task').TASK


def data_folder(config: ConfigDict, name: str, layout: str, write: Callable[..., Any]) -> tuple[Path, bool]:
    """The data folder and whether it is the synthetic sample, which is made where data_dir is empty.

    Args:
      config: of the run.
      name: of the sample, with its sizes.
      layout: what a folder of real data holds, for the message.
      write: writes the sample to a folder, with a number of `processes`.
    """
    if config.data_dir:
        return Path(config.data_dir), False
    folder = cache_folder(config) / f'sample-{name}'
    console.print(
        f'No --config.data_dir: using SYNTHETIC sample data ({folder}). For real data give '
        f'--config.data_dir=DIR, a folder {layout}.',
        style='bold yellow',
        soft_wrap=True,
    )
    write(folder, processes=processes(config))
    return folder, True


def processes(config: ConfigDict) -> int:
    """Worker processes of a config: its own number, or one a core."""
    return config.processes or default_processes()


def process_share() -> Share:
    """What this process reads of every training batch."""
    return Share(jax.process_index(), jax.process_count())


def counts(tables: Mapping[str, Sequence | np.ndarray]) -> str:
    """'480 train, 54 val, 60 test'."""
    return ', '.join(f'{len(table)} {split}' for split, table in tables.items())
