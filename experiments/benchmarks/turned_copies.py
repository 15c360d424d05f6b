"""Does every model find itself, and a turned copy in another format its original, whatever embeds and is compared?

    python experiments/benchmarks/turned_copies.py --models=DIR --up-axis=z --run=RUN --run=RUN:faces --json=FILE

Models of a folder, evenly chosen, are indexed with the built-in model and with each run (of cross-modal centers also by
`faces` or `points`). Asked is with files of models themselves, one in `--own-every`, and with a copy of each, turned
about the vertical by any angle, moved, scaled by 0.01 to 100, and written as STL, OBJ, PLY or GLB in turn. Rows say how
many models are found

- first_embedding, ten_embedding: first, and among the first ten, by the score alone (`--no-align`);
- first: by default, where what scores best and what is alike by its signature is laid on the query. Where a model that
  is alike lies on it exactly, the others are not laid here: they are other shapes.

A model whose file has the same content as another's counts as that one.
"""

import functools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import make_parser, parse, positive, says_errors, show, write_json

# isort: split
import numpy as np
import trimesh
from scipy.spatial.transform import Rotation

import jaxret
from jaxret.geometry.formats import MESH_SUFFIXES
from jaxret.geometry.mesh import load_mesh
from jaxret.index.aligned import FEWEST, aligned_hits
from jaxret.index.build import update_index
from jaxret.index.hits import Hit
from jaxret.index.index import Index
from jaxret.index.model_files import find_models
from jaxret.inference.model import Model
from jaxret.preprocessing.laid_shapes import lay_shape
from jaxret.preprocessing.shape_pairs import read_signature

FORMATS = ('stl', 'obj', 'ply', 'glb')
EXACT = 1e-4  # mean distance, as a share of the longest side
COLUMNS = (
    ('system', ''), ('gallery', ''), ('query', ''), ('count', 'd'), ('first_embedding', 'd'), ('ten_embedding', 'd'),
    ('first', 'd'), ('seconds_a_query', '.2f'),
)  # fmt: skip


def chosen_models(folder: Path, count: int, linked: Path) -> None:
    """Links to models of a folder, evenly chosen, at their places below another."""
    models = find_models(folder, MESH_SUFFIXES).models
    for number in range(min(count, len(models))):
        model = models[number * len(models) // min(count, len(models))]
        place = linked / model.id
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(model.path.absolute())


def write_copy(path: Path, folder: Path, number: int, up_axis: str, draw: np.random.Generator) -> Path:
    """A turned, scaled and moved copy of a model, in another format than its own; GLB has +y up."""
    mesh = load_mesh(path, up_axis=up_axis)
    suffix = next(one for one in FORMATS[number % 4 :] + FORMATS if f'.{one}' != path.suffix.lower())
    turn = Rotation.from_euler('y', draw.uniform(0, 360), degrees=True).as_matrix()
    vertices = mesh.vertices @ turn.T * 10 ** draw.uniform(-2, 2)
    vertices = vertices + draw.normal(size=3) * np.ptp(vertices, axis=0).max()
    if up_axis == 'z' and suffix != 'glb':
        x, y, z = vertices.T
        vertices = np.stack([x, -z, y], axis=1)
    copy = folder / f'{number}.{suffix}'
    trimesh.Trimesh(vertices, mesh.faces, process=False).export(copy)
    return copy


def rank_of(index: Index, hits: Sequence[Hit], wanted: str) -> float:
    """Of a model, or one of the same content, from 1; inf where it is not among them."""
    contents = [index.copy_of(hit.id) or hit.id for hit in hits]
    wanted = index.copy_of(wanted) or wanted
    return contents.index(wanted) + 1 if wanted in contents else np.inf


@functools.cache
def lying_first(models: Path, query: Path, alike: tuple[str, ...]) -> str:
    """The model that lies exactly on a query, '' for none."""
    laid = [(lay_shape((query, models / name), up_axis='y', pictures=False), name) for name in alike]
    means = sorted((round(one.mean, 6), one.mirrored, alike.index(name)) for one, name in laid)
    return alike[means[0][2]] if means and means[0][0] < EXACT else ''


def asked(model: Model, index: Index, queries: dict[str, Path], up_axis: str) -> dict[str, Any]:
    """What is found for meshes, by the id of the right model."""
    models, alone, laid, started = Path(index.manifest.sources[0].folder), [], [], time.process_time()
    for name, path in queries.items():
        embedding = model.embed_meshes([path], up_axis=up_axis)
        also = index.alike(read_signature(path)[1])
        hits = index.search(embedding, top_k=FEWEST, also=[also])[0]
        alone.append(rank_of(index, [hit for hit in hits[:FEWEST]], name))
        exact = lying_first(models, path, tuple(hit.id for hit in hits if hit.id in also))
        first = [hit for hit in hits if hit.id == exact]
        first = first or aligned_hits(index, hits, path, also=also, processes=1).hits
        laid.append(rank_of(index, first, name))
    alone, laid = np.array(alone), np.array(laid)
    return {
        'count': len(queries),
        'first_embedding': int((alone <= 1).sum()),
        'ten_embedding': int((alone <= FEWEST).sum()),
        'first': int((laid <= 1).sum()),
        'seconds_a_query': (time.process_time() - started) / len(queries),
        'not_first': [name for name, rank in zip(queries, laid, strict=True) if rank > 1],
    }


@says_errors
def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table."""
    parser = make_parser(__doc__)
    parser.add_argument('--models', type=Path, required=True, metavar='DIR')
    parser.add_argument('--up-axis', choices=('y', 'z'), default='y', help='of the models')
    parser.add_argument('--count', type=positive, default=60, help='models (default: 60)')
    parser.add_argument('--own-every', type=positive, default=4, help='one in so many asks with its own file too')
    parser.add_argument('--run', action='append', default=[], metavar='WORKDIR[:GALLERY]', help='may be repeated')
    parser.add_argument('--no-built-in', action='store_true', help='runs alone')
    parser.add_argument('--seed', type=int, default=0, help='of turns and scales')
    known, _, _ = parse(parser, arguments)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        models, copies = Path(temporary, 'models'), Path(temporary, 'copies')
        copies.mkdir()
        chosen_models(known.models, known.count, models)
        draw, own, turned = np.random.default_rng(known.seed), {}, {}
        for number, one in enumerate(find_models(models, MESH_SUFFIXES).models):
            turned[one.id] = write_copy(one.path, copies, number, known.up_axis, draw)
            if number % known.own_every == 0:
                own[one.id] = one.path
        for number, name in enumerate([*([] if known.no_built_in else ['']), *known.run]):
            workdir, _, gallery = name.partition(':')
            model = jaxret.load(workdir, gallery=gallery or None) if name else jaxret.load_pretrained()
            folder = Path(temporary, f'{number}.index')
            update_index(folder, model, models, up_axis=known.up_axis)
            with Index.open(folder) as index:
                for query, paths in {'own file': own, 'turned copy': turned}.items():
                    about = {'system': model.system, 'gallery': gallery or index.manifest.shape_inputs.representation}
                    rows.append(about | {'query': query} | asked(model, index, paths, known.up_axis))
                    show(f'{known.models.name}: found first', COLUMNS, rows[-1:])
    show('How many models are found', COLUMNS, rows)
    known.run, known.models = [Path(name).name for name in known.run], known.models.name
    write_json(known.json, title='Own files and turned copies as queries', arguments=known, rows=rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
