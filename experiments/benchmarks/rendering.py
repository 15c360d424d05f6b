"""How fast meshes are loaded and rendered on one core, and what becomes of damaged mesh files.

    python experiments/benchmarks/rendering.py                 # meshes/s at 12 x 224 x 224 for 1k, 5k and 20k faces
    python experiments/benchmarks/rendering.py --json=out.json
    python experiments/benchmarks/rendering.py --damage        # 200 damaged files of each format, counted by outcome

The target is 40 renderings/s per core. Speed is given per second of processor time, so that embree's helper threads and
other programs on the machine do not flatter or spoil it. A ball fills the picture and is the worst case; a table is
closer to CAD models. Takes about 10 seconds, with --damage about 20.
"""

import argparse
import collections
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import trimesh
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

from argument_types import output_file, positive
from machine import machine, source

from jaxret.errors import ConfigError, DataError
from jaxret.geometry.mesh import MESH_SUFFIXES, load_mesh
from jaxret.geometry.render import ViewRing, render_file, render_views


def ball(faces: int) -> trimesh.Trimesh:
    """A bumpy ball of about this many faces."""
    side = max(3, round((faces / 4) ** 0.5))
    mesh = trimesh.creation.uv_sphere(count=[side, side])
    bumps = 1 + 0.05 * np.sin(9 * mesh.vertices).sum(axis=1, keepdims=True)
    return trimesh.Trimesh(mesh.vertices * bumps, mesh.faces, process=False)


def table(faces: int) -> trimesh.Trimesh:
    """A table of five boxes, cut into about this many faces."""
    boxes = [trimesh.creation.box((1.6, 0.08, 0.9))]
    for x in (-0.7, 0.7):
        for z in (-0.35, 0.35):
            boxes.append(trimesh.creation.box((0.08, 0.8, 0.08)))
            boxes[-1].apply_translation((x, -0.44, z))
    mesh = trimesh.util.concatenate(boxes)
    while len(mesh.faces) < faces:
        # the largest faces first, so that the count can be met
        count = min(len(mesh.faces), max(1, (faces - len(mesh.faces)) // 3))
        mesh = mesh.subdivide(np.argsort(mesh.area_faces)[-count:])
    return mesh


SHAPES = {'ball': ball, 'table': table}
FACES = (1_000, 5_000, 20_000)


def measure(folder: Path, ring: ViewRing, repeats: int) -> list[dict]:
    """Loads and renders every shape `repeats` times: one row a shape and size."""
    rows = []
    for name, make in SHAPES.items():
        for faces in FACES:
            path = folder / f'{name}_{faces}.obj'
            make(faces).export(path)
            render_views(load_mesh(path), ring)  # the rays of a ring are prepared once
            load = render = wall = 0.0
            for _ in range(repeats):
                start, begin = time.process_time(), time.perf_counter()
                mesh = load_mesh(path)
                loaded = time.process_time()
                render_views(mesh, ring)
                load += loaded - start
                render += time.process_time() - loaded
                wall += time.perf_counter() - begin
            rows.append(
                {
                    'shape': name,
                    'faces': len(mesh.faces),
                    'load_ms': 1e3 * load / repeats,
                    'render_ms': 1e3 * render / repeats,
                    'rendered_per_core_second': repeats / render,
                    'per_core_second': repeats / (load + render),
                    'per_second': repeats / wall,
                }
            )
    return rows


def damage(data: bytes, generator: np.random.Generator) -> bytes:
    """One damaged copy: cut short, bits flipped, a block overwritten, zeroed or removed."""
    kind = generator.integers(5)
    if kind == 0:
        return data[: generator.integers(len(data))]
    broken = bytearray(data)
    if kind == 1:
        for _ in range(generator.integers(1, 30)):
            broken[generator.integers(len(broken))] ^= 1 << int(generator.integers(8))
        return bytes(broken)
    # headers matter more than their size, so half of the blocks start in the first 200 bytes
    start = int(generator.integers(min(200, len(broken)) if generator.random() < 0.5 else len(broken)))
    stop = min(len(broken), start + int(generator.integers(1, 100)))
    broken[start:stop] = {2: generator.bytes(stop - start), 3: bytes(stop - start), 4: b''}[int(kind)]
    return bytes(broken)


def damage_sweep(folder: Path, count: int) -> list[dict]:
    """Loads `count` damaged files of each format and renders those that load: outcomes counted by format."""
    rows, ring = [], ViewRing(views=4, size=64)
    shape = ball(300)
    for suffix in MESH_SUFFIXES:
        sources = {suffix: shape.export(file_type=suffix[1:], **({'embed_buffers': True} if suffix == '.gltf' else {}))}
        if suffix == '.gltf':
            sources = {suffix: sources[suffix]['model.gltf']}
        elif suffix == '.ply':
            sources[f'{suffix} text'] = shape.export(file_type='ply', encoding='ascii')
        elif suffix == '.stl':
            sources[f'{suffix} text'] = shape.export(file_type='stl_ascii')
        for name, data in sources.items():
            data = data.encode() if isinstance(data, str) else data
            generator = np.random.default_rng(0)
            outcomes, slowest = collections.Counter(), 0.0
            for _ in range(count):
                path = folder / f'damaged{suffix}'
                path.write_bytes(damage(data, generator))
                start = time.perf_counter()
                outcomes[_outcome(path, ring)] += 1
                slowest = max(slowest, time.perf_counter() - start)
            rows.append({'format': name, **outcomes, 'slowest_ms': 1e3 * slowest})
    return rows


def _outcome(path: Path, ring: ViewRing) -> str:
    try:
        render_file(path, ring)
    except DataError:
        return 'DataError'
    except Exception as error:
        return f'WRONG: {type(error).__name__}'
    return 'rendered'


def show(title: str, rows: list[dict]) -> None:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    view = Table(*columns, title=title)
    for row in rows:
        values = [row.get(column, 0) for column in columns]
        view.add_row(*(f'{value:.1f}' if isinstance(value, float) else str(value) for value in values))
    Console().print(view)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--json', type=output_file, help='also write the rows to this file')
    parser.add_argument('--repeats', type=positive, default=10, help='renderings per shape and size')
    parser.add_argument('--supersample', type=positive, default=1, help='rays per pixel along each side')
    parser.add_argument('--damage', action='store_true', help='load damaged files instead of measuring speed')
    parser.add_argument('--count', type=positive, default=200, help='damaged files per format')
    arguments = parser.parse_args(arguments)
    try:
        ring = ViewRing(supersample=arguments.supersample)
    except ConfigError as error:
        parser.error(f'argument --supersample: {error.message}')
    with tempfile.TemporaryDirectory() as folder:
        if arguments.damage:
            rows = damage_sweep(Path(folder), arguments.count)
            show(f'{arguments.count} damaged files per format', rows)
        else:
            rows = measure(Path(folder), ring, arguments.repeats)
            show(f'{ring.views} views of {ring.size} x {ring.size} pixels, one core', rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({**machine(), **source(), 'rows': rows}, indent=2) + '\n')


if __name__ == '__main__':
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])  # threads that only wait count as processor time
    main()
