"""The command `jaxret demo`: a small folder of models, and photos of some of them, to try the other commands on."""

import argparse
import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from jaxret.cli.next_step import quoted, tell_next
from jaxret.errors import StorageError
from jaxret.files import storage_errors, write_atomically
from jaxret.geometry.render import ViewRing, render_file
from jaxret.preprocessing.photo_files import png_file

Part = tuple[np.ndarray, float, float]  # outline [K, 2] seen from above, and its lowest and highest y
_EACH = 4  # models of a category
_SIDE = 320  # pixels of a photo
_SIDES = (40.0, 17.0), (205.0, 30.0)  # azimuth and elevation of the photos of a model; no view of an index has them
_FIRST = 'chair/chair-2.obj'  # what chair.jpg shows


def run_demo(options: argparse.Namespace) -> int:
    """Writes models/, chair.jpg, chair-mask.png, photos.csv, photos/ and masks/ into a folder; returns the exit status.

    Raises:
      StorageError: there is something in the folder already, or it cannot be written.
    """
    folder = Path(options.folder)
    with storage_errors(folder):
        if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
            raise StorageError(f'{folder}: is there already; name a new folder')
    rng = np.random.default_rng(0)
    for category, parts_of in _CATEGORIES.items():
        for number in range(_EACH):
            model = folder / 'models' / category / f'{category}-{number + 1}.obj'
            write_atomically(model, obj_file(list(parts_of(rng))))
    rows = [('photo', 'model', 'mask')]
    for path in sorted(folder.glob('models/*/*.obj')):
        model = path.relative_to(folder / 'models').as_posix()
        for number, side in enumerate(_SIDES, 1):
            photo, mask = photograph(path, *side, rng)
            name = f'{path.stem}-{number}'
            names = f'photos/{name}.jpg', f'masks/{name}.png'
            if (model, number) == (_FIRST, 1):
                names = 'chair.jpg', 'chair-mask.png'
            else:
                rows.append((names[0], model, names[1]))
            write_atomically(folder / names[0], _jpeg(photo))
            write_atomically(folder / names[1], png_file(mask))
    table = io.StringIO()
    csv.writer(table, lineterminator='\n').writerows(rows)
    write_atomically(folder / 'photos.csv', table.getvalue())
    print(f'{folder}: {_EACH * len(_CATEGORIES)} models in models/; chair.jpg and its mask; photos.csv of known photos')
    tell_next(f'jaxret index --models {quoted(folder / "models")} --out models.index')
    return 0


def obj_file(parts: list[Part]) -> str:
    """An OBJ file of upright prisms, +y up; outlines turn from +z to +x."""
    lines, count = [], 0
    for outline, low, high in parts:
        size = len(outline)
        lines += [f'v {x:.4f} {y:.4f} {z:.4f}' for y in (low, high) for x, z in outline.tolist()]
        below, above = np.arange(size) + count + 1, np.arange(size) + count + 1 + size
        faces = [below[::-1], above]
        faces += [[below[i - 1], below[i], above[i], above[i - 1]] for i in range(size)]
        lines += ['f ' + ' '.join(map(str, face)) for face in faces]
        count += 2 * size
    return '\n'.join(lines) + '\n'


def photograph(
    model: Path, azimuth: float, elevation: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A coloured picture of a model before a wall, uint8 [S, S, 3], and its mask uint8 [S, S].

    Raises:
      DataError: the model cannot be used.
    """
    ring = ViewRing(1, elevation, azimuth, _SIDE, field_of_view=45.0, light_azimuth=40.0, light_elevation=50.0)
    grey = render_file(model, ring)[0]
    seen = grey < ring.background
    colors, ground = rng.uniform((0.7, 0.5, 0.3), (1.0, 0.8, 0.6)), rng.uniform((0.5, 0.6, 0.6), (0.8, 0.9, 0.9))
    light = np.linspace(0.75, 1.0, _SIDE)[:, None, None] * np.linspace(0.9, 1.0, _SIDE)[None, :, None]
    picture = np.where(seen[..., None], grey[..., None] * 1.15 * colors, 255 * light * ground)
    picture += rng.normal(0, 4, picture.shape)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8), np.where(seen, np.uint8(255), np.uint8(0))


def _jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'JPEG', quality=92)
    return buffer.getvalue()


def _box(x: float, z: float, width: float, depth: float, low: float, high: float) -> Part:
    """Around a middle (x, z)."""
    corners = np.array([(-1, -1), (-1, 1), (1, 1), (1, -1)]) / 2
    return corners * (width, depth) + (x, z), low, high


def _disc(radius: float, low: float, high: float, corners: int = 24) -> Part:
    angle = 2 * np.pi * np.arange(corners) / corners
    return radius * np.stack([np.sin(angle), np.cos(angle)], axis=1), low, high


def _legs(width: float, depth: float, height: float, thick: float) -> Iterator[Part]:
    for x in (-1, 1):
        for z in (-1, 1):
            yield _box(x * (width - thick) / 2, z * (depth - thick) / 2, thick, thick, 0, height)


def _chair(rng: np.random.Generator) -> Iterator[Part]:
    width, depth, seat, back, thick = rng.uniform((0.4, 0.4, 0.4, 0.35, 0.03), (0.6, 0.55, 0.5, 0.7, 0.06))
    yield from _legs(width, depth, seat, thick)
    yield _box(0, 0, width, depth, seat, seat + 0.05)
    slats = int(rng.integers(1, 6))
    for x in (np.arange(slats) + 0.5) / slats - 0.5:
        yield _box(x * width, -depth / 2 + 0.02, 0.6 * width / slats, 0.04, seat, seat + back)
    yield _box(0, -depth / 2 + 0.02, width, 0.05, seat + back, seat + back + 0.08)
    for side in (-1, 1) if rng.random() < 0.5 else ():
        yield _box(side * (width / 2 + 0.02), 0, 0.05, depth, seat + 0.2, seat + 0.24)
        yield _box(side * (width / 2 + 0.02), depth / 2 - 0.04, 0.05, 0.05, seat, seat + 0.2)


def _table(rng: np.random.Generator) -> Iterator[Part]:
    width, depth, height = rng.uniform((0.8, 0.6, 0.4), (1.8, 0.9, 0.8))
    if rng.random() < 0.5:
        yield from (_disc(0.3, 0, 0.04), _disc(0.05, 0.04, height), _disc(depth / 1.5, height, height + 0.04))
        return
    yield from _legs(width, depth, height, rng.uniform(0.04, 0.1))
    yield _box(0, 0, width + 0.06, depth + 0.06, height, height + 0.04)


def _shelf(rng: np.random.Generator) -> Iterator[Part]:
    (width, height), boards = rng.uniform((0.5, 0.8), (1.4, 2.0)), int(rng.integers(2, 6))
    for x in np.linspace(-width / 2, width / 2, int(rng.integers(2, 4))):
        yield _box(x, 0, 0.04, 0.35, 0, height)
    for low in np.linspace(0.05, height - 0.04, boards):
        yield _box(0, 0, width, 0.35, low, low + 0.04)


def _lamp(rng: np.random.Generator) -> Iterator[Part]:
    height, shade, corners = rng.uniform(0.5, 1.6), rng.uniform(0.15, 0.35), int(rng.choice((4, 6, 24)))
    yield from (_disc(0.18, 0, 0.04), _disc(0.02, 0.04, height), _disc(shade, height, height + 1.2 * shade, corners))


_CATEGORIES: dict[str, Callable[[np.random.Generator], Iterator[Part]]] = {
    'chair': _chair,
    'lamp': _lamp,
    'shelf': _shelf,
    'table': _table,
}
