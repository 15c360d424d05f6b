"""Data of labelled photos and unlabelled shapes: the folder, its reader, the split of the run, tables, batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from experiment import counts, data_folder, processes
from frozen_features import items_at_once
from ml_collections import ConfigDict
from overrides import cache_folder

from data_pipelines.batching import Batch
from data_pipelines.domain_adaptation.batches import photo_batches, shape_batches
from data_pipelines.domain_adaptation.dataset import DomainDataset
from data_pipelines.domain_adaptation.mi3dor import read_mi3dor
from data_pipelines.domain_adaptation.prepare import (
    PhotoTable,
    PreparedDomains,
    ShapeTable,
    load_photos,
    load_shapes,
    prepare_mi3dor,
)
from data_pipelines.domain_adaptation.sample import write_mi3dor_sample
from data_pipelines.random_crops import Augmentation
from jaxret.errors import ConfigError, Problem
from jaxret.geometry.render import ViewRing
from jaxret.preprocessing.inputs import spaced
from jaxret.runs.split import DomainSplit, check_unseen
from jaxret.runs.workdir import has_checkpoints


@dataclass(frozen=True, eq=False)
class DomainData:
    """What a run trains and evaluates on; see `experiment.Data`.

    Attributes:
      prepared: what is on disk, with the data set as read.
      classes: of the run, in the order of labels.
      photos: of each split, with labels.
      shapes: of training and of the gallery, without.
    """

    folder: Path
    synthetic: bool
    prepared: PreparedDomains
    classes: Sequence[str]
    photos: Mapping[str, PhotoTable]
    shapes: Mapping[str, ShapeTable]
    facts: Mapping[str, str]

    held_out: ClassVar[str] = 'held-out training photos'  # what picks the checkpoint

    @property
    def dataset(self) -> DomainDataset:
        """The folder as read, less what could not be prepared."""
        return self.prepared.dataset

    @property
    def skipped(self) -> Sequence[Problem]:
        """What was left out."""
        return self.dataset.skipped

    @property
    def units(self) -> int:
        """Training photos."""
        return len(self.photos['train'])


def load_domain_data(config: ConfigDict, ring: ViewRing, workdir: Path, *, train: bool) -> DomainData:
    """Reads and checks everything, and makes square photos and the views of every shape once."""
    sizes = {name: config.sample[name] for name in ('train_photos', 'test_photos', 'train_shapes', 'test_shapes')}
    folder, synthetic = data_folder(
        config,
        'mi3dor-' + '+'.join(map(str, sizes.values())),
        "in MI3DOR's layout",
        partial(write_mi3dor_sample, **sizes),
    )
    dataset, split = read_domains(config, folder, workdir, synthetic=synthetic, train=train)
    data = config.data
    prepared = prepare_mi3dor(
        dataset,
        ring,
        fit=data.fit,
        cache_dir=cache_folder(config),
        on_bad_file=config.on_bad_file,
        processes=processes(config),
    )
    dataset = prepared.dataset
    photos = {split: load_photos(prepared, split) for split in ('train', 'val', 'test')}
    shapes = {part: load_shapes(prepared, part) for part in ('train', 'gallery')}
    facts = {
        'data': f'{dataset.root}{" (synthetic)" if synthetic else ""}',
        'photos': f'{counts(photos)}; {len(dataset.categories)} classes',
        'shapes': f'{len(shapes["train"])} for training ({data.train_shapes}, without labels), '
        f'{len(shapes["gallery"])} in the gallery ({data.gallery})',
        'inputs': f'photos, {prepared.views} views of shapes; {data.image_size} x {data.image_size}',
        'skipped': f'{len(dataset.skipped)} (listed in the report)' if dataset.skipped else 'nothing',
        'adaptation': _adaptation(config),
        'encoder': config.model.backbone,
    }
    return DomainData(folder, synthetic, prepared, split.categories, photos, shapes, facts)


def read_domains(
    config: ConfigDict, data_dir: Path, workdir: Path, *, synthetic: bool, train: bool
) -> tuple[DomainDataset, DomainSplit]:
    """Reads and checks everything; returns the data set and what the run was started on.

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
    stored = DomainSplit.read(workdir) if has_checkpoints(workdir) else None
    both = train or config.evaluation.alignment != 'none'
    dataset = read_mi3dor(
        data_dir,
        views=config.render.views,
        val_fraction=data.val_fraction,
        seed=config.seed,
        train_shapes=data.train_shapes,
        gallery=data.gallery,
        unmatched_classes=data.unmatched_classes,
        on_bad_file=config.on_bad_file,
        all_photos_but=None
        if train or config.evaluation.photos == 'test'
        else [name for name, split in stored.photos.items() if split != 'test'],
        required_splits=('train', 'test') if both else ('test',),
        cache_dir=cache_folder(config),
        check_processes=processes(config),
        **real,
    )
    now = DomainSplit(categories=list(dataset.categories), **dataset.split_table())
    if not train:
        check_unseen(workdir, stored.photos, now.photos, ('test',), kind='photos', seen=('train', 'val'))
        return dataset, stored
    _check_sizes(config, dataset)
    if stored:
        stored.check_same(now, workdir)
    else:
        now.write(workdir)
    return dataset, now


