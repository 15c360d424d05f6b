"""Photos and shapes of the photo-to-shape experiment: the folder of `data.layout`, its reader, the split of the run."""

from pathlib import Path
from typing import Any

from console import console
from experiment import processes
from ml_collections import ConfigDict
from overrides import cache_folder

from data_pipelines.photo_to_shape import batches as pipeline
from data_pipelines.photo_to_shape import cars, pix3d
from data_pipelines.photo_to_shape.dataset import PhotoDataset
from data_pipelines.photo_to_shape.sample_cars import write_car_sample
from data_pipelines.photo_to_shape.sample_pix3d import write_pix3d_sample
from jaxret.runs.split import RunSplit
from jaxret.runs.workdir import has_checkpoints

LAYOUTS = {  # of data.layout: what a folder holds, for the message
    'pix3d': 'pix3d.json, img/, mask/, model/',
    'stanford_cars': 'cars_train/, cars_test/, train_anno.pkl, test_anno.pkl and the ShapeNet cars 02958343/',
    'comp_cars': 'image/, train_anno.pkl, test_anno.pkl and the ShapeNet cars 02958343/',
}


def data_folder(config: ConfigDict) -> tuple[Path, bool]:
    """The data folder and whether it is the synthetic sample, which is made where data_dir is empty."""
    if config.data_dir:
        return Path(config.data_dir), False
    sample, layout = config.sample, config.data.layout
    folder = cache_folder(config) / f'sample-{layout}-{sample.shapes_per_category}x{sample.photos_per_shape}'
    console.print(
        f'No --config.data_dir: using SYNTHETIC sample data ({folder}). For real data give '
        f'--config.data_dir=DIR, a folder with {LAYOUTS[layout]}.',
        style='bold yellow',
        soft_wrap=True,
    )
    options = {'photos_per_shape': sample.photos_per_shape, 'processes': processes(config)}
    if layout == 'pix3d':
        write_pix3d_sample(folder, shapes_per_category=sample.shapes_per_category, **options)
    else:
        write_car_sample(folder, layout=layout, shapes=sample.shapes_per_category, **options)
    return folder, True


def read_layout(config: ConfigDict, data_dir: Path, workdir: Path, *, train: bool) -> tuple[PhotoDataset, RunSplit]:
    """Reads and checks everything, with the split that the run was started with; also returns that.

    A run with checkpoints goes on only with the photos and shapes of its start. An evaluation takes any data: photos
    that the run was trained on stay out of test, by name; photos it does not know are test photos.
    """
    stored = RunSplit.read(workdir) if has_checkpoints(workdir) else None
    layout = _read(
        config,
        data_dir,
        split_table=stored.split if stored else None,
        required_splits=('train', 'val', 'test') if train else ('test',),
        min_shapes=config.batch_size if train else 1,
    )
    if not train:
        return layout, stored
    now = RunSplit(
        split=layout.split_table(),
        shape={photo.name: photo.model for photo in layout.photos},
        gallery=[shape.model for shape in layout.shapes],
    )
    if stored:
        stored.check_same(now, workdir)
    pipeline.check_batch_size(config.batch_size, len(layout.split_photos('train')), len(layout.shapes))
    if not stored:
        now.write(workdir)
    return layout, now


def count_note(config: ConfigDict, layout: PhotoDataset) -> str | None:
    """The layout's counts beside those of the paper, where they differ."""
    if config.data.layout == 'pix3d':
        return pix3d.paper_note(layout)
    return cars.count_note(layout, config.data.layout)


def _read(config: ConfigDict, data_dir: Path, **run: Any) -> PhotoDataset:
    """`run`: what depends on the run, not on the config."""
    data = config.data
    options = run | {
        'gallery': data.gallery,
        'on_bad_file': config.on_bad_file,
        'crop': data.crop,
        'val_fraction': data.val_fraction,
        'seed': config.seed,
        'cache_dir': cache_folder(config),
        'check_processes': processes(config),
    }
    if data.layout == 'pix3d':
        return pix3d.read_pix3d(
            data_dir,
            categories=tuple(data.categories),
            exclude_occluded=data.exclude_occluded,
            exclude_truncated=data.exclude_truncated,
            test_fraction=data.test_fraction,
            up_axis=data.up_axis,
            **options,
        )
    return cars.read_cars(data_dir, layout=data.layout, shapenet_dir=data.shapenet_dir, masks=data.masks, **options)
