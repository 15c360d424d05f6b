"""Damage many files of each kind and see that every one is either read right or refused with a DataError.

    python experiments/benchmarks/damage.py [--files 200] [--seed 0]

Kinds: photos (JPEG, PNG, WebP, BMP, TIFF, GIF), masks, meshes (OBJ, OFF, PLY, STL, GLB) and pix3d.json. A file is cut
off, has bytes changed, zeroed, repeated or removed, or is replaced by noise. Prints a row a kind: how many were
refused, how many could still be read, any other exception (a fault of ours), and the longest time for one file. Ends
with 1 if there was a fault. Formats without checksums (JPEG, BMP, OBJ, ...) stay readable where only values changed.
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

import numpy as np
import trimesh
from argument_types import at_least, positive
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from data_pipelines.photo_to_shape.pix3d_annotations import read_entries
from jaxret.errors import DataError
from jaxret.geometry.mesh import load_mesh
from jaxret.preprocessing.photo_files import read_mask, read_photo

SLOW_SECONDS = 20.0


def damage(data: bytes, draw: np.random.Generator) -> bytes:
    """One damaged copy of a file's content."""
    values = np.frombuffer(data, np.uint8).copy()
    start = int(draw.integers(0, len(values)))
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
    for form in ('obj', 'off', 'ply', 'stl', 'glb'):
        content = ball.export(file_type=form)
        content = content.encode() if isinstance(content, str) else content
        kinds[f'mesh {form.upper()}'] = (content, f'a.{form}', load_mesh)
    entry = {'mask': 'mask/a.png', 'model': 'model/bed/a.obj', 'category': 'bed', 'bbox': [1, 2, 3, 4]}
    listing = json.dumps([entry | {'img': f'img/{number}.png', 'split': 'train'} for number in range(20)]).encode()
    kinds['pix3d.json'] = (listing, 'pix3d.json', _read_list)
    return kinds


def _read_list(path: Path) -> None:
    _, problems = read_entries(path.parent)
    if problems:
        raise DataError(problems)


def run(files: int, seed: int) -> int:
    """Damage `files` files of each kind; returns the number of faults."""
    draw = np.random.default_rng(seed)
    faults = 0
    print(f'{"kind":14} {"files":>6} {"refused":>8} {"readable":>9} {"faults":>7} {"slowest s":>10}')
    with tempfile.TemporaryDirectory() as folder:
        for kind, (data, name, read) in originals().items():
            path = Path(folder) / name
            path.write_bytes(data)
            read(path)  # the sound file is read
            counts: collections.Counter = collections.Counter()
            slowest = 0.0
            for number in range(files):
                path.write_bytes(damage(data, draw))
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
            faults += counts['faults'] + (slowest > SLOW_SECONDS)
            row = f'{counts["refused"]:8} {counts["readable"]:9} {counts["faults"]:7} {slowest:10.3f}'
            print(f'{kind:14} {files:6} {row}')
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--files', type=positive, default=200)
    parser.add_argument('--seed', type=at_least(0), default=0)
    options = parser.parse_args()
    sys.exit(1 if run(options.files, options.seed) else 0)


if __name__ == '__main__':
    main()
