"""Data of photo -> shape: the folder, its reader, the split of the run, photos and shapes as arrays, batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from experiment import counts, data_folder, processes
from ml_collections import ConfigDict
from overrides import cache_folder
from photo_to_shape.unseen_gallery import Unseen, prepare_unseen, read_unseen

from data_pipelines.photo_to_shape import cars, pix3d
from data_pipelines.photo_to_shape.batches import check_batch_size
from data_pipelines.photo_to_shape.dataset import POSE, PhotoDataset
from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable, load_gallery, load_queries, prepare
from data_pipelines.photo_to_shape.sample_cars import write_car_sample
from data_pipelines.photo_to_shape.sample_pix3d import write_pix3d_sample
from jaxret.errors import Problem
from jaxret.geometry.render import ViewRing
from jaxret.preprocessing.photo_files import UNSURE
from jaxret.runs.config import chosen_on_test, read_run_config
from jaxret.runs.split import PhotoSplit
from jaxret.runs.workdir import has_checkpoints

LAYOUTS = {  # of data.layout: what a folder holds, for the message
    'pix3d': 'pix3d.json, img/, mask/, model/',
    'stanford_cars': 'cars_train/, cars_test/, train_anno.pkl, test_anno.pkl and the ShapeNet cars 02958343/',
    'comp_cars': 'image/, train_anno.pkl, test_anno.pkl and the ShapeNet cars 02958343/',
}


@dataclass(frozen=True, eq=False)
class PhotoData:
    """What a run trains and evaluates on; see `experiment.Data`.

    Attributes:
      dataset: the folder as read.
      split: what the run was started on.
      queries: photos of each split.
      gallery: the shapes.
      unseen: a gallery that the run never saw, where one is named.
      count_note: the counts beside those of the paper, where they differ.
    """

    folder: Path
    synthetic: bool
    dataset: PhotoDataset
    split: PhotoSplit
    queries: Mapping[str, QueryTable]
    gallery: GalleryTable
    unseen: Unseen | None
    count_note: str | None
    facts: Mapping[str, str]

    held_out: ClassVar[str] = 'held-out training photos'  # what picks the checkpoint

    @property
    def skipped(self) -> Sequence[Problem]:
        """What was left out."""
        return self.dataset.skipped

    @property
    def units(self) -> int:
        """Training photos."""
        return len(self.queries['train'].names)


def load_photo_data(config: ConfigDict, ring: ViewRing, workdir: Path, *, train: bool) -> PhotoData:
    """Reads and checks everything, and makes it ready once."""
    folder, synthetic = _folder(config)
    unseen_dataset = read_unseen(config)
    dataset, split = read_photos(config, folder, workdir, train=train)
    data, cache = config.data, {'cache_dir': cache_folder(config), 'on_bad_file': config.on_bad_file}
    prepared = prepare(
        dataset,
        ring,
        size=data.image_size,
        crop=data.crop,
        margin=data.margin,
        fit=data.fit,
        processes=processes(config),
        name=data.layout,
        **cache,
    )
    dataset, gallery = prepared.dataset, load_gallery(prepared)
    queries = {split: load_queries(prepared, split) for split in ('train', 'val', 'test')}
    if train:
        check_batch_size(config.batch_size, len(queries['train'].names), len(gallery.names))
    facts = {
        'data': f'{dataset.root}{" (synthetic)" if synthetic else ""}',
        'photos': f'{counts({split: table.names for split, table in queries.items()})}; '
        f'{data.image_size} x {data.image_size} pixels',
        'gallery': f'{len(gallery.names)} shapes, {ring.views} views each; {", ".join(dataset.categories)}',
        'masks': '{} (train), {} (test)'.format(*dataset.masks),
        'skipped': f'{len(dataset.skipped)} files (listed in the report)' if dataset.skipped else 'nothing',
        'encoders': f'{config.model.query_encoder}, {config.model.view_encoder}',
    }
    if dataset.unsure:
        first, *others = dataset.unsure
        facts['orientation'] = f'{first} {f"(as {len(others)} more photos) " if others else ""}{UNSURE}'
    unseen = None
    if unseen_dataset:
        unseen = prepare_unseen(
            config, unseen_dataset, ring, dataset, queries['test'], trained_on=(*split.gallery, *split.shape.values())
        )
    note = None if synthetic else _count_note(data.layout, dataset)
    return PhotoData(folder, synthetic, dataset, split, queries, gallery, unseen, note, facts)


def read_photos(config: ConfigDict, folder: Path, workdir: Path, *, train: bool) -> tuple[PhotoDataset, PhotoSplit]:
    """Reads and checks everything, with the split that the run was started with; also returns that.

    A run with checkpoints goes on only with the photos and shapes of its start. An evaluation takes any data: photos
    that the run was trained on stay out of test, by name; photos it does not know are test photos.
    """
    stored = PhotoSplit.read(workdir) if has_checkpoints(workdir) else None
    dataset = _reader(config)(
        folder,
        split_table=stored.split if stored else None,
        required_splits=_required(config) if train else ('test',),
        min_shapes=config.batch_size if train else 1,
        unknown_split='' if train or config.evaluation.photos == 'test' else 'test',
    )
    if not train:
        return dataset, stored
    now = PhotoSplit(
        split=dataset.split_table(),
        shape={photo.name: photo.model for photo in dataset.photos},
        gallery=[shape.model for shape in dataset.shapes],
    )
    if stored:
        stored.check_same(now, workdir)
    check_batch_size(config.batch_size, len(dataset.split_photos('train')), len(dataset.shapes))
    if not stored:
        now.write(workdir)
    return dataset, stored or now


def train_positive(split: PhotoSplit, gallery: Sequence[str]) -> np.ndarray:
    """Gallery index of the shape of every photo that the run was trained on, -1 where the gallery lacks it.

    Held-out photos are among them, so that the prior does not depend on their choice.
    """
    index_of = {name: index for index, name in enumerate(gallery)}
    return np.array(
        [index_of.get(split.shape[photo], -1) for photo, part in split.split.items() if part != 'test'], np.int64
    )


def uses_answer(config: ConfigDict, dataset: PhotoDataset, workdir: Path) -> list[str]:
    """What of a run knows the true shapes of its photos, beside what training is told; a sentence each.

    Args:
      config: of the evaluation.
      dataset: the photos.
      workdir: of the run, whose training may have had other masks.
    """
    trained = read_run_config(workdir / 'config.json').data
    silhouettes = 'are silhouettes of the true shapes in their annotated poses'
    facts = {
        'the checkpoint is chosen on the test photos': chosen_on_test(config),
        f'masks of the training photos {silhouettes}': trained.layout != 'pix3d' and trained.masks.startswith(POSE),
        f'masks of the test photos {silhouettes}': dataset.masks[1] == POSE,
    }
    return [sentence for sentence, true in facts.items() if true]


def _required(config: ConfigDict) -> tuple[str, ...]:
    """Splits that a training needs."""
    held_out = config.select != 'last' and not chosen_on_test(config)
    return ('train', 'val', 'test') if held_out else ('train', 'test')


def _folder(config: ConfigDict) -> tuple[Path, bool]:
    sample, layout = config.sample, config.data.layout
    write: Any = partial(write_pix3d_sample, shapes_per_category=sample.shapes_per_category)
    if layout != 'pix3d':
        write = partial(write_car_sample, layout=layout, shapes=sample.shapes_per_category)
    return data_folder(
        config,
        f'{layout}-{sample.shapes_per_category}x{sample.photos_per_shape}',
        f'with {LAYOUTS[layout]}',
        partial(write, photos_per_shape=sample.photos_per_shape),
    )


def _reader(config: ConfigDict) -> Any:
    """The reader of data.layout with its options; what depends on the run is left."""
    data = config.data
    options = {
        'gallery': data.gallery,
        'mask_dir': data.mask_dir,
        'on_bad_file': config.on_bad_file,
        'crop': data.crop,
        'empty_masks': config.model.mask == 'none',
        'val_fraction': data.val_fraction,
        'seed': config.seed,
        'cache_dir': cache_folder(config),
        'check_processes': processes(config),
    }
    if data.layout != 'pix3d':
        return partial(cars.read_cars, layout=data.layout, shapenet_dir=data.shapenet_dir, masks=data.masks, **options)
    return partial(
        pix3d.read_pix3d,
        categories=tuple(data.categories),
        exclude_occluded=data.exclude_occluded,
        exclude_truncated=data.exclude_truncated,
        test_fraction=data.test_fraction,
        split_file=data.split_file,
        up_axis=data.up_axis,
        **options,
    )


def _count_note(layout: str, dataset: PhotoDataset) -> str | None:
    return pix3d.paper_note(dataset) if layout == 'pix3d' else cars.count_note(dataset, layout)
