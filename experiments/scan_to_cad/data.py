"""Scans and CAD models of the scan-to-CAD experiment: the folder, the split of the run, the tables, the batches."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from console import console
from experiment import process_share, processes
from ml_collections import ConfigDict
from overrides import cache_folder

from data_pipelines.batching import Batch
from data_pipelines.scan_to_cad import batches as scan_cad_pipeline
from data_pipelines.scan_to_cad.grids import CadTable, PoolTable, ScanTable
from data_pipelines.scan_to_cad.prepare import load_cads, load_pools, load_scans, prepare_scan_cad
from data_pipelines.scan_to_cad.sample import write_scan_cad_sample
from data_pipelines.scan_to_cad.scan_cad import ScanCadDataset, read_scan_cad
from data_pipelines.scan_to_cad.simulation import simulate_layout
from jaxret.errors import CheckpointError
from jaxret.files import write_atomically
from jaxret.runs.split import RunObjects
from jaxret.runs.workdir import has_checkpoints

SPLITS = ('test', 'val', 'train')
RESOLUTION = 32  # voxels a side, what the network takes


@dataclass(frozen=True)
class ScanData:
    """What a run trains and evaluates on.

    Attributes:
      dataset: the folder as read.
      scans, pools: of each split; pools are annotations with their CADs as rows of `cads`.
      cads: the gallery.
    """

    dataset: ScanCadDataset
    scans: Mapping[str, ScanTable]
    pools: Mapping[str, PoolTable]
    cads: CadTable

    @property
    def annotated(self) -> bool:
        """Whether there are annotations at all."""
        return any(len(pools) for pools in self.pools.values())


def data_folder(config: ConfigDict) -> tuple[Path, bool]:
    """The data folder and whether its models are synthetic: the sample, which is made where data_dir is empty.

    Where data_dir holds CAD grids and no pair list, scans of them are simulated.
    """
    sample = config.sample
    if not config.data_dir:
        folder = cache_folder(config) / f'sample-scan-cad-{sample.models_per_class}x{sample.scans_per_model}'
        console.print(
            f'No --config.data_dir: using SYNTHETIC sample data ({folder}). For real data give '
            f'--config.data_dir=DIR, a folder with {config.data.pairs}, scan/ and cad/, or with CAD grids '
            f'<synset>/<id>.vox of which scans are simulated.',
            style='bold yellow',
            soft_wrap=True,
        )
        write_scan_cad_sample(
            folder,
            models_per_class=sample.models_per_class,
            scans_per_model=sample.scans_per_model,
            processes=processes(config),
        )
        return folder, True
    root = Path(config.data_dir)
    if (root / config.data.pairs).exists() or not any(root.glob('*/*.vox')):
        return root, False
    simulate = config.simulate
    folder = cache_folder(config) / f'scans-{root.name}-{simulate.scans_per_model}-{simulate.seed}'
    console.print(
        f'{root} holds CAD grids and no {config.data.pairs}: using scans SIMULATED from them ({folder}).',
        style='bold yellow',
        soft_wrap=True,
    )
    simulate_layout(
        root,
        folder,
        source='grids',
        scans_per_model=simulate.scans_per_model,
        seed=simulate.seed,
        processes=processes(config),
    )
    return folder, False


def read_scans(config: ConfigDict, data_dir: Path, workdir: Path, *, train: bool) -> ScanCadDataset:
    """Reads and checks everything.

    A run with checkpoints goes on only with the scans and split of its start. An evaluation takes any data, but no test
    scan that the run was trained on.
    """
    stored = RunObjects.read(workdir) if has_checkpoints(workdir) else None
    data = config.data
    layout = read_scan_cad(
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
    now = RunObjects(categories=list(layout.categories), split=layout.split_table())
    if not train:
        if stored:
            _check_unseen(workdir, stored, now, ('test',))
        return layout
    if stored and stored != now:
        raise CheckpointError(
            f'{workdir} was started on other scans or categories; restore the data to resume, or name another --workdir'
        )
    if not stored:
        if config.start_from:
            _check_unseen(Path(config.start_from), RunObjects.read(Path(config.start_from)), now, ('val', 'test'))
        write_atomically(workdir / 'split.json', json.dumps(asdict(now)) + '\n')
    return layout


def load_data(config: ConfigDict, layout: ScanCadDataset) -> ScanData:
    """The grids of every split, made ready once."""
    prepared = prepare_scan_cad(
        layout, cache_dir=cache_folder(config), on_bad_file=config.on_bad_file, processes=processes(config)
    )
    return ScanData(
        prepared.dataset,
        {split: load_scans(prepared, split) for split in SPLITS},
        {split: load_pools(prepared, split) for split in SPLITS},
        load_cads(prepared),
    )


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


def training_batches(config: ConfigDict, data: ScanData, start: int, stop: int) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1: pairs, or in fine-tuning annotated scans with their pools."""
    options = {
        'batch_size': config.batch_size,
        'seed': config.seed,
        'start': start,
        'stop': stop,
        'share': process_share(),
    }
    scans = data.scans['train']
    if finetunes(config):
        return scan_cad_pipeline.finetuning_batches(scans, data.cads, data.pools['train'], **options)
    return scan_cad_pipeline.training_batches(scans, classes_per_batch=config.data.classes_per_batch, **options)


def scan_batches(config: ConfigDict, scans: ScanTable) -> Iterator[Batch]:
    """All scans of a split, in order."""
    for batch in scan_cad_pipeline.scan_batches(scans, batch_size=config.evaluation.batch_size):
        yield {name: batch[name] for name in ('scan', 'valid')}


def cad_batches(config: ConfigDict, cads: CadTable) -> Iterator[Batch]:
    """The whole gallery, in order."""
    return scan_cad_pipeline.cad_batches(cads, batch_size=config.evaluation.batch_size)


def finetunes(config: ConfigDict) -> bool:
    """Whether a step takes annotated scans with their pools."""
    return config.loss.finetune != 'none'


def training_units(config: ConfigDict, data: ScanData) -> tuple[int, str]:
    """How many items an epoch goes through, and what they are."""
    if finetunes(config):  # annotations that rank nothing say nothing
        return int((data.pools['train'].rank > 0).any(axis=1).sum()), 'annotated training scans'
    return len(data.scans['train']), 'training scans'


def _check_unseen(folder: Path, before: RunObjects, now: RunObjects, splits: tuple[str, ...]) -> None:
    """Refuses held-out scans that a run was trained on."""
    seen = sorted(name for name, split in now.split.items() if split in splits and before.split.get(name) == 'train')
    if seen:
        more = f' and {len(seen) - 5} more' if len(seen) > 5 else ''
        raise CheckpointError(
            f'{folder} was trained on {len(seen)} scans that are held out here: '
            f'{", ".join(seen[:5])}{more}; use a pair list with the same split'
        )