def all_batches(
    config: ConfigDict,
    table: PhotoTable | ShapeTable,
    *,
    chosen: bool = True,
    rows: np.ndarray | None = None,
    copy: int = 0,
    augmentation: Augmentation | None = None,
) -> Iterator[Batch]:
    """All photos of a split or shapes of a part, in order, or some of them, and `valid`.

    Args:
      config: of the run.
      table: photos or shapes.
      chosen: only the views that an evaluation shows, else all.
      rows, copy, augmentation: as for `photo_batches`.
    """
    options = {
        'batch_size': items_at_once(config, copy),
        'size': config.data.image_size,
        'rows': rows,
        'copy': copy,
        'augmentation': augmentation,
    }
    if isinstance(table, PhotoTable):
        return photo_batches(table, **options)
    views = spaced(config.evaluation.views, table.views_encoded.shape[1]) if chosen else ()
    return shape_batches(table, views=views, **options)


def shown_view(table: ShapeTable, row: int) -> np.ndarray:
    """The view by which reports show a shape: turned a little, which shows more than the front."""
    view = table.views([row], [1 % table.views_encoded.shape[1]])[0, 0]
    return view[..., 0] if table.channels == 1 else view


def _check_sizes(config: ConfigDict, dataset: DomainDataset) -> None:
    for key, count, there, kind in (
        ('batch_size', config.batch_size, len(dataset.split_photos('train')), 'training photos'),
        ('shapes_per_step', config.shapes_per_step, len(dataset.part_shapes('train')), 'training shapes'),
    ):
        if count > there:
            raise ConfigError(
                f'config.{key}: {count}, but there are {there} {kind}; set --config.{key} to at most {there}'
            )
    if config.select == 'source_accuracy' and not dataset.split_photos('val'):
        raise ConfigError(
            f'config.select: source_accuracy needs held-out photos, but data.val_fraction='
            f'{config.data.val_fraction} of these training photos is none; use select=last'
        )


def _adaptation(config: ConfigDict) -> str:
    """The losses that are on, besides the label loss."""
    loss, alignment = config.loss, config.evaluation.alignment
    named = {
        'mutual information': loss.mutual_information,
        'norm': loss.norm,
        'centroids': loss.centroid,
        'adversary': loss.adversarial,
        'MMD': loss.mmd,
    }
    parts = [f'{value} {title}' for title, value in named.items() if value != 'none']
    parts += ['correlation'] if loss.coral_weight else []
    parts += [f'{alignment} of the features'] if alignment != 'none' else []
    return ', '.join(parts) or 'none (source only)'
