"""Damage many files of each kind and see that every one is either read right or refused with a DataError.

    python experiments/benchmarks/damage.py [--files 200] [--seed 0]

Kinds: photos (JPEG, PNG, WebP, BMP, TIFF, GIF), masks, meshes (OBJ, OFF, PLY, STL, GLB, glTF), which are also rendered,
and pix3d.json. A file is cut off, has bytes changed, zeroed, repeated or removed, or is replaced by noise. Prints a row
a kind: how many were refused, how many could still be read, any other exception (a fault of ours), and the longest time
for one file. Ends with 1 if there was a fault. Formats without checksums (JPEG, BMP, OBJ, ...) stay readable where only
values changed.
"""

import argparse
import collections
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from measuring import at_least, positive, show
from PIL import Image

from data_pipelines.photo_to_shape.pix3d_annotations import read_entries
from jaxret.errors import DataError
from jaxret.geometry.formats import CONVERTED_SUFFIXES, MESH_SUFFIXES
from jaxret.geometry.render import ViewRing, render_file
from jaxret.preprocessing.photo_files import read_mask, read_photo

SLOW_SECONDS = 20.0
# Mesh formats that have a binary and a text form, or need more to be one file: what trimesh exports.
MESH_FORMS = {
    '.ply': {'': {'file_type': 'ply'}, ' text': {'file_type': 'ply', 'encoding': 'ascii'}},
    '.stl': {'': {'file_type': 'stl'}, ' text': {'file_type': 'stl_ascii'}},
    '.gltf': {'': {'file_type': 'gltf', 'embed_buffers': True}},
}


def damage(data: bytes, draw: np.random.Generator) -> bytes:
    """One damaged copy of a file's content."""
    values = np.frombuffer(data, np.uint8).copy()
    # headers matter more than their size: half of the damage starts in the first 200 bytes
    start = int(draw.integers(0, min(200, len(values)) if draw.random() < 0.5 else len(values)))
    stop = min(len(values), start + int(draw.integers(1, max(2, len(values) // 4))))
    kind = int(draw.integers(0, 6))
    if kind == 0:
        return data[:start]
    if kind == 1:
        places = draw.integers(0, len(values), int(draw.integers(1, 20)))
        values[places] = draw.integers(0, 256, len(places))
        return values.tobytes()
    if kind == 2:
        values[start:stop] = 0
        return values.tobytes()
    if kind == 3:
        return data[:stop] + data[start:]
    if kind == 4:
        return data[:start] + data[stop:]
    return draw.integers(0, 256, int(draw.integers(0, 2000)), np.uint8).tobytes()


def originals() -> dict[str, tuple[bytes, str, Callable[[Path], object]]]:
    """For each kind: the content of a sound file, its name, and what reads it."""
    rows, columns = np.mgrid[0:96, 0:128]
    noise = np.random.default_rng(0).integers(0, 40, (96, 128, 3))
    picture = Image.fromarray((np.stack([rows * 2, columns, rows + columns], axis=-1) % 216 + noise).astype(np.uint8))
    kinds = {}
    for form in ('JPEG', 'PNG', 'WEBP', 'BMP', 'TIFF', 'GIF'):
        buffer = io.BytesIO()
        picture.save(buffer, form)
        kinds[f'photo {form}'] = (buffer.getvalue(), f'photo.{form.lower()}', read_photo)
    buffer = io.BytesIO()
    Image.fromarray((rows - 48) ** 2 + (columns - 64) ** 2 < 900).save(buffer, 'PNG')
    kinds['mask PNG'] = (buffer.getvalue(), 'mask.png', read_mask)
    ball = trimesh.creation.icosphere(subdivisions=2)
    ring = ViewRing(views=4, size=64)
    for suffix in sorted(
        set(MESH_SUFFIXES) - {*CONVERTED_SUFFIXES, '.3mf', '.dae'}
    ):  # which trimesh alone cannot write
        for form, options in MESH_FORMS.get(suffix, {'': {'file_type': suffix[1:]}}).items():
            content = ball.export(**options)
            content = content['model.gltf'] if suffix == '.gltf' else content
            content = content.encode() if isinstance(content, str) else content
            kinds[f'mesh {suffix[1:].upper()}{form}'] = (content, f'a{suffix}', lambda path: render_file(path, ring))
    entry = {'mask': 'mask/a.png', 'model': 'model/bed/a.obj', 'category': 'bed', 'bbox': [1, 2, 3, 4]}
    listing = json.dumps([entry | {'img': f'img/{number}.png', 'split': 'train'} for number in range(20)]).encode()
    kinds['pix3d.json'] = (listing, 'pix3d.json', _read_list)
    return kinds


def _read_list(path: Path) -> None:
    _, problems = read_entries(path.parent)
    if problems:
        raise DataError(problems)


def measure(kind: str, original: tuple[bytes, str, Callable[[Path], object]], draws: list[bytes]) -> dict[str, Any]:
    """Reads the sound file and every damaged one; what became of them."""
    data, name, read = original
    counts: collections.Counter = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        read(path)
        slowest = 0.0
        for number, damaged in enumerate(draws):
            path.write_bytes(damaged)
            begin = time.perf_counter()
            try:
                read(path)
                counts['readable'] += 1
            except DataError:
                counts['refused'] += 1
            except Exception as error:
                counts['faults'] += 1
                print(f'  {kind} file {number}: {type(error).__name__}: {error}', file=sys.stderr)
            slowest = max(slowest, time.perf_counter() - begin)
    return {'kind': kind, 'files': len(draws), **counts, 'slowest_s': slowest}


def main(arguments: list[str] | None = None) -> int:
    """Damages, reads, prints a table; returns 1 where there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--files', type=positive, default=200, help='of each kind')
    parser.add_argument('--seed', type=at_least(0), default=0)
    known = parser.parse_args(arguments)
    draw = np.random.default_rng(known.seed)
    rows = []
    for kind, original in originals().items():
        rows.append(measure(kind, original, [damage(original[0], draw) for _ in range(known.files)]))
    counted = ('files', 'refused', 'readable', 'faults')
    show('damaged files', (('kind', ''), *((name, 'd') for name in counted), ('slowest_s', '.3f')), rows)
    return int(any(row.get('faults') or row['slowest_s'] > SLOW_SECONDS for row in rows))


if __name__ == '__main__':
    sys.exit(main())
