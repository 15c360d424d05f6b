"""How long a query takes: exact search beside faiss, and a whole CMIC query from a photo's file to ranked shapes.

    python experiments/benchmarks/search.py                            # 1,000 and 10,000 shapes x 12 views x 128
    python experiments/benchmarks/search.py --shapes 100000 1000000 --json=out.json
    python experiments/benchmarks/search.py --decay 2 --hnsw-most 0    # one spectrum, no HNSW (its build is slow)
    python experiments/benchmarks/search.py --part=query               # 322 and 6,778 shapes
    python experiments/benchmarks/search.py --part=query --config=pix3d.py:paper --repeats=10 --json=out.json

**gallery**: clustered unit embeddings, attention scores, top 10. The variance of axis i falls as i^-decay; the slower
it falls, the less the bounds of pruned search are worth; `flat` has independent views, where they are worth nothing.
Queries are views with noise. Rows: brute force, pruned search and `auto`, which here tries at every call whether
pruning pays (else every 25th where it does not), in turns and with the same results, checked; flat inner product over
all views of faiss, and its HNSW graph. faiss finds the nearest views; `recall` is the share of the exact top 10 by
attention score among the first 10 shapes of its views, `view recall` the share of the views of flat search that HNSW
finds. Times are a query's, in a batch and one at a time, by the clock and of the processor; `ratio` is that of brute
force's single query to its own, by the clock. Memory: what the method keeps beside the embeddings. faiss is in the
extra `bench`; without it its row says so.

**query**: random weights and galleries; the photo is a JPEG file of 640 x 480. One query at a time: `read` decodes and
frames the file, `encode` embeds it, `search` finds the ten best shapes. `score` and `sort` are the plain way: the
scores of all shapes as in training, and a full sort of them. `total` is read, encode and search. The peer is the same
in PyTorch: encode, score and sort; `ratio` is its sum over that of encode and search. Lin et al. (ICCV 2021) name 15
and 17 ms on an RTX 3090 for these two sizes.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from measuring import (
    MIB,
    Usage,
    at_least,
    describe_devices,
    find_peer,
    interleave,
    make_parser,
    parse,
    positive,
    says_errors,
    show,
    write_json,
)

# isort: split
import jax
import numpy as np
from ml_collections import ConfigDict
from random_galleries import embeddings, random_gallery
from random_query import CATEGORIES, random_model, write_photo
from random_steps import read_config

from jaxret.errors import ConfigError
from jaxret.inference.model import Model
from jaxret.losses.scores import attention_scores
from jaxret.preprocessing.photos import photo_arrays
from jaxret.search.bounds import prepare
from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery

TOP, LINKS, EFFORT = 10, 32, 128  # results; HNSW's links a view, and views it looks at
SIZES = {'gallery': (1_000, 10_000), 'query': (322, 6_778)}  # shapes
QUERY_PARTS = ('read', 'encode', 'search', 'score', 'sort', 'total', 'peer_encode', 'peer_score', 'peer_sort')
COLUMNS = {
    'gallery': (
        ('shapes', ',d'),
        ('decay', ''),
        ('method', ''),
        ('batch_ms', '.2f'),
        ('batch_cpu_ms', '.2f'),
        ('single_ms', '.2f'),
        ('single_cpu_ms', '.2f'),
        ('ratio', '.2f'),
        ('batch_ratio', '.2f'),
        ('fully_scored', '.3%'),
        ('recall', '.3f'),
        ('view_recall', '.3f'),
        ('build_cpu_s', '.1f'),
        ('kept_mib', '.0f'),
        ('embeddings_mib', '.0f'),
    ),
    'query': (('shapes', ',d'), *((f'{name}_ms', '.2f') for name in QUERY_PARTS), ('ratio', '.2f'), ('note', '')),
}


def measure_searches(
    calls: dict[str, Callable[[slice], Any]], queries: int, repeats: int
) -> tuple[dict[str, Any], dict[str, dict[str, float]]]:
    """By the names of calls that take turns: result for all queries, and times of a query, in a batch and alone."""
    results = {name: run(slice(0, queries)) for name, run in calls.items()}
    rows = {name: {} for name in calls}
    for size, count in (('batch', queries), ('single', 1)):
        turns = {name: lambda run=run, count=count: run(slice(0, count)) for name, run in calls.items()}
        for name, times in interleave(turns, repeats=repeats).items():
            rows[name] |= {
                f'{size}_ms': times['seconds'] / count * 1e3,
                f'{size}_least_ms': times['least_seconds'] / count * 1e3,
                f'{size}_cpu_ms': times['cpu_seconds'] / count * 1e3,
            }
    return results, rows


def measure_gallery(known: argparse.Namespace, shapes: int, decay: float | None) -> Iterator[dict[str, Any]]:
    """A row a method."""
    gallery, queries, projected = embeddings(shapes, known.views, known.width, known.queries, decay, known.seed)
    common = {'shapes': shapes, 'decay': 'flat' if decay is None else decay, 'embeddings_mib': gallery.nbytes / MIB}
    searched = SearchGallery(gallery, 'attention')
    with Usage() as build:
        bounds = prepare(searched)

    def ours(part: slice, method: str) -> Any:
        searched.waits = 0
        return search(searched, queries[part], TOP, projected=projected[part], method=method)

    names = {'brute force': 'brute', 'pruned': 'pruned', 'auto': 'auto'}
    calls = {
        name: partial(ours, method=method) for name, method in names.items() if name != 'pruned' or decay is not None
    }
    found, rows = measure_searches(calls, len(queries), known.repeats)
    exact, brute = found['brute force'], rows['brute force']
    for name, row in rows.items():
        if not (
            np.array_equal(found[name].indices, exact.indices) and np.array_equal(found[name].scores, exact.scores)
        ):
            raise AssertionError(f'{name} search differs from brute force')
        row |= {'method': name, 'recall': 1.0, 'fully_scored': float(found[name].fully_scored.mean())}
        row |= {'ratio': brute['single_ms'] / row['single_ms'], 'batch_ratio': brute['batch_ms'] / row['batch_ms']}
        kept = {'build_cpu_s': build.cpu_seconds, 'kept_mib': bounds.nbytes / MIB}
        yield common | row | ({} if name == 'brute force' else kept)
    searched.bounds = bounds = None
    faiss, missing = find_peer('faiss')
    if faiss is None:
        yield common | {'method': missing}
        return
    faiss.omp_set_num_threads(known.threads)
    yield from ({**common, **row} for row in measure_faiss(faiss, known, gallery, queries, exact.indices))


def measure_faiss(
    faiss: Any, known: argparse.Namespace, gallery: np.ndarray, queries: np.ndarray, exact: np.ndarray
) -> Iterator[dict[str, Any]]:
    """A row an index of faiss."""
    shapes, views, width = gallery.shape
    flat_views = None
    for name, most in (('faiss flat', known.flat_most), (f'faiss HNSW {LINKS}', known.hnsw_most)):
        if shapes > most:
            yield {'method': f'{name}: left out above {most:,} shapes'}
            continue
        if name == 'faiss flat':
            index = faiss.IndexFlatIP(width)
        else:
            index = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efSearch = EFFORT
        with Usage() as build:
            index.add(gallery.reshape(-1, width))
        call = {name: lambda part, index=index: index.search(queries[part], TOP * views)[1]}
        (near,), (row,) = (one.values() for one in measure_searches(call, len(queries), known.repeats))
        row |= {'method': name, 'build_cpu_s': build.cpu_seconds, 'kept_mib': build.kept_mib}
        first = [list(dict.fromkeys(line))[:TOP] for line in (near // views).tolist()]
        row['recall'] = _shared(first, exact)
        if name == 'faiss flat':
            flat_views = near
        elif flat_views is not None:
            row['view_recall'] = _shared(near.tolist(), flat_views)
        yield row


def _shared(found: list[list[int]], wanted: np.ndarray) -> float:
    """Mean share of what is wanted that is found."""
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(found, wanted.tolist(), strict=True)]))


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


def measure_query(config: ConfigDict, model: Model, photo: Path, shapes: int, repeats: int) -> dict[str, Any]:
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


def gallery_rows(known: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of exact search and faiss."""
    for shapes in known.shapes:
        for decay in known.decay:
            yield from measure_gallery(known, shapes, decay)


