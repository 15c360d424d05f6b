"""Small folders in the layouts of Stanford Cars 3D and CompCars 3D, written by the tests themselves."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pix3d_folders import QUADS, write_photo

SIZE = np.array([0.88, 0.28, 0.38])  # of a box of diagonal 1, about
POSE = {'azimuth': 0.9, 'elevation': 0.1, 'theta': 0.02, 'distance': 1.4, 'u': 6.0, 'v': -4.5, 'f': 300.0}


def box_vertices(scale: np.ndarray = SIZE) -> np.ndarray:
    """[8, 3], centred, of diagonal 1; faces are QUADS."""
    unit = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return unit * scale / np.linalg.norm(scale)


def write_model(path: Path, vertices: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ['v {} {} {}'.format(*vertex) for vertex in vertices] + ['f {} {} {} {}'.format(*quad) for quad in QUADS]
    path.write_text('\n'.join(lines) + '\n')


def model_id(number: int) -> str:
    return f'{number:x}' * 31


def write_cars(
    root: Path, dataset: str, *, photos_of: tuple[int, ...] = (4, 3, 3), version: int = 1, spare: int = 1
) -> dict[str, dict[str, dict]]:
    """Boxes with photos_of[i] photos each, the first of them in test, and spare models.

    Returns the annotations by split, to be changed and written again with `write_annotations`.
    """
    annotations: dict[str, dict[str, dict]] = {'train': {}, 'test': {}}
    count = 0
    for shape in range(len(photos_of) + spare):
        file = 'model.obj' if version == 1 else 'models/model_normalized.obj'
        write_model(root / '02958343' / model_id(shape + 1) / file, box_vertices(SIZE + [0, 0.05 * shape, 0]))
        for number in range(photos_of[shape] if shape < len(photos_of) else 0):
            split = 'train' if number else 'test'
            count += 1
            key, top = f'{count:05d}.jpg', f'cars_{split}'
            if dataset == 'comp_cars':
                key, top = f'{shape}/{number}/2012/{key}', 'image'
            write_photo(root / top / key, seed=count, size=(30, 20))
            annotations[split][key] = {**POSE, 'azimuth': 0.6 * count, 'model_id': model_id(shape + 1)}
    for split, entries in annotations.items():
        write_annotations(root, split, entries)
    return annotations


def write_annotations(root: Path, split: str, entries: Any) -> None:
    (root / f'{split}_anno.pkl').write_bytes(pickle.dumps(entries, protocol=0))


def write_masks(folder: Path, names: Any, *, level: int = 255) -> None:
    """A mask of each photo of 30 x 20 pixels, by the photos' names."""
    for name in names:
        path = folder / name.replace('.jpg', '.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.pad(np.full((4, 14), level, np.uint8), 8)).save(path)
