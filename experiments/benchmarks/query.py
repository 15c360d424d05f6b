"""How long a whole CMIC query takes, from a photo's file to ranked shapes, and its parts.

    python experiments/benchmarks/query.py                                   # small preset, 322 and 6,778 shapes
    python experiments/benchmarks/query.py --config=pix3d.py:paper --repeats=10 --json=out.json

Random weights and random unit embeddings of the gallery; the photo is a JPEG file of 640 x 480. One query at a time:
`read` decodes and frames the file, `encode` embeds it (`Model.embed_query_arrays`), `search` finds the ten best shapes
(`jaxret.search.exact`). `score` and `sort` are the plain way to search: the scores of all shapes as in training, and
a full sort of them. `total` is read, encode and search. Medians by the clock; the JSON has processor time, too. The
peer is the same in PyTorch, if it is installed: encode, score and sort; `ratio` is its sum over that of encode and
search. Lin et al. (ICCV 2021) name 15 and 17 ms on an RTX 3090 for these two sizes.
"""

import importlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from argument_types import positive
from measuring import describe_devices, find_peer, interleave, make_parser, parse, show, write_json

# isort: split
import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image
from random_steps import photos_and_views, random_variables, read_config

from jaxret.errors import ConfigError, JaxretError
from jaxret.inference.model import Model, model_of
from jaxret.losses.scores import attention_scores
from jaxret.preprocessing.photos import photo_arrays
from jaxret.runs.finished import FinishedRun
from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery
from jaxret.systems.cmic import CMIC

PARTS = ('read', 'encode', 'search', 'score', 'sort', 'total', 'peer_encode', 'peer_score', 'peer_sort')
COLUMNS = (('shapes', ',d'), *((f'{name}_ms', '.2f') for name in PARTS), ('ratio', '.2f'), ('note', ''))
TOP, CATEGORIES = 10, 4


def random_model(config: ConfigDict) -> Model:
    """What `jaxret.load` would return, with random weights."""
    batch = photos_and_views(config, CATEGORIES)
    variables = random_variables(jax.eval_shape(CMIC.from_config(config, shapes=1).init, jax.random.key(0), batch))
    return model_of(FinishedRun(Path('random'), config, variables, step=0))


def random_gallery(shapes: int, config: ConfigDict) -> np.ndarray:
    """Unit embeddings [G, V, D]."""
    views = np.random.default_rng(1).standard_normal(
        (shapes, config.render.views, config.model.embedding_dim), np.float32
    )
    return views / np.linalg.norm(views, axis=-1, keepdims=True)


def write_photo(folder: Path) -> Path:
    """A photo-like picture: smooth, with a little noise."""
    rng = np.random.default_rng(2)
    small = Image.fromarray(rng.integers(256, size=(12, 16, 3), dtype=np.uint8)).resize((640, 480))
    noisy = np.clip(np.asarray(small) + rng.normal(0, 8, (480, 640, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(folder / 'photo.jpg', quality=90)
    return folder / 'photo.jpg'


def peer_calls(
    config: ConfigDict, arrays: dict[str, np.ndarray], views: np.ndarray
) -> tuple[dict[str, Callable[[], Any]], str]:
    """The parts of a query in PyTorch, or none and what to say instead."""
    torch, missing = find_peer('torch')
    if torch is None:
        return {}, missing
    try:
        network = importlib.import_module('torch_peers.cmic').CMIC(config, CATEGORIES)
    except NotImplementedError as error:
        return {}, f'PyTorch: {error}'
    query = importlib.import_module('torch_peers.query').TorchQuery(network, arrays, views)
    return {'peer_encode': query.encode, 'peer_score': query.score, 'peer_sort': query.sort}, ''


def measure(config: ConfigDict, model: Model, photo: Path, shapes: int, repeats: int) -> dict[str, Any]:
    """One row: milliseconds of each part for a gallery of so many shapes."""
    views = random_gallery(shapes, config)
    gallery, on_device = SearchGallery(views, 'attention'), jax.device_put(views)
    inputs = model.query_inputs('photo')
    arrays = photo_arrays(photo, inputs=inputs)
    query = model.embed_query_arrays([arrays], 'photo')
    projected = query @ model.projection
    all_scores = jax.jit(attention_scores)
    scores = np.asarray(all_scores(query, projected, on_device))

    def whole() -> Any:
        embedded = model.embed_query_arrays([photo_arrays(photo, inputs=inputs)], 'photo')
        return search(gallery, embedded, TOP, projected=embedded @ model.projection)

    best = np.argsort(-scores[0], kind='stable')[:TOP]
    if not np.allclose(scores[0, best], whole().scores[0], atol=1e-5):
        raise AssertionError('search differs from the plain way')
    calls, note = peer_calls(config, arrays, views)
    times = interleave(
        {
            'read': lambda: photo_arrays(photo, inputs=inputs),
            'encode': lambda: model.embed_query_arrays([arrays], 'photo'),
            'search': lambda: search(gallery, query, TOP, projected=query @ model.projection),
            'score': lambda: np.asarray(all_scores(query, query @ model.projection, on_device)),
            'sort': lambda: np.argsort(-scores[0], kind='stable'),
            'total': whole,
            **calls,
        },
        repeats=repeats,
    )
    row = {
        'shapes': shapes,
        'note': note,
        **{f'{name}_ms': 1e3 * time['seconds'] for name, time in times.items()},
        **{f'{name}_cpu_ms': 1e3 * time['cpu_seconds'] for name, time in times.items()},
    }
    if calls:
        row['ratio'] = sum(row[f'{name}_ms'] for name in calls) / (row['encode_ms'] + row['search_ms'])
    return row


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table; returns 1 where the config is bad."""
    parser = make_parser(__doc__, repeats=20)
    parser.add_argument('--config', default='pix3d.py', help='config and preset, as of run.py; --config.KEY=VALUE too')
    parser.add_argument('--shapes', type=positive, nargs='+', default=[322, 6_778], help='sizes of the gallery')
    try:
        known, overrides, cores = parse(parser, arguments, overrides=True)
        config, short = read_config(known.config, overrides, experiment='photo_to_shape')
        if config.model.pooling != 'attention':
            raise ConfigError(f"config.model.pooling: {config.model.pooling!r}; this benchmark is for 'attention'")
        model = random_model(config)
    except JaxretError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        photo = write_photo(Path(folder))
        rows = [measure(config, model, photo, shapes, known.repeats) for shapes in known.shapes]
    title = (
        f'one query, {short}: {config.model.query_encoder}, {config.data.image_size} pixels, '
        f'{config.render.views} views x {config.model.embedding_dim}, {describe_devices()}, {cores} cores'
    )
    show(title, COLUMNS, rows)
    write_json(known.json, title=title, arguments=known, rows=rows, cores=cores, config=short)
    return 0


if __name__ == '__main__':
    sys.exit(main())
