"""Writes the synthetic sample in MI3DOR's on-disk layout, so that one code path reads both.

    image/{train,test}/<class>/<class>_0001.jpg    photos: objects in furnished rooms, lit and textured
    model/{train,test}/<class>/<class>_0001.off    shapes, +z up, of which grey views on white are rendered
    complete.json                                  seed, generator version and counts; written last

Numbers go on from train to test. No object is both photographed and a shape. Between the domains lie background,
colour (most photographed objects of a class share a hue), texture, light, shadow, lens and noise.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.atomic_folder import complete_sample, make_all
from data_pipelines.dataset import ANY, check_ranges
from data_pipelines.synthetic.photos.object_photos import photograph
from data_pipelines.synthetic.shapes.furniture import CATEGORIES as FURNITURE
from data_pipelines.synthetic.shapes.furniture import MAX_SHAPES, Furniture, make_furniture, write_off
from data_pipelines.synthetic.shapes.solids import SOLIDS

CLASSES = ('chair', 'ladder', 'mug', 'sofa', 'spring', 'stairs', 'star', 'table')
_STRETCH = 0.2  # of the logarithm of width, height and depth

GENERATOR_VERSION = 2
_FEW = 24  # files that are made faster than a process starts
_PHOTOGRAPHED = 1_000_003  # added to the seed of the objects in photos


@dataclass(frozen=True)
class _Job:
    """One file; `index` counts over train and test of its class."""

    folder: Path
    seed: int
    domain: str
    split: str
    category: str
    index: int
    photo_size: int


def write_mi3dor_sample(
    root: Path | str,
    *,
    seed: int = 0,
    train_photos: int = 120,
    test_photos: int = 15,
    train_shapes: int = 20,
    test_shapes: int = 10,
    photo_size: int = 80,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes the sample to `root` once, as `complete_sample` does.

    Args:
      root: the folder to write.
      seed: decides shapes, poses and pixels, whatever the number of processes.
      train_photos: training photos of each of the eight classes.
      test_photos: test photos of each class.
      train_shapes: training shapes of each class.
      test_shapes: test shapes of each class.
      photo_size: side of the photos, pixels.
      processes: worker processes; None takes one a core.
      progress: show a progress bar.

    Returns:
      `root`, absolute.

    Raises:
      ConfigError: a count below 1, a photo_size below 16, or a negative seed.
      StorageError: as `complete_sample`.
    """
    counts = {
        'train_photos': train_photos, 'test_photos': test_photos, 'train_shapes': train_shapes,
        'test_shapes': test_shapes,
    }  # fmt: skip
    check_ranges(
        seed=(seed, 0, ANY),
        photo_size=(photo_size, 16, ANY),
        processes=(processes, 1, ANY),
        **{name: (count, 1, ANY) for name, count in counts.items()},
    )
    wanted = {'layout': 'MI3DOR', 'generator_version': GENERATOR_VERSION, 'seed': seed, 'photo_size': photo_size}

    def write(folder: Path) -> dict[str, int]:
        jobs = []
        for domain, kind in (('image', 'photos'), ('model', 'shapes')):
            for category in CLASSES:
                numbers = {'train': counts[f'train_{kind}'], 'test': counts[f'test_{kind}']}
                splits = [split for split, number in numbers.items() for _ in range(number)]
                for split in numbers:
                    (folder / domain / split / category).mkdir(parents=True)
                jobs += [_Job(folder, seed, domain, split, category, i, photo_size) for i, split in enumerate(splits)]
        make_all(_make, jobs, processes=processes, progress=progress, serial_below=_FEW)
        return {'classes': len(CLASSES), 'files': len(jobs)}

    return complete_sample(root, wanted | counts, write)


def _make(job: _Job) -> None:
    """Writes one photo or one mesh."""
    path = job.folder / job.domain / job.split / job.category / f'{job.category}_{job.index + 1:04d}'
    if job.domain == 'model':
        shape = make_object(job.category, job.index, seed=job.seed)
        write_off(path.with_suffix('.off'), shape.vertices, shape.faces)
        return
    shape = make_object(job.category, job.index, seed=job.seed + _PHOTOGRAPHED)
    seed = (job.seed, CLASSES.index(job.category), job.index, 1)
    hue = CLASSES.index(job.category) / len(CLASSES)
    photo = photograph(shape, size=job.photo_size, seed=seed, hue=hue)
    quality = int(np.random.default_rng([*seed, 1]).integers(70, 96))
    Image.fromarray(photo).save(path.with_suffix('.jpg'), quality=quality)


def make_object(category: str, index: int, *, seed: int) -> Furniture:
    """One object of a class.

    Furniture takes its structure from a row of `MAX_SHAPES` different ones, a new row after each; solids draw theirs.
    All are stretched a little along each axis and turned about the up axis by any angle.

    Args:
      category: one of CLASSES.
      index: which object.
      seed: another seed, other objects.

    Returns:
      the object, +y up, its bounding box's centre at 0 and longest side 1.
    """
    rng = np.random.default_rng([seed, CLASSES.index(category), index])
    if category in FURNITURE:
        row, place = divmod(index, MAX_SHAPES)
        shape = make_furniture(category, MAX_SHAPES, seed=seed + 7919 * row)[place]
    else:
        vertices, faces, parts, names = SOLIDS[category](rng).joined()
        shape = Furniture(category, f'{category}_{index:04d}', {}, vertices, faces, parts, names)
    vertices = shape.vertices * np.exp(rng.normal(0, _STRETCH, 3))
    angle = rng.uniform(0, 2 * np.pi)
    x, y, z = vertices.T
    turned = (np.cos(angle) * x + np.sin(angle) * z, y, np.cos(angle) * z - np.sin(angle) * x)
    vertices = np.stack(turned, axis=1)
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return dataclasses.replace(shape, vertices=(vertices - (low + high) / 2) / (high - low).max())