def query_rows(known: argparse.Namespace, config: ConfigDict) -> Iterator[dict[str, Any]]:
    """Rows of a whole query."""
    model = random_model(config)
    with tempfile.TemporaryDirectory() as folder:
        photo = write_photo(Path(folder))
        for shapes in known.shapes:
            yield measure_query(config, model, photo, shapes, known.repeats)


def read_query_config(name: str, overrides: dict[str, str]) -> tuple[ConfigDict, str]:
    """A config of CMIC with attention, and its short name. Raises ConfigError: it is bad, or another."""
    config, short = read_config(name, overrides, experiment='photo_to_shape')
    if config.model.pooling != 'attention':
        raise ConfigError(f"config.model.pooling: {config.model.pooling!r}; this benchmark is for 'attention'")
    return config, short


def spectrum(text: str) -> float | None:
    """Type of an argument: how fast a spectrum falls, None for 'flat'."""
    return None if text == 'flat' else at_least(0, float)(text)


@says_errors
def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table; returns 1 where the config is bad."""
    parser = make_parser(__doc__, repeats=9)
    parser.add_argument('--part', choices=tuple(SIZES), default='gallery')
    parser.add_argument('--shapes', type=positive, nargs='+', help=f'sizes of the gallery; default {SIZES}')
    parser.add_argument('--views', type=positive, default=12)
    parser.add_argument('--width', type=positive, default=128, help='numbers an embedding')
    parser.add_argument(
        '--decay', type=spectrum, nargs='+', default=[1.0, 2.0, 3.0, None], help="spectra: i^-decay, or 'flat'"
    )
    parser.add_argument('--queries', type=positive, default=64, help='of a batch')
    parser.add_argument('--flat-most', type=at_least(0), default=10**6, help='most shapes for faiss flat (copies all)')
    parser.add_argument('--hnsw-most', type=at_least(0), default=10_000, help='most shapes for faiss HNSW (slow build)')
    parser.add_argument('--seed', type=at_least(0), default=0)
    parser.add_argument(
        '--config', default='pix3d.py:random_start', help='of a query, as of run.py; --config.KEY=VALUE too'
    )
    known, overrides, known.threads = parse(parser, arguments, overrides=True)
    known.shapes = known.shapes or list(SIZES[known.part])
    title, measured = 'exact search and faiss', gallery_rows(known)
    config, short = read_query_config(known.config, overrides)
    if known.part == 'query':
        title, measured = f'one query, {short}, {config.data.image_size} pixels', query_rows(known, config)
    title = f"{title}, {describe_devices()}, {known.threads} cores; ms are a query's"
    rows = []
    for row in measured:
        rows.append(row)
        write_json(known.json, title=title, arguments=known, rows=rows)
    show(title, COLUMNS[known.part], rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
