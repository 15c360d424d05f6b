"""Writes synthetic cars in the layouts of Stanford Cars 3D and CompCars 3D, so that one code path reads both.

    cars_train/NNNNN.jpg, cars_test/NNNNN.jpg         Stanford Cars, or
    image/<make>/<model>/<year>/<name>.jpg            CompCars
    mask/<as the photo>.png                           the pixels on which the car is seen
    train_anno.pkl, test_anno.pkl                     poses and model ids, pickled dictionaries of protocol 0
    02958343/<id>/model.obj                           Stanford Cars: ShapeNet's version 1, or
    02958343/<id>/models/model_normalized.obj         CompCars: its version 2
    complete.json                                     seed, generator version and counts; written last

The published data has no masks, and photos without any cannot be framed. These tell what a person would mark in the
photo; they are of the photo's own rays, not of the annotation. Each model has photos in both splits.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.atomic_folder import complete_sample, make_all
from data_pipelines.dataset import ANY, check_ranges
from data_pipelines.photo_to_shape.sample_car_photos import photograph_car
from data_pipelines.synthetic.shapes.cars import MAX_CARS, make_car
from data_pipelines.synthetic.shapes.furniture import Furniture, write_obj
from jaxret.errors import ConfigError

GENERATOR_VERSION = 2
LAYOUTS = ('stanford_cars', 'comp_cars')
_TEST_SHARE = {'stanford_cars': 8041 / (8144 + 8041), 'comp_cars': 1898 / (3798 + 1898)}  # of a model's photos
_FEW = 24  # photos that are rendered faster than a process starts


@dataclass(frozen=True)
class _Job:
    """The photos of one car; `first` is the number of photos before it in each split."""

    folder: Path
    layout: str
    seed: int
    car: int
    train: int
    test: int


def write_car_sample(
    root: Path | str,
    *,
    layout: str,
    seed: int = 0,
    shapes: int = 24,
    photos_per_shape: int = 12,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes the sample to `root` once, as `complete_sample` does.

    Args:
      root: the folder to write.
      layout: 'stanford_cars' or 'comp_cars'.
      seed: decides cars, poses and pixels, whatever the number of processes.
      shapes: cars, 1 .. 64.
      photos_per_shape: of each car, at least 2: one for each split.
      processes: worker processes; None takes one a core.
      progress: show a progress bar.

    Returns:
      `root`, absolute.

    Raises:
      ConfigError: a value out of range.
      StorageError: as `complete_sample`.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f'the sample of cars is one of {", ".join(LAYOUTS)}, not {layout}')
    check_ranges(
        seed=(seed, 0, ANY),
        shapes=(shapes, 1, MAX_CARS),
        photos_per_shape=(photos_per_shape, 2, ANY),
        processes=(processes, 1, ANY),
    )
    wanted = {'layout': layout, 'generator_version': GENERATOR_VERSION, 'seed': seed, 'shapes': shapes,
              'photos_per_shape': photos_per_shape}  # fmt: skip
    test = min(max(1, round(photos_per_shape * _TEST_SHARE[layout])), photos_per_shape - 1)

    def write(folder: Path) -> dict[str, int]:
        jobs = [_Job(folder, layout, seed, car, photos_per_shape - test, test) for car in range(shapes)]
        entries: dict[str, dict[str, dict]] = {'train': {}, 'test': {}}
        serial_below = len(jobs) + 1 if len(jobs) * photos_per_shape < _FEW else 2
        for made in make_all(_write_car, jobs, processes=processes, progress=progress, serial_below=serial_below):
            for split, found in made.items():
                entries[split] |= found
        for split, found in entries.items():
            (folder / f'{split}_anno.pkl').write_text(_pickled(found), encoding='ascii')
        return {'photos': shapes * photos_per_shape}

    return complete_sample(root, wanted, write)


def _write_car(job: _Job) -> dict[str, dict[str, dict]]:
    """Writes the model and the photos of one car; returns their annotations by split."""
    car = make_car(job.car, seed=job.seed)
    model_id = hashlib.sha256(f'{job.seed}:{car.name}'.encode()).hexdigest()[:32]
    _write_model(job.folder / '02958343' / model_id, car, version=1 if job.layout == 'stanford_cars' else 2)
    annotations: dict[str, dict[str, dict]] = {'train': {}, 'test': {}}
    for number in range(job.train + job.test):
        split = 'train' if number < job.train else 'test'
        seed = (job.seed, job.car, number)
        photo, mask, pose = photograph_car(car, seed=seed)
        if job.layout == 'stanford_cars':
            position = job.car * job.train + number if split == 'train' else job.car * job.test + number - job.train
            key, top = f'{position + 1:05d}.jpg', f'cars_{split}'
        else:
            name = hashlib.sha256(f'{seed}'.encode()).hexdigest()[:14]
            key, top = f'{job.car % 7 + 1}/{job.car + 1}/{2009 + number % 6}/{name}.jpg', 'image'
        path, mask_path = job.folder / top / key, (job.folder / 'mask' / top / key).with_suffix('.png')
        for file in (path, mask_path):
            file.parent.mkdir(parents=True, exist_ok=True)
        quality = int(np.random.default_rng([*seed, 1]).integers(60, 96))
        Image.fromarray(photo).save(path, quality=quality)
        Image.fromarray(mask).save(mask_path)
        annotations[split][key] = {**dataclasses.asdict(pose), 'model_id': model_id}
    return annotations


def _pickled(annotations: dict[str, dict]) -> str:
    """A dictionary of dictionaries of texts and floats as Python's pickle of protocol 0, which nothing here imports."""
    parts = ['(d']
    for key, values in annotations.items():
        parts.append(f"S'{key}'\n(d")
        for field, value in values.items():
            parts.append(f"S'{field}'\n" + (f"S'{value}'\n" if isinstance(value, str) else f'F{value!r}\n') + 's')
        parts.append('s')
    return ''.join(parts) + '.'


def _write_model(folder: Path, car: Furniture, *, version: int) -> None:
    """The car as either version of ShapeNet has it: see `car_masks` for their frames."""
    path = folder / ('model.obj' if version == 1 else 'models/model_normalized.obj')
    path.parent.mkdir(parents=True)
    if version == 2:
        x, y, z = car.vertices.T
        turned = np.stack([z, y, -x], axis=1)
        car = dataclasses.replace(car, vertices=turned - turned.mean(axis=0))
    write_obj(path, car)
