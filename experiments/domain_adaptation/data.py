"""Data of the domain-adaptation experiment: the folder, what a run was started on, the tables, the batches."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from console import console
from experiment import process_share, processes, view_ring
from ml_collections import ConfigDict
from overrides import cache_folder

from data_pipelines.batching import Batch
from data_pipelines.domain_adaptation import batches as mi3dor_pipeline
from data_pipelines.domain_adaptation.dataset import DomainDataset
from data_pipelines.domain_adaptation.mi3dor import read_mi3dor
from data_pipelines.domain_adaptation.prepare import PhotoTable, PreparedDomains, ShapeTable, prepare_mi3dor
from data_pipelines.domain_adaptation.sample import write_mi3dor_sample
from data_pipelines.random_crops import Augmentation
from jaxret.errors import CheckpointError, ConfigError
from jaxret.files import write_atomically
from jaxret.runs.split import RunDomains
from jaxret.runs.workdir import has_checkpoints


def data_folder(config: ConfigDict) -> tuple[Path, bool]:
    """The data folder and whether it is the synthetic sample, which is made where data_dir is empty."""
    if config.data_dir:
        return Path(config.data_dir), False
    counts = {name: config.sample[name] for name in ('train_photos', 'test_photos', 'train_shapes', 'test_shapes')}
    folder = cache_folder(config) / ('sample-mi3dor-' + '+'.join(str(count) for count in counts.values()))
    console.print(
        f'No --config.data_dir: using SYNTHETIC sample data ({folder}). For real data give '
        f"--config.data_dir=DIR, a folder in MI3DOR's layout.",
        style='bold yellow',
        soft_wrap=True,
    )
    write_mi3dor_sample(folder, **counts, processes=processes(config))
    return folder, True


def read_domains(
    config: ConfigDict, data_dir: Path, workdir: Path, *, synthetic: bool, train: bool
) -> tuple[DomainDataset, RunDomains]:
    """Reads and checks everything; returns the layout and what the run was started on.

    A run with checkpoints goes on only with what it was started on. An evaluation takes the test photos and the gallery
    of any data; one that aligns features also needs training photos and shapes.
    """
    data = config.data
    real = (
        {}
        if synthetic
        else {
            'shapes_dir': data.shapes_dir,
            'photo_lists': tuple(data.photo_lists),
            'view_lists': tuple(data.view_lists),
            'class_names': data.class_names,
            'classes': tuple(data.classes),
            'up_axis': data.up_axis,
        }
    )
    both = train or config.evaluation.alignment != 'none'
    layout = read_mi3dor(
        data_dir,
        views=config.render.views,
        val_fraction=data.val_fraction,
        seed=config.seed,
        train_shapes=data.train_shapes,
        gallery=data.gallery,
        unmatched_classes=data.unmatched_classes,
        on_bad_file=config.on_bad_file,
        required_splits=('train', 'test') if both else ('test',),
        cache_dir=cache_folder(config),
        check_processes=processes(config),
        **real,
    )
    stored = RunDomains.read(workdir) if has_checkpoints(workdir) else None
    if not train:
        seen = sorted(
            photo.name for photo in layout.split_photos('test') if stored.photos.get(photo.name, 'test') != 'test'
        )
        if seen:
            more = f' and {len(seen) - 5} more' if len(seen) > 5 else ''
            raise CheckpointError(
                f'{workdir} was trained on {len(seen)} photos that are test photos here: '
                f'{", ".join(seen[:5])}{more}; use the split of the training'
            )
        return layout, stored
    for key, count, there, kind in (
        ('batch_size', config.batch_size, len(layout.split_photos('train')), 'training photos'),
        ('shapes_per_step', config.shapes_per_step, len(layout.part_shapes('train')), 'training shapes'),
    ):
        if count > there:
            raise ConfigError(
                f'config.{key}: {count}, but there are {there} {kind}; set --config.{key} to at most {there}'
            )
    if config.select == 'source_accuracy' and not layout.split_photos('val'):
        raise ConfigError(
            f'config.select: source_accuracy needs held-out photos, but data.val_fraction='
            f'{data.val_fraction} of these training photos is none; use select=last'
        )
    now = RunDomains(categories=list(layout.categories), **layout.split_table())
    if stored and stored != now:
        raise CheckpointError(
            f'{workdir} was started on other photos, shapes or classes; restore the data to resume, '
            f'or name another --workdir'
        )
    if not stored:
        write_atomically(workdir / 'split.json', json.dumps(asdict(now)) + '\n')
    return layout, now


def prepare_domains(config: ConfigDict, layout: DomainDataset) -> PreparedDomains:
    """Square photos and the views of every shape, made once."""
    return prepare_mi3dor(
        layout,
        view_ring(config, 'data.stored_size'),
        fit=config.data.fit,
        cache_dir=cache_folder(config),
        on_bad_file=config.on_bad_file,
        processes=processes(config),
    )


def training_batches(
    config: ConfigDict, photos: PhotoTable, shapes: ShapeTable, start: int, stop: int
) -> Iterator[Batch]:
    """The batches of steps start .. stop - 1; they hold no label of a shape."""
    data = config.data
    return mi3dor_pipeline.training_batches(
        photos,
        shapes,
        batch_size=config.batch_size,
        shapes_per_step=config.shapes_per_step,
        seed=config.seed,
        start=start,
        stop=stop,
        size=data.image_size,
        views_per_step=data.views_per_step,
        sampling=data.sampling,
        photo_augmentation=Augmentation.from_config(config.photo_augmentation),
        view_augmentation=Augmentation.from_config(config.view_augmentation),
        share=process_share(),
    )


def all_batches(config: ConfigDict, table: PhotoTable | ShapeTable) -> Iterator[Batch]:
    """All photos of a split or shapes of a part, in order, and `valid`."""
    options = {'batch_size': config.evaluation.batch_size, 'size': config.data.image_size}
    if isinstance(table, PhotoTable):
        return mi3dor_pipeline.photo_batches(table, **options)
    views = spaced(config.evaluation.views, table.views_encoded.shape[1])
    return mi3dor_pipeline.shape_batches(table, views=views, **options)


def example(config: ConfigDict, shapes: ShapeTable) -> Batch:
    """One photo and one shape of zeros, with the shapes of a training batch."""
    side, views = config.data.image_size, config.data.views_per_step or shapes.views_encoded.shape[1]
    return {
        'photo': np.zeros((1, side, side, 3), np.uint8),
        'label': np.zeros(1, np.int32),
        'valid': np.ones(1, bool),
        'views': np.zeros((1, views, side, side, shapes.channels), np.uint8),
        'shape_valid': np.ones(1, bool),
    }


def spaced(count: int, available: int) -> tuple[int, ...]:
    """`count` numbers below `available`, evenly spaced from 0; all of them for 0."""
    return tuple(range(available)) if count == 0 else tuple(i * available // count for i in range(count))
