"""Small folders in Pix3D's layout, written by the tests themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_pipelines.photo_to_shape.pix3d import read_pix3d
from jaxret.errors import DataError

QUADS = [(1, 2, 4, 3), (5, 7, 8, 6), (1, 5, 6, 2), (3, 4, 8, 7), (1, 3, 7, 5), (2, 6, 8, 4)]


def write_box(path: Path, size: tuple[float, float, float]) -> None:
    """An OBJ box."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = [(x, y, z) for x in (0, size[0]) for y in (0, size[1]) for z in (0, size[2])]
    lines = ['v {} {} {}'.format(*corner) for corner in corners] + ['f {} {} {} {}'.format(*quad) for quad in QUADS]
    path.write_text('\n'.join(lines) + '\n')


def write_photo(path: Path, seed: int, size: tuple[int, int] = (24, 18)) -> None:
    """A photo of noise, (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


def write_mask(path: Path, size: tuple[int, int] = (24, 18)) -> None:
    """A mask with an object in the middle, (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[4:-5, 6:-3] = 255
    Image.fromarray(pixels).save(path)


def write_folder(
    root: Path, *, photos_of: tuple[int, ...] = (3, 2, 4), split: bool = True, spare: int = 1
) -> list[dict]:
    """chair0, chair1, ... with photos_of[i] photos each, of categories bed and chair by turns, and spare shapes.

    Returns the entries of pix3d.json, to be changed and written again with `write_json`.
    """
    entries = []
    for shape, count in enumerate(photos_of):
        category = ('bed', 'chair')[shape % 2]
        model = f'model/{category}/shape{shape}/model.obj'
        write_box(root / model, (1 + shape, 1, 2))
        for number in range(count):
            name = f'{category}/{shape}_{number}'
            write_photo(root / f'img/{name}.png', seed=10 * shape + number)
            write_mask(root / f'mask/{name}.png')
            entry: dict[str, Any] = {'img': f'img/{name}.png', 'mask': f'mask/{name}.png', 'category': category}
            entry |= {'model': model, 'truncated': False, 'occluded': False, 'bbox': [6, 4, 21, 13]}
            if split:
                entry['split'] = 'test' if number == 0 else 'train'
            entries.append(entry)
    for number in range(spare):
        write_box(root / f'model/sofa/spare{number}/model.obj', (1, 3 + number, 1))
    write_json(root, entries)
    return entries


def write_json(root: Path, entries: Any) -> None:
    (root / 'pix3d.json').write_text(json.dumps(entries))


def read(root, **options):
    return read_pix3d(root, **({'check_processes': 1, 'progress': False} | options))


def problems_of(root, **options):
    with pytest.raises(DataError) as caught:
        read(root, **options)
    assert all(problem.where and problem.found and problem.action for problem in caught.value.problems)
    return caught.value.problems
