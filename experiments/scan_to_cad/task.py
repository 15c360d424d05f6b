"""Partial scans and CAD models in one space: by metric learning, or by descriptors that train nothing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from experiment import Evaluation, process_share, processes
from ml_collections import ConfigDict
from scan_to_cad.data import (
    FINETUNE_ON,
    SPLITS,
    ScanData,
    load_scan_data,
    scan_batches,
    simulation_note,
    taught_splits,
    training_batches,
)
from scan_to_cad.pictures import scan_cards
from scan_to_cad.scores_table import Found, all_metrics, flat_metrics, print_rates, scan_rankings
from scipy.spatial.distance import cdist
from value_checks import check_values

from data_pipelines.batching import Batch
from data_pipelines.scan_to_cad.batches import cad_batches
from jaxret.baselines.descriptors import fpfh_descriptors, open3d, overlap_descriptors
from jaxret.errors import CheckpointError, ConfigError
from jaxret.geometry.distance_grids import SURFACE
from jaxret.geometry.grid_meshes import PLACEMENTS
from jaxret.preprocessing.shapes import RESOLUTION
from jaxret.reports.scan_to_cad import RATES, write_scan_report
from jaxret.runs.config import read_run_config, selection_metric
from jaxret.runs.finished import start_variables
from jaxret.runs.workdir import has_checkpoints
from jaxret.systems.base import Variables
from jaxret.systems.scan_cad import ScanCad
from jaxret.systems.scan_cells import ScanCells
from jaxret.training.embedder import Embedder

SELECT = ('last', 'category_top1', 'exact_top1', 'instance_top1', 'ranking_quality')
UNTRAINED = {'fpfh': 'FPFH', 'overlap': 'overlap of the occupied cells'}  # methods that train nothing
HEADINGS = {
    'test': 'Test',
    'val': 'Validation',
    'train': 'Training',
    'all': 'All annotations of the three splits together, those of training scans too',
}


@dataclass(frozen=True, eq=False)
class ScanToCad:
    """See `experiment.Task`."""

    config: ConfigDict

    OF_DATA_DIR = ('simulate.scans_per_model', 'simulate.seed')
    OF_LAYOUT = {}
    heading, chunk, parameter_groups, watched = 'Scans to CAD models', 0, {}, 0.0

    @classmethod
    def from_config(cls, config: ConfigDict) -> 'ScanToCad':
        """The task of a config. Raises ConfigError for values that would fail only after long work."""
        check_values(
            config,
            positive=(
                'evaluation.batch_size',
                'evaluation.headings',
                *(f'sample.{name}' for name in config.sample),
                'simulate.scans_per_model',
            ),
            not_negative=('data.classes_per_batch', 'simulate.seed', 'simulate.yaw'),
            choices={
                'select': SELECT,
                'method': ('learned', *UNTRAINED),
                'data.placement': tuple(PLACEMENTS),
                'data.finetune_on': tuple(FINETUNE_ON),
            },
        )
        if config.select != 'last' and 'val' in taught_splits(config):
            raise ConfigError(
                f'config.select: {config.select} is measured on validation scans, which teach here '
                f'(data.finetune_on={config.data.finetune_on}); use last'
            )
        ScanCad.from_config(config)  # refuses wrong values
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
        return cls(config)

    @property
    def trains(self) -> bool:
        """Descriptors train nothing."""
        return self.config.method == 'learned'

    @property
    def title(self) -> str:
        """What is done."""
        if not self.trains:
            return f'scans to CADs by {UNTRAINED[self.config.method]}, nothing is trained'
        return 'scans to CAD models' + ('' if self.config.loss.finetune == 'none' else ', fine-tuning on annotations')

    @property
    def divided(self) -> int:
        """Pairs of a batch."""
        return self.config.batch_size

    def start(self, workdir: Path, *, train: bool) -> Callable[[Variables], Variables] | None:
        """The weights of another run."""
        del workdir
        if not (train and self.trains and self.config.start_from):
            return None
        return partial(_start_variables, Path(self.config.start_from))

    def load(self, workdir: Path, *, train: bool) -> ScanData:
        """Scans and CAD models as grids; refuses data without what the run needs."""
        data = load_scan_data(self.config, workdir, train=train)
        if train and self.trains:
            check_data(self.config, data)
        return data

    def system(self, data: ScanData | None, *, steps: int, axis_name: str | None = None) -> ScanCad | ScanCells:
        """The network of the config."""
        del data, steps
        return ScanCad.from_config(self.config, axis_name=axis_name)

    def example(self, data: ScanData) -> Batch:
        """One scan of zeros."""
        del data
        grid = np.zeros((1, *(RESOLUTION,) * 3), np.uint8)
        return {
            'scan': grid,
            'mask': grid,
            'cad': grid,
            'category': np.zeros(1, np.int32),
            'instance': np.zeros(1, np.int32),
            'valid': np.ones(1, bool),
        }

    def freeze(self, embedder: Embedder, variables: Variables) -> None:
        """Nothing is frozen."""

    def batches(self, data: ScanData, start: int, stop: int) -> Iterator[Batch]:
        """Pairs, or in fine-tuning annotated scans with their pools."""
        return training_batches(self.config, data, start, stop, share=process_share())

    def validate(self, data: ScanData, embedder: Embedder, variables: Variables, step: int) -> dict[str, float]:
        """Rates of the validation scans, if there are any."""
        del step
        if not len(data.scans['val']):
            return {}
        metrics = all_metrics(data, self._embed(data, embedder, variables, ('val',)))['val']
        return {f'val_{name}': metrics[name] for name in SELECT if metrics.get(name) is not None}

    def evaluate(
        self, data: ScanData, embedder: Embedder | None, variables: Variables | None, workdir: Path
    ) -> Evaluation:
        """Rates of every split."""
        del workdir
        system = self.system(data, steps=1) if self.trains else None
        if self.trains:
            found = self._embed(data, embedder, variables, SPLITS)
        else:
            found = self._describe(data, self.config.method, SPLITS)
        splits = all_metrics(data, found)
        if self.trains:
            overlap = all_metrics(data, self._describe(data, 'overlap', ('test',)))['test']
            splits['test']['comparators'] = {'overlap': {key: overlap[key] for key in RATES if key in overlap}}
        test = data.scans['test']
        own, first = np.unique(test.instance, return_index=True)  # one scan of each model

        def report(folder: Path, *, metrics: Mapping[str, Any], **page: Any) -> Path:
            del metrics
            return write_scan_report(
                folder,
                splits={HEADINGS[split]: values for split, values in splits.items()},
                embeddings={'scan': found.scans['test'][first], 'CAD': found.cads[own]},
                labels=test.category[first],
                category_names=data.dataset.category_names,
                cards=scan_cards(data, found.distances['test'], system=system, variables=variables),
                **page,
            )

        rankings = partial(scan_rankings, data, found)
        return Evaluation(flat_metrics(splits), report, lambda _: print_rates(splits), rankings, self._notes(data))

    def _embed(self, data: ScanData, embedder: Embedder, variables: Variables, splits: tuple[str, ...]) -> Found:
        """By embeddings of the scans of some splits and of the gallery."""
        inner = self.system(data, steps=1).similarity == 'dot'
        cads = cad_batches(data.cads, batch_size=self.config.evaluation.batch_size)
        return self._compare(
            data,
            splits,
            lambda scans: embedder.embed(variables, scans, 'scan', valid='valid'),
            embedder.embed(variables, cads, 'cad', valid='valid'),
            lambda scans, cads: -(scans @ cads.T) if inner else cdist(scans, cads),
        )

    def _describe(self, data: ScanData, method: str, splits: tuple[str, ...]) -> Found:
        """By descriptors of the scans of some splits, clutter included, and of the gallery."""
        describe = partial(fpfh_descriptors, processes=processes(self.config))
        if method == 'overlap':
            describe = overlap_descriptors

        def of_scans(batches: Iterator[Batch]) -> np.ndarray:
            return describe(np.concatenate([batch['scan'][batch['valid']] == SURFACE for batch in batches]))

        return self._compare(data, splits, of_scans, describe(data.cads.cads(np.arange(len(data.cads)))), cdist)

    def _compare(
        self,
        data: ScanData,
        splits: tuple[str, ...],
        of_scans: Callable[[Iterator[Batch]], np.ndarray],
        cads: np.ndarray,
        distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> Found:
        """What `of_scans` makes of the scans as they stand, and their distances in the best heading."""
        scans: dict[str, np.ndarray] = {}
        distances: dict[str, np.ndarray] = {}
        headings = self.config.evaluation.headings
        for split in splits:
            for turn in range(headings if len(data.scans[split]) else 0):
                made = of_scans(scan_batches(self.config, data.scans[split], degrees=360 * turn / headings))
                scans.setdefault(split, made)
                distances[split] = np.minimum(distances.get(split, np.inf), distance(made, cads))
        return Found(scans, cads, distances)

    def _notes(self, data: ScanData) -> list[str]:
        """What a reader of the numbers must know."""
        headings = self.config.evaluation.headings
        return [
            *([] if self.trains else [f'{UNTRAINED[self.config.method]}: nothing was trained.']),
            f'Category and own model: nearest of one grid of every CAD model of the data, {len(data.cads)} in '
            f'all, those of training pairs too. Equal distances count against the system.',
            *([f'Of {headings} turns of a scan about the vertical the nearest counts.'] if headings > 1 else []),
            *(['Annotations of validation scans were trained on too.'] if 'val' in taught_splits(self.config) else []),
            *simulation_note(data.folder),
            *([] if data.annotated else ['The data has no annotations: nothing is said about pools.']),
        ]


def check_data(config: ConfigDict, data: ScanData) -> None:
    """Refuses data without what training needs."""
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
    if data.units < config.batch_size:
        what = 'annotated training scans' if data.finetuned else 'training scans'
        raise ConfigError(
            f'config.batch_size: {config.batch_size}, but there are {data.units} {what}; set '
            f'--config.batch_size to at most {data.units}'
        )


def _start_variables(other: Path, variables: Variables) -> Variables:
    """The variables of another run's best checkpoint, by the metric that it chose itself."""
    stored = read_run_config(other / 'config.json')
    if stored.experiment != 'scan_to_cad' or stored.select not in SELECT:
        raise CheckpointError(f'{other}: a run of {stored.experiment}; give the work directory of a scan_to_cad run')
    return start_variables(variables, other, metric=selection_metric(stored))


TASK = ScanToCad
