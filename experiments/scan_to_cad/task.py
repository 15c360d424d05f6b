"""Partial scans and CAD models in one space: by metric learning, or by descriptors that train nothing."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from experiment import Evaluation, process_share, processes
from frozen_features import FrozenFeatures
from ml_collections import ConfigDict
from scan_to_cad.data import (
    FINETUNE_ON,
    SPLITS,
    ScanData,
    check_data,
    load_scan_data,
    scan_batches,
    simulation_note,
    taught_splits,
    training_batches,
)
from scan_to_cad.pictures import scan_cards
from scan_to_cad.scores_table import Found, all_metrics, flat_metrics, print_rates, scan_rankings
from scan_to_cad.start import SELECT, variables_from
from scipy.spatial.distance import cdist
from value_checks import check_values

from data_pipelines.batching import Batch, feature_batches
from data_pipelines.scan_to_cad.batches import cad_batches
from data_pipelines.scan_to_cad.grids import ScanTable
from jaxret.baselines.descriptors import fpfh_descriptors, open3d, overlap_descriptors
from jaxret.errors import CheckpointError, ConfigError
from jaxret.geometry.distance_grids import SURFACE
from jaxret.geometry.grid_meshes import PLACEMENTS
from jaxret.preprocessing.shapes import RESOLUTION
from jaxret.reports.scan_to_cad import RATES, write_scan_report
from jaxret.runs.workdir import has_checkpoints
from jaxret.systems.base import Variables
from jaxret.systems.scan_cad import ScanCad
from jaxret.systems.scan_cells import ScanCells
from jaxret.training.embedder import Embedder

HOURGLASSES = ('variant', 'stem', 'skip', 'input_sigmoid')  # keys of config.model that say what a scan is completed to
UNTRAINED = {'fpfh': 'FPFH', 'overlap': 'overlap of the occupied cells'}  # methods that train nothing
HEADINGS = {
    'test': 'Test',
    'val': 'Validation',
    'train': 'Training',
    'all': 'All annotations of the three splits together, those of training scans too',
}


@dataclass(eq=False)
class ScanToCad:
    """See `experiment.Task`."""

    config: ConfigDict
    frozen: FrozenFeatures | None = None  # of scans: what they are completed to

    OF_DATA_DIR = ('simulate.scans_per_model', 'simulate.seed')
    OF_LAYOUT = {}
    heading, parameter_groups, watched = 'Scans to CAD models', {}, 0.0

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
                f'of {config.batch_size}; set --config.data.classes_per_batch to a divisor, or to 0 for pairs at random'
            )
        if config.method == 'fpfh':
            open3d()
        if config.loss.metric == 'none' and config.select != 'last':
            raise ConfigError(
                f"config.select: {config.select} is of embeddings, which config.loss.metric='none' does not train; use "
                'last'
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
    def divided(self) -> Mapping[str, int]:
        """Pairs of a batch."""
        return {'batch_size': self.config.batch_size}

    def start(self, workdir: Path, *, train: bool) -> Callable[[Variables], Variables] | None:
        """The weights of another run, which is not needed once this one has a checkpoint."""
        if not (train and self.trains and self.config.start_from) or has_checkpoints(workdir):
            return None
        other = Path(self.config.start_from)
        if not has_checkpoints(other):
            raise CheckpointError(
                f'config.start_from: {other} has no checkpoints; give the work directory of a trained run'
            )
        return partial(variables_from, other, frozen=self.config.model.train == 'embedding')

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
        """Completed scans take the place of these."""
        self.frozen = FrozenFeatures(self.config, HOURGLASSES, embedder, variables)

    def batches(self, data: ScanData, start: int, stop: int) -> Iterator[Batch]:
        """Pairs, or in fine-tuning annotated scans with their pools."""
        found = training_batches(self.config, data, start, stop, share=process_share())
        if not self.frozen:
            return found
        table, name = (data.finetuned[0], 'taught') if data.finetuned else (data.scans['train'], 'train')
        completed = self._completed(table, name)
        return (
            {name: array for name, array in batch.items() if name not in ('scan', 'mask')}
            | {'completed': completed[batch['index']]}
            for batch in found
        )

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
        size = self.config.evaluation.batch_size

        def of_scans(split: str, degrees: float) -> np.ndarray:
            if self.frozen and not degrees:
                batches = feature_batches('completed', self._completed(data.scans[split], split), size)
            else:
                batches = scan_batches(self.config, data.scans[split], degrees=degrees)
            return embedder.embed(variables, batches, 'scan', valid='valid')

        return self._compare(
            data,
            splits,
            of_scans,
            embedder.embed(variables, cad_batches(data.cads, batch_size=size), 'cad', valid='valid'),
            lambda scans, cads: -(scans @ cads.T) if inner else cdist(scans, cads),
        )

    def _completed(self, table: ScanTable, name: str) -> np.ndarray:
        """What frozen hourglasses make of scans: uint8 [n, R, R, R]."""
        sources = [bits.tobytes() for bits in table.scan_bits]

        def batches(rows: np.ndarray, copy: int) -> Iterator[Batch]:
            del copy
            return scan_batches(self.config, table, rows=rows)

        return self.frozen.features('scan', name, sources, batches, valid='valid')[:, 0]

    def _describe(self, data: ScanData, method: str, splits: tuple[str, ...]) -> Found:
        """By descriptors of the scans of some splits, clutter included, and of the gallery."""
        describe = partial(fpfh_descriptors, processes=processes(self.config))
        if method == 'overlap':
            describe = overlap_descriptors

        def of_scans(split: str, degrees: float) -> np.ndarray:
            batches = scan_batches(self.config, data.scans[split], degrees=degrees)
            return describe(np.concatenate([batch['scan'][batch['valid']] == SURFACE for batch in batches]))

        return self._compare(data, splits, of_scans, describe(data.cads.cads(np.arange(len(data.cads)))), cdist)

    def _compare(
        self,
        data: ScanData,
        splits: tuple[str, ...],
        of_scans: Callable[[str, float], np.ndarray],
        cads: np.ndarray,
        distance: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> Found:
        """What `of_scans` makes of the scans of a split as they stand, and their distances in the best heading."""
        scans: dict[str, np.ndarray] = {}
        distances: dict[str, np.ndarray] = {}
        headings = self.config.evaluation.headings
        for split in splits:
            for turn in range(headings if len(data.scans[split]) else 0):
                made = of_scans(split, 360 * turn / headings)
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


TASK = ScanToCad
