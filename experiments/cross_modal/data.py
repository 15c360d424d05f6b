"""Objects of the cross-modal experiment: the folder, the split of the run, the tables of each split, the batches."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from console import console
from experiment import process_share, processes, view_ring
from ml_collections import ConfigDict
from overrides import cache_folder

from data_pipelines.batching import Batch
from data_pipelines.cross_modal import batches as modelnet_pipeline
from data_pipelines.cross_modal.dataset import ObjectDataset
from data_pipelines.cross_modal.modelnet import read_modelnet
from data_pipelines.cross_modal.modelnet_published import read_modelnet_files
from data_pipelines.cross_modal.prepare import ObjectTable, PreparedObjects, prepare_modelnet
from data_pipelines.cross_modal.sample import write_modelnet_sample
from data_pipelines.random_crops import Augmentation
from jaxret.errors import CheckpointError, ConfigError
from jaxret.files import write_atomically
from jaxret.runs.split import RunObjects
from jaxret.runs.workdir import has_checkpoints

STORED_POINTS = 2048  # an object, of which a step draws config.data.points
PUBLISHED_VIEWS = 180
INPUTS = {'image': ('image',), 'mesh': ('faces', 'neighbors'), 'point': ('points',)}  # what each encoder takes


def data_folder(config: ConfigDict) -> tuple[Path, bool]:
    """The data folder and whether it is the synthetic sample, which is made where data_dir is empty."""
    if config.data_dir:
        return Path(config.data_dir), False
    sample = config.sample
    folder = cache_folder(config) / f'sample-modelnet-{sample.train_per_class}+{sample.test_per_class}'
    console.print(
        f'No --config.data_dir: using SYNTHETIC sample data ({folder}). For real data give '
        f'--config.data_dir=DIR, a folder with <class>/train and <class>/test of meshes.',
        style='bold yellow',
        soft_wrap=True,
    )
    write_modelnet_sample(
        folder,
        train_per_class=sample.train_per_class,
        test_per_class=sample.test_per_class,
        processes=processes(config),
    )
    return folder, True


def read_objects(
    config: ConfigDict, data_dir: Path, workdir: Path, *, synthetic: bool, train: bool
) -> tuple[ObjectDataset, RunObjects]:
    """Reads and checks everything; returns the layout and what the run was started on.

    A run with checkpoints goes on with the split of its start. An evaluation takes the test objects of any data.
    """
    stored = RunObjects.read(workdir) if has_checkpoints(workdir) else None
    data = config.data
    options = {
        'classes': () if synthetic else tuple(data.classes),
        'train_per_class': data.train_per_class,
        'val_fraction': data.val_fraction,
        'seed': config.seed,
        'on_bad_file': config.on_bad_file,
        'split_table': stored.split if train and stored else None,
        'required_splits': ('train', 'test') if train else ('test',),
        'check_processes': processes(config),
    }
    if data.layout == 'published' and not synthetic:
        layout = read_modelnet_files(
            images_dir=data_dir / data.images_dir,
            points_dir=data_dir / data.points_dir,
            meshes_dir=data_dir / data.features_dir,
            view_ids=spaced(data.published_views, PUBLISHED_VIEWS),
            up_axis=data.up_axis,
            points_up_axis=data.points_up_axis,
            points=STORED_POINTS,
            max_faces=data.faces,
            **options,
        )
    else:
        layout = read_modelnet(
            data_dir, up_axis='z' if synthetic else data.up_axis, cache_dir=cache_folder(config), **options
        )
    if not train:
        return layout, stored
    objects = len(layout.split_objects('train'))
    if objects < config.batch_size:
        raise ConfigError(
            f'config.batch_size: {config.batch_size}, but there are {objects} training objects; set '
            f'--config.batch_size to at most {objects}'
        )
    if config.select == 'mean_map' and not layout.split_objects('val'):
        raise ConfigError(
            f'config.select: mean_map needs held-out objects, but data.val_fraction='
            f'{data.val_fraction} of these training objects is none; use select=last'
        )
    now = RunObjects(categories=list(layout.categories), split=layout.split_table())
    if stored and stored != now:
        raise CheckpointError(
            f'{workdir} was started on other objects or classes; restore the data to resume, or name another --workdir'
        )
    if not stored:
        write_atomically(workdir / 'split.json', json.dumps(asdict(now)) + '\n')
    return layout, now


def prepare_objects(config: ConfigDict, layout: ObjectDataset) -> PreparedObjects:
    """Views, points and faces of every object, made once."""
    return prepare_modelnet(
        layout,
        view_ring(config, 'data.image_size'),
        points=STORED_POINTS,
        max_faces=config.data.faces,
        cache_dir=cache_folder(config),
        on_bad_file=config.on_bad_file,
        processes=processes(config),
    )


def training_batches(config: ConfigDict, table: ObjectTable, start: int, stop: int) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1."""
    return modelnet_pipeline.training_batches(
        table,
        batch_size=config.batch_size,
        seed=config.seed,
        start=start,
        stop=stop,
        views_per_step=config.data.views_per_step,
        points=config.data.points,
        augmentation=Augmentation.from_config(config.view_augmentation),
        share=process_share(),
    )


def modality_batches(config: ConfigDict, table: ObjectTable, modality: str) -> Iterator[Batch]:
    """All objects of a split, in order, as the encoder of one modality takes them, and `valid`."""
    available = table.views_encoded.shape[1]
    views = spaced(config.evaluation.views, available) if modality == 'image' else (0,)
    for batch in modelnet_pipeline.evaluation_batches(
        table, batch_size=config.evaluation.batch_size, views=views, points=config.data.points
    ):
        yield {name: batch[name] for name in (*INPUTS[modality], 'valid')}


def available_views(config: ConfigDict, *, synthetic: bool) -> int:
    """Views of an object."""
    published = config.data.layout == 'published' and not synthetic
    return config.data.published_views if published else config.render.views


def spaced(count: int, available: int) -> tuple[int, ...]:
    """`count` numbers below `available`, evenly spaced from 0; all of them for 0."""
    return tuple(range(available)) if count == 0 else tuple(i * available // count for i in range(count))
