"""Data of images, meshes and point clouds: the folder, its reader, the split of the run, objects as arrays, batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from experiment import counts, data_folder, processes
from ml_collections import ConfigDict
from overrides import cache_folder

from data_pipelines.batching import Batch
from data_pipelines.cross_modal.batches import evaluation_batches
from data_pipelines.cross_modal.dataset import ObjectDataset
from data_pipelines.cross_modal.modelnet import read_modelnet
from data_pipelines.cross_modal.modelnet_published import read_modelnet_files
from data_pipelines.cross_modal.prepare import ObjectTable, load_objects, prepare_modelnet
from data_pipelines.cross_modal.sample import write_modelnet_sample
from jaxret.errors import ConfigError, Problem
from jaxret.geometry.render import ViewRing
from jaxret.preprocessing.inputs import spaced
from jaxret.preprocessing.shapes import STORED_POINTS
from jaxret.runs.split import ObjectSplit
from jaxret.runs.workdir import has_checkpoints

PUBLISHED_VIEWS = 180
INPUTS = {'image': ('image',), 'mesh': ('faces', 'neighbors'), 'point': ('points',)}  # what each encoder takes


@dataclass(frozen=True, eq=False)
class ObjectData:
    """What a run trains and evaluates on; see `experiment.Data`.

    Attributes:
      dataset: the folder as read.
      classes: of the run, in the order of labels.
      tables: objects of each split.
    """

    folder: Path
    synthetic: bool
    dataset: ObjectDataset
    classes: Sequence[str]
    tables: Mapping[str, ObjectTable]
    facts: Mapping[str, str]

    held_out: ClassVar[str] = 'held-out training objects'  # what picks the checkpoint

    @property
    def skipped(self) -> Sequence[Problem]:
        """What was left out."""
        return self.dataset.skipped

    @property
    def units(self) -> int:
        """Training objects."""
        return len(self.tables['train'])


def load_object_data(config: ConfigDict, ring: ViewRing, workdir: Path, *, train: bool) -> ObjectData:
    """Reads and checks everything, and makes views, points and faces of every object once."""
    sample, data = config.sample, config.data
    folder, synthetic = data_folder(
        config,
        f'modelnet-{sample.train_per_class}+{sample.test_per_class}',
        'with <class>/train and <class>/test of meshes',
        partial(write_modelnet_sample, train_per_class=sample.train_per_class, test_per_class=sample.test_per_class),
    )
    dataset, split = read_objects(config, folder, workdir, synthetic=synthetic, train=train)
    prepared = prepare_modelnet(
        dataset,
        ring,
        points=STORED_POINTS,
        max_faces=data.faces,
        cache_dir=cache_folder(config),
        on_bad_file=config.on_bad_file,
        processes=processes(config),
    )
    dataset = prepared.dataset
    tables = {split: load_objects(prepared, split) for split in ('train', 'val', 'test')}
    facts = {
        'data': f'{dataset.root}{" (synthetic)" if synthetic else ""}',
        'objects': f'{counts(tables)}; {len(dataset.categories)} classes',
        'inputs': f'{prepared.views} views of {prepared.size} x {prepared.size} pixels, {data.points} points, '
        f'{data.faces} faces',
        'skipped': f'{len(dataset.skipped)} files (listed in the report)' if dataset.skipped else 'nothing',
        'losses': f'labels, {config.loss.center}, {config.loss.alignment}',
        'encoders': f'{config.model.image_encoder}, meshnet, {config.model.point_encoder}',
    }
    return ObjectData(folder, synthetic, dataset, split.categories, tables, facts)


def read_objects(
    config: ConfigDict, data_dir: Path, workdir: Path, *, synthetic: bool, train: bool
) -> tuple[ObjectDataset, ObjectSplit]:
    """Reads and checks everything; returns the data set and what the run was started on.

    A run with checkpoints goes on with the split of its start. An evaluation takes the test objects of any data.
    """
    stored = ObjectSplit.read(workdir) if has_checkpoints(workdir) else None
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
        dataset = read_modelnet_files(
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
        dataset = read_modelnet(
            data_dir, up_axis='z' if synthetic else data.up_axis, cache_dir=cache_folder(config), **options
        )
    if not train:
        return dataset, stored
    objects = len(dataset.split_objects('train'))
    if objects < config.batch_size:
        raise ConfigError(
            f'config.batch_size: {config.batch_size}, but there are {objects} training objects; set '
            f'--config.batch_size to at most {objects}'
        )
    if config.select == 'mean_map' and not dataset.split_objects('val'):
        raise ConfigError(
            f'config.select: mean_map needs held-out objects, but data.val_fraction='
            f'{data.val_fraction} of these training objects is none; use select=last'
        )
    now = ObjectSplit(categories=list(dataset.categories), split=dataset.split_table())
    if stored:
        stored.check_same(now, workdir)
    else:
        now.write(workdir)
    return dataset, now


def modality_batches(config: ConfigDict, table: ObjectTable, modality: str) -> Iterator[Batch]:
    """All objects of a split, in order, as the encoder of one modality takes them, and `valid`."""
    available = table.views_encoded.shape[1]
    views = spaced(config.evaluation.views, available) if modality == 'image' else (0,)
    batches = evaluation_batches(table, batch_size=config.evaluation.batch_size, views=views, points=config.data.points)
    for batch in batches:
        yield {name: batch[name] for name in (*INPUTS[modality], 'valid')}


def available_views(config: ConfigDict) -> int:
    """Views of an object."""
    published = config.data.layout == 'published' and config.data_dir
    return config.data.published_views if published else config.render.views
