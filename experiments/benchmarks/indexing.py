"""How many models a second `jaxret index` takes, end to end, and what share of the time each stage takes.

    python experiments/benchmarks/indexing.py --models chairs grids --count=1000 --sample=100 --json=out.json
    python experiments/benchmarks/indexing.py --models chairs --work stages --processes=1

The models of some folders, turned about the vertical as often as `--count` needs and written as OBJ and PLY files in
turn, go into a new index of the built-in model: 12 views of 224 x 224, silhouettes and a thumbnail, signature and
measures. `--work whole` indexes all of them with `--processes` (default: one a core), programs compiled before;
`--work stages` makes `--sample` of them one by one in this process and times the parts, whose processor time counts:
`share` is of all of them.
"""

import argparse
import importlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

from measuring import make_parser, parse, positive, says_errors, show, write_json

# isort: split
import numpy as np
import trimesh
from built_in_index import processor_seconds

from jaxret.geometry.formats import DISTANCE_SUFFIXES, MESH_SUFFIXES
from jaxret.index.build import update_index
from jaxret.index.shards import Shard, write_shard
from jaxret.inference.model import Model
from jaxret.inference.pretrained_model import DEFAULT, load_pretrained
from jaxret.preprocessing.shapes import file_surface, shape_record

SHAPES, RENDER = 'jaxret.preprocessing.shapes', 'jaxret.geometry.render'
STAGES = {
    'read': ((SHAPES, 'load_mesh'), (RENDER, 'load_mesh')),
    'views': ((SHAPES, 'render_file'),),
    'views cut and placed': ((SHAPES, 'placed_views'),),
    'silhouettes': ((SHAPES, 'mesh_outlines'),),
    'thumbnail': ((SHAPES, 'render_views'), (SHAPES, 'png_file')),
    'signature': ((SHAPES, 'signature'),),
    'measures, up axis': ((SHAPES, 'mesh_facts'), (SHAPES, 'guess_up_axis')),
    'checksum': ((SHAPES, 'file_checksum'),),
}
COLUMNS = (
    ('work', ''),
    ('models', ',d'),
    ('processes', 'd'),
    ('cpu_ms', '.1f'),
    ('milliseconds', '.1f'),
    ('share', '.3f'),
    ('per_second', '.2f'),
)


def sources(folders: list[str], up_axis: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Vertices and faces of all models of some folders."""
    suffixes = (*MESH_SUFFIXES, *DISTANCE_SUFFIXES)
    paths = [path for folder in folders for path in sorted(Path(folder).rglob('*')) if path.suffix.lower() in suffixes]
    meshes = [file_surface(path, up_axis=up_axis) for path in paths]
    return [(mesh.vertices, mesh.faces) for mesh in meshes]


def write_models(folder: Path, found: list[tuple[np.ndarray, np.ndarray]], count: int) -> list[Path]:
    """OBJ and PLY files of the models, or of some of them, and of the models turned about y where `count` is more."""
    paths = []
    for number in range(count):
        vertices, faces = found[number * len(found) // count if count < len(found) else number % len(found)]
        angle = 2 * np.pi * (number // len(found)) / (1 + count // len(found))
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        paths.append(folder / f'{number:05d}{".ply" if number % 2 else ".obj"}')
        trimesh.Trimesh(vertices @ turn.T, faces, process=False).export(paths[-1])
    return paths


class Stopwatch:
    """Processor seconds of functions by stage; those of a stage within another count once, for the inner one."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner = 0.0

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def call(*arguments: Any, **options: Any) -> Any:
            before, self._inner, started = self._inner, 0.0, time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                whole = time.process_time() - started
                self.spent[stage] = self.spent.get(stage, 0.0) + whole - self._inner
                self._inner = before + whole

        return call


def stages(model: Model, paths: list[Path], folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of the parts of the work on some models, which are done twice: the second time counts."""
    model.embed_shape_arrays([shape_record(paths[0], inputs=model.shape_inputs, up_axis='y').arrays] * len(paths))
    watch = Stopwatch()
    with ExitStack() as stack:
        for stage, places in STAGES.items():
            for module, name in places:
                function = getattr(importlib.import_module(module), name)
                stack.enter_context(mock.patch(f'{module}.{name}', watch.timed(stage, function)))
        record = watch.timed('other', shape_record)
        records = [record(path, inputs=model.shape_inputs, up_axis='y') for path in paths]
    embeddings = watch.timed('encode', model.embed_shape_arrays)([record.arrays for record in records])
    extras = {name: np.stack([record.extras[name] for record in records]) for name in records[0].extras}
    shard = Shard(embeddings, [record.thumbnail for record in records], [record.checksum for record in records], extras)
    watch.timed('write', write_shard)(folder, shard, key='')
    total = sum(watch.spent.values())
    for stage, seconds in watch.spent.items():
        yield {
            'work': stage,
            'models': len(paths),
            'processes': 1,
            'cpu_ms': 1e3 * seconds / len(paths),
            'share': seconds / total,
        }
    yield {'work': 'all stages', 'models': len(paths), 'processes': 1, 'cpu_ms': 1e3 * total / len(paths)}


def whole(model: Model, models: Path, folder: Path, processes: int) -> dict[str, Any]:
    """A row of an index of all models."""
    started, before = time.perf_counter(), processor_seconds()
    made = update_index(folder, model, models, up_axis='y', processes=processes)
    seconds, used = time.perf_counter() - started, processor_seconds() - before
    return {
        'work': 'index',
        'models': made.embedded,
        'processes': processes,
        'cpu_ms': 1e3 * used / made.embedded,
        'milliseconds': 1e3 * seconds / made.embedded,
        'per_second': made.embedded / seconds,
    }


@says_errors
def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table."""
    parser: argparse.ArgumentParser = make_parser(__doc__)
    parser.add_argument('--models', nargs='+', required=True, help='folders')
    parser.add_argument('--up_axis', choices=('y', 'z'), default='y', help='of the models')
    parser.add_argument('--model', default=DEFAULT, help='name of the built-in model, or folder of its weights')
    parser.add_argument('--work', nargs='+', choices=('stages', 'whole'), default=('stages', 'whole'))
    parser.add_argument('--count', type=positive, default=1000, help='models in the index')
    parser.add_argument('--sample', type=positive, default=100, help='models of which stages are timed')
    parser.add_argument('--processes', type=positive, help='that read models; default: one a core')
    known, _, cores = parse(parser, arguments)
    model, rows = load_pretrained(known.model), []
    with tempfile.TemporaryDirectory() as temporary:
        models, index = Path(temporary, 'models'), Path(temporary, 'index')
        models.mkdir()
        found = sources(known.models, known.up_axis)
        paths = write_models(models, found, known.count)
        faces = float(np.mean([len(faces) for _, faces in found]))
        if 'stages' in known.work:
            rows += stages(model, paths[:: -(-len(paths) // known.sample)], Path(temporary))
        if 'whole' in known.work:
            rows.append(whole(model, models, index, known.processes or cores))
    known.models = [Path(folder).resolve().name for folder in known.models]  # of this machine is their place
    title = f'indexing models of {faces:,.0f} faces (mean), {cores} cores'
    show(title, COLUMNS, rows)
    write_json(known.json, title=title, arguments=known, rows=rows, cores=cores, sources=len(found), mean_faces=faces)
    return 0


if __name__ == '__main__':
    sys.exit(main())
