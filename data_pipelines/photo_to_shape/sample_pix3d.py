"""Writes the synthetic sample in Pix3D's own on-disk layout, so that one code path reads both.

    pix3d.json                       one entry a photo: img, category, img_size, mask, model, pose, flags, bbox
    img/<category>/NNNN.jpg          photos
    mask/<category>/NNNN.png         0 / 255, the visible pixels of the object
    model/<category>/<name>/model.obj, model.mtl  colours of its parts, which no photo shows
    complete.json                    seed, generator version and counts; written last

Pose, as in Pix3D: a model point p is seen at q = rot_mat p + trans_mat by a camera at the origin that looks along +z
with +x to the left of the picture and +y up; `camera.py` has the formula of the pixel. `cam_position` is the camera in
the model's frame, `focal_length` is in mm for a sensor 32 mm wide, and `bbox` is [left, top, right, bottom] of the
mask, right and bottom exclusive. There are no keypoints and no voxels, and no `split`: the reader's own rule applies.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.atomic_folder import complete_sample, make_all, write_json
from data_pipelines.dataset import ANY, check_ranges
from data_pipelines.synthetic.photos.photograph import Photo, flags, take_photo
from data_pipelines.synthetic.shapes.furniture import CATEGORIES, Furniture, make_furniture, part_colors, write_obj

GENERATOR_VERSION = 3
_SLIGHTLY_OCCLUDED = 0.15  # share of the usable photos
_FEW = 24  # photos that are rendered faster than a process starts


@dataclass(frozen=True)
class _Job:
    """The photos of one shape, numbered from `first` in their category."""

    folder: Path
    seed: int
    category: str
    shape: int
    shapes: int
    kinds: tuple[str, ...]
    first: int


def write_pix3d_sample(
    root: Path,
    *,
    seed: int = 0,
    shapes_per_category: int = 12,
    photos_per_shape: int = 12,
    processes: int | None = None,
    progress: bool = True,
) -> Path:
    """Writes the sample to `root` once, as `complete_sample` does.

    Beside `photos_per_shape` usable photos a shape (a fifth of them
    slightly occluded), every second shape gets one more photo that is occluded or truncated, for the reader's filters.

    Args:
      root: the folder to write.
      seed: decides shapes, poses and pixels, whatever the number of processes.
      shapes_per_category: 1 .. 24, for each of bed, chair, sofa and table.
      photos_per_shape: usable photos a shape, at least 1.
      processes: worker processes; None takes one a core.
      progress: show a progress bar.

    Returns:
      `root`, absolute.

    Raises:
      ConfigError: a count out of range, or a negative seed.
      StorageError: as `complete_sample`.
    """
    check_ranges(seed=(seed, 0, ANY), photos_per_shape=(photos_per_shape, 1, ANY), processes=(processes, 1, ANY))
    for category in CATEGORIES:
        make_furniture(category, shapes_per_category, seed=seed)  # refuses a count before anything is written
    wanted = {
        'generator_version': GENERATOR_VERSION,
        'seed': seed,
        'shapes_per_category': shapes_per_category,
        'photos_per_shape': photos_per_shape,
    }

    def write(folder: Path) -> dict[str, int]:
        jobs = _plan(folder, seed, shapes_per_category, photos_per_shape)
        few = sum(len(job.kinds) for job in jobs) < _FEW
        serial_below = len(jobs) + 1 if few else 2
        made = make_all(_render, jobs, processes=processes, progress=progress, serial_below=serial_below)
        entries = [entry for of_shape in made for entry in of_shape]
        write_json(folder / 'pix3d.json', entries)
        return {'shapes': len(CATEGORIES) * shapes_per_category, 'photos': len(entries)}

    return complete_sample(root, wanted, write)


def _plan(folder: Path, seed: int, shapes: int, photos: int) -> list[_Job]:
    """One job a shape. Which photos are slightly occluded is spread evenly over all of them."""
    jobs = []
    for category in CATEGORIES:
        first = 1
        for shape in range(shapes):
            rng = np.random.default_rng([seed, CATEGORIES.index(category), 2, shape])
            kinds = np.full(photos, 'clear', dtype='<U20')
            count = int(np.floor(_SLIGHTLY_OCCLUDED * photos + rng.random()))
            kinds[rng.choice(photos, count, replace=False)] = 'slightly_occluded'
            extra = {0: ('occluded',), 2: ('truncated',)}.get(shape % 4, ())
            kinds = (*map(str, kinds), *extra)
            jobs.append(_Job(folder, seed, category, shape, shapes, kinds, first))
            first += len(kinds)
    return jobs


def _render(job: _Job) -> list[dict]:
    """Writes the model, photos and masks of one shape; returns their entries."""
    shape = make_furniture(job.category, job.shapes, seed=job.seed)[job.shape]
    others = [
        other
        for category in CATEGORIES
        if category != job.category
        for other in make_furniture(category, job.shapes, seed=job.seed)
    ]
    model = Path('model') / job.category / shape.name / 'model.obj'
    for path in (model.parent, Path('img') / job.category, Path('mask') / job.category):
        (job.folder / path).mkdir(parents=True, exist_ok=True)
    colors = part_colors(shape, seed=(job.seed, CATEGORIES.index(job.category), 4, job.shape))
    write_obj(job.folder / model, shape, colors=colors)
    entries = []
    for offset, kind in enumerate(job.kinds):
        seed = (job.seed, CATEGORIES.index(job.category), 3, job.shape, offset)
        photo = take_photo(shape, others, kind=kind, seed=seed)
        name = f'{job.category}/{job.first + offset:04d}'
        quality = int(np.random.default_rng([*seed, 1]).integers(60, 96))
        Image.fromarray(photo.image).save(job.folder / 'img' / f'{name}.jpg', quality=quality)
        Image.fromarray(photo.mask).save(job.folder / 'mask' / f'{name}.png', optimize=True)
        entries.append(_entry(shape, photo, name, model.as_posix()))
    return entries


def _entry(shape: Furniture, photo: Photo, name: str, model: str) -> dict:
    camera = photo.camera
    rows, columns = np.flatnonzero(photo.mask.any(1)), np.flatnonzero(photo.mask.any(0))
    return {
        'img': f'img/{name}.jpg',
        'category': shape.category,
        'img_size': [camera.width, camera.height],
        'mask': f'mask/{name}.png',
        'img_source': 'synthetic',
        'model': model,
        'model_source': 'synthetic',
        'trans_mat': camera.translation.tolist(),
        'focal_length': camera.focal_length,
        'cam_position': camera.position.tolist(),
        'inplane_rotation': camera.inplane_rotation,
        'rot_mat': camera.rotation.tolist(),
        'bbox': [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1],
        **flags(photo),
    }
