"""Data of scans and CAD models: the folder, its reader, the split of the run, grids as arrays, batches."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from console import console
from experiment import counts, data_folder, processes
from ml_collections import ConfigDict
from overrides import cache_folder

from data_pipelines.batching import Batch
from data_pipelines.scan_to_cad import batches
from data_pipelines.scan_to_cad.grids import CadTable, PoolTable, ScanTable, joined
from data_pipelines.scan_to_cad.prepare import load_cads, load_pools, load_scans, prepare_scan_cad
from data_pipelines.scan_to_cad.sample import write_scan_cad_sample
from data_pipelines.scan_to_cad.scan_cad import ScanCadDataset, read_scan_cad
from data_pipelines.scan_to_cad.simulation import simulate_layout
from jaxret.errors import ConfigError, Problem
from jaxret.geometry.grid_meshes import PLACEMENTS
from jaxret.geometry.grid_turns import turned_grids
from jaxret.geometry.scan import ScanOptions
from jaxret.preprocessing.shapes import RESOLUTION
from jaxret.runs.split import ObjectSplit, check_unseen
from jaxret.runs.workdir import has_checkpoints

SPLITS = ('test', 'val', 'train')
FINETUNE_ON = {'train': ('train',), 'train_val': ('train', 'val')}


@dataclass(frozen=True, eq=False)
class ScanData:
    """What a run trains and evaluates on; see `experiment.Data`.

    Attributes:
      dataset: the folder as read.
      scans, pools: of each split; pools are annotations with their CADs as rows of `cads`.
      cads: the gallery.
      finetuned: in fine-tuning, the scans and annotations that teach, of which a step takes some; else None.
    """

    folder: Path
    synthetic: bool
    dataset: ScanCadDataset
    scans: Mapping[str, ScanTable]
    pools: Mapping[str, PoolTable]
    cads: CadTable
    finetuned: tuple[ScanTable, PoolTable] | None
    facts: Mapping[str, str]

    held_out: ClassVar[str] = 'validation scans'  # what picks the checkpoint

    @property
    def skipped(self) -> Sequence[Problem]:
        """What was left out."""
        return self.dataset.skipped

    @property
    def annotated(self) -> bool:
        """Whether there are annotations at all."""
        return any(len(pools) for pools in self.pools.values())

    @property
    def units(self) -> int:
        """Training scans; in fine-tuning annotated ones: those that rank nothing say nothing."""
        return int((self.finetuned[1].rank > 0).any(axis=1).sum()) if self.finetuned else len(self.scans['train'])


def load_scan_data(config: ConfigDict, workdir: Path, *, train: bool) -> ScanData:
    """Reads and checks everything, and makes the grids of every split ready once."""
    folder, synthetic = _folder(config)
    dataset = read_scans(config, folder, workdir, train=train)
    prepared = prepare_scan_cad(
        dataset, cache_dir=cache_folder(config), on_bad_file=config.on_bad_file, processes=processes(config)
    )
    dataset = prepared.dataset
    scans = {split: load_scans(prepared, split) for split in SPLITS}
    pools = {split: load_pools(prepared, split) for split in SPLITS}
    cads, backwards = load_cads(prepared), tuple(reversed(SPLITS))
    facts = {
        'data': f'{dataset.root}{" (synthetic)" if synthetic else ""}',
        'scans': f'{counts({split: scans[split] for split in backwards})}; {len(dataset.categories)} categories',
        'annotations': counts({split: pools[split] for split in backwards}),
        'gallery': f'{len(cads)} CADs',
        'skipped': f'{len(dataset.skipped)} (listed in the report)' if dataset.skipped else 'nothing',
        **({'starts from': config.start_from} if config.start_from else {}),
    }
    finetuned = None
    if config.loss.finetune != 'none':
        taught = taught_splits(config)
        finetuned = joined([scans[split] for split in taught], [pools[split] for split in taught])
    return ScanData(folder, synthetic, dataset, scans, pools, cads, finetuned, facts)


def _folder(config: ConfigDict) -> tuple[Path, bool]:
    """The data folder and whether its models are synthetic.

    Where data_dir holds CAD grids and no pair list, scans of them are simulated.
    """
    sample, simulate = config.sample, config.simulate
    options = ScanOptions(yaw=simulate.yaw)
    turned = f'-yaw-{simulate.yaw:g}' if options != ScanOptions() else ''
    folder, synthetic = data_folder(
        config,
        f'scan-cad-{sample.models_per_class}x{sample.scans_per_model}{turned}',
        f'with {config.data.pairs}, scan/ and cad/, or with CAD grids <synset>/<id>.vox of which scans are simulated',
        partial(
            write_scan_cad_sample,
            models_per_class=sample.models_per_class,
            scans_per_model=sample.scans_per_model,
            placement=config.data.placement,
            yaw=config.simulate.yaw,
        ),
    )
    if synthetic or (folder / config.data.pairs).exists() or not any(folder.glob('*/*.vox')):
        return folder, synthetic
    scans = cache_folder(config) / f'scans-{folder.name}-{simulate.scans_per_model}-{simulate.seed}{turned}'
    console.print(
        f'{folder} holds CAD grids and no {config.data.pairs}: using scans SIMULATED from them ({scans}).',
        style='bold yellow',
        soft_wrap=True,
    )
    simulate_layout(
        folder,
        scans,
        source='grids',
        scans_per_model=simulate.scans_per_model,
        seed=simulate.seed,
        options=options,
        replace=True,
        processes=processes(config),
    )
    return scans, False


def read_scans(config: ConfigDict, data_dir: Path, workdir: Path, *, train: bool) -> ScanCadDataset:
    """Reads and checks everything.

    A run with checkpoints goes on only with the scans and split of its start. An evaluation takes any data, but no test
    scan that the run was trained on.
    """
    stored = ObjectSplit.read(workdir) if has_checkpoints(workdir) else None
    data = config.data
    dataset = read_scan_cad(
        data_dir,
        pairs=data.pairs,
        similarity=data.similarity,
        scan_dir=data.scan_dir,
        cad_dir=data.cad_dir,
        on_bad_file=config.on_bad_file,
        required_splits=('train', 'test') if train else ('test',),
        resolution=RESOLUTION,
        cache_dir=cache_folder(config),
        check_processes=processes(config),
    )
    now = ObjectSplit(categories=list(dataset.categories), split=dataset.split_table())
    if not train:
        if stored:
            check_unseen(workdir, stored.split, now.split, ('test',), kind='scans', seen=taught_splits(config))
        return dataset
    if stored:
        stored.check_same(now, workdir)
        return dataset
    if config.start_from:
        start = Path(config.start_from)
        check_unseen(start, ObjectSplit.read(start).split, now.split, ('val', 'test'), kind='scans')
    now.write(workdir)
    return dataset


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
    if not data.units:
        raise ConfigError(
            f'config.loss.finetune: {config.loss.finetune} is trained on annotated training scans, of which '
            f'{data.dataset.root} has none; annotations of simulated scans need seven models of a category'
        )
    if data.units < config.batch_size:
        what = 'annotated training scans' if data.finetuned else 'training scans'
        raise ConfigError(
            f'config.batch_size: {config.batch_size}, but there are {data.units} {what}; set '
            f'--config.batch_size to at most {data.units}'
        )


def taught_splits(config: ConfigDict) -> tuple[str, ...]:
    """Splits whose scans a run is trained on."""
    return FINETUNE_ON['train' if config.loss.finetune == 'none' else config.data.finetune_on]


def simulation_note(data_dir: Path) -> list[str]:
    """What the simulator says of the scans that it made; nothing for other data."""
    try:
        facts = json.loads((data_dir / 'complete.json').read_text())
        return [
            f'The scans are simulated: on average {facts["mean_seen"]:.0%} of the surface of a model is seen, and '
            f'{facts["with_clutter"]:.0%} of the {facts["scans"]} scans hold clutter. Pools are other models of '
            f'the category, ranked by the overlap of their grids with that of the scanned model.'
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def training_batches(config: ConfigDict, data: ScanData, start: int, stop: int, **share: object) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1: pairs, or in fine-tuning annotated scans with their pools."""
    options = {'batch_size': config.batch_size, 'seed': config.seed, 'start': start, 'stop': stop, **share}
    if data.finetuned:
        scans, pools = data.finetuned
        return batches.finetuning_batches(scans, data.cads, pools, **options)
    return batches.training_batches(data.scans['train'], classes_per_batch=config.data.classes_per_batch, **options)


def scan_batches(
    config: ConfigDict, scans: ScanTable, *, degrees: float = 0.0, rows: np.ndarray | None = None
) -> Iterator[Batch]:
    """Scans of a split, all in order or some rows, turned about the vertical middle of where models are placed."""
    middle = RESOLUTION / 2 + PLACEMENTS[config.data.placement]
    for batch in batches.scan_batches(scans, batch_size=config.evaluation.batch_size, rows=rows):
        scan = turned_grids(batch['scan'], degrees, middle=middle) if degrees else batch['scan']
        yield {'scan': scan, 'valid': batch['valid']}
