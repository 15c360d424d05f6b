"""How long exact search takes, and how much memory, beside faiss.

    python experiments/benchmarks/search.py                            # 1,000 and 10,000 shapes x 12 views x 128
    python experiments/benchmarks/search.py --shapes 100000 1000000 --json=out.json
    python experiments/benchmarks/search.py --decay 2 --hnsw-most 0    # one spectrum, no HNSW (its build is slow)

Clustered unit embeddings, attention scores, top 10. The variance of axis i falls as i^-decay; the slower it falls, the
less the bounds of pruned search are worth. Queries are views with noise. Rows: brute force and pruned search of
jaxret (the same results, checked), flat inner product over all views of faiss, and its HNSW graph. faiss finds the
nearest views; `recall` is the share of the exact top 10 by attention score among the first 10 shapes of its views,
`view recall` the share of the views of flat search that HNSW finds. Times are a query's, in a batch and one at a time,
by the clock and of the processor (which other work on the machine lengthens less). Memory: what the method keeps beside
the embeddings, and the largest growth in its first search (compilation included). faiss is in the extra `bench`;
without it its rows say so.
"""

import argparse
import contextlib
import gc
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parents[1])]

from argument_types import at_least, output_file, positive
from machine import machine, source

from jaxret.search.blocks import aligned_empty
from jaxret.search.bounds import prepare
from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery
from jaxret.workers import default_processes

TOP, LINKS, EFFORT = 10, 32, 128  # results; HNSW's links a view, and views it looks at
SHARPNESS = 5.0  # of the attention: p = 5 q and some noise


def embeddings(
    shapes: int, views: int, width: int, queries: int, decay: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gallery [G, V, D], queries and projected queries [Q, D]: shapes around a centre for every 200, all unit."""
    rng = np.random.default_rng(seed)
    deviation = np.arange(1, width + 1, dtype=np.float32) ** (-decay / 2)
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)

    def draw(*size: int) -> np.ndarray:
        return rng.standard_normal((*size, width), np.float32) * deviation

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    clusters = max(10, shapes // 200)
    centres, sides = draw(clusters, 1), 0.3 * draw(clusters, views)
    gallery = aligned_empty((shapes, views, width), np.float32)
    for start in range(0, shapes, 10_000):
        part = gallery[start : start + 10_000]
        cluster = rng.integers(clusters, size=len(part))
        own = 0.3 * draw(len(part), 1) + 0.15 * draw(len(part), views)
        part[:] = unit(centres[cluster] + sides[cluster] + own) @ turn
    near = gallery[rng.integers(shapes, size=queries), rng.integers(views, size=queries)]
    asked = unit(near + 0.3 * unit(draw(queries)) @ turn)
    noise = rng.uniform(-1, 1, (width, width)).astype(np.float32) / np.sqrt(width, dtype=np.float32)
    return gallery, asked, SHARPNESS * asked + asked @ noise


class Usage:
    """Seconds of the clock and of the processor, and the largest growth of memory, while its block runs."""

    def __enter__(self) -> 'Usage':
        gc.collect()
        self._done, self._start = threading.Event(), resident_mb()
        self._peak = self._start
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._clock, self._processor = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._clock
        self.cpu_seconds = time.process_time() - self._processor
        self._done.set()
        self._thread.join()
        self.peak_mb = max(self._peak, resident_mb()) - self._start
        gc.collect()
        self.kept_mb = resident_mb() - self._start

    def _watch(self) -> None:
        while not self._done.wait(0.05):  # seldom enough not to matter in the times
            self._peak = max(self._peak, resident_mb())


def resident_mb() -> float:
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20


def measure_search(run: Callable[[slice], Any], queries: int, singles: int) -> tuple[Any, dict[str, float]]:
    """Result for all queries, times a query (in a batch and one at a time, without the first), memory of the first."""
    with Usage() as first:
        run(slice(0, queries))
    with Usage() as batch:
        result = run(slice(0, queries))
    run(slice(0, 1))
    clock, processor = [], []
    for number in range(singles):
        one = slice(number % queries, number % queries + 1)
        started, used = time.perf_counter(), time.process_time()
        run(one)
        clock.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return result, {
        'batch_ms': batch.seconds / queries * 1e3,
        'batch_cpu_ms': batch.cpu_seconds / queries * 1e3,
        'single_ms': float(np.median(clock)) * 1e3,
        'single_cpu_ms': float(np.median(processor)) * 1e3,
        'peak_mb': first.peak_mb,
    }


def measure(arguments: argparse.Namespace, shapes: int, decay: float) -> Iterator[dict[str, Any]]:
    """One row a method."""
    gallery, queries, projected = embeddings(
        shapes, arguments.views, arguments.width, arguments.queries, decay, arguments.seed
    )
    common = {'shapes': shapes, 'decay': decay, 'embeddings_mb': gallery.nbytes / 2**20}
    searched = SearchGallery(gallery, 'attention')

    def ours(method: str) -> Callable[[slice], Any]:
        return lambda part: search(searched, queries[part], TOP, projected=projected[part], method=method)

    exact, row = measure_search(ours('brute'), len(queries), arguments.singles)
    yield (
        common | row | {'method': 'brute force', 'build_cpu_s': 0.0, 'kept_mb': 0.0, 'fully_scored': 1.0, 'recall': 1.0}
    )
    with Usage() as build:
        bounds = prepare(searched)
    for method, name in (('pruned', 'pruned'), ('auto', 'auto, prepared')):
        found, row = measure_search(ours(method), len(queries), arguments.singles)
        if not (np.array_equal(found.indices, exact.indices) and np.array_equal(found.scores, exact.scores)):
            raise AssertionError(f'{name} search differs from brute force')
        yield (
            common
            | row
            | {
                'method': name,
                'build_cpu_s': build.cpu_seconds,
                'kept_mb': bounds.rows.nbytes / 2**20,
                'fully_scored': float(found.fully_scored.mean()),
                'recall': 1.0,
            }
        )
    searched.bounds = bounds = None
    if importlib.util.find_spec('faiss') is None:
        yield common | {'method': "faiss: not installed (pip install 'jaxret[bench]')"}
        return
    yield from measure_faiss(arguments, common, gallery, queries, exact.indices)


def measure_faiss(
    arguments: argparse.Namespace, common: dict[str, Any], gallery: np.ndarray, queries: np.ndarray, exact: np.ndarray
) -> Iterator[dict[str, Any]]:
    import faiss

    faiss.omp_set_num_threads(default_processes())
    shapes, views, width = gallery.shape
    flat_views = None
    for name, most in (('faiss flat', arguments.flat_most), (f'faiss HNSW {LINKS}', arguments.hnsw_most)):
        if shapes > most:
            yield common | {'method': f'{name}: left out above {most:,} shapes'}
            continue
        if name == 'faiss flat':
            index = faiss.IndexFlatIP(width)
        else:
            index = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efSearch = EFFORT
        with Usage() as build:
            index.add(gallery.reshape(-1, width))
        near, row = measure_search(
            lambda part, index=index: index.search(queries[part], TOP * views)[1], len(queries), arguments.singles
        )
        first = [list(dict.fromkeys((line // views).tolist()))[:TOP] for line in near]
        recall = np.mean([len(set(a) & set(b.tolist())) / len(b) for a, b in zip(first, exact, strict=True)])
        row |= {'method': name, 'build_cpu_s': build.cpu_seconds, 'kept_mb': build.kept_mb, 'recall': float(recall)}
        if name == 'faiss flat':
            flat_views = near
        elif flat_views is not None:
            row['view_recall'] = float(
                np.mean(
                    [len(set(a) & set(b)) / len(b) for a, b in zip(near.tolist(), flat_views.tolist(), strict=True)]
                )
            )
        yield common | row
        del index


COLUMNS = (
    ('shapes', ',d'),
    ('decay', 'g'),
    ('method', ''),
    ('batch_ms', '.2f'),
    ('batch_cpu_ms', '.2f'),
    ('single_ms', '.2f'),
    ('single_cpu_ms', '.2f'),
    ('fully_scored', '.3%'),
    ('recall', '.3f'),
    ('view_recall', '.3f'),
    ('build_cpu_s', '.1f'),
    ('kept_mb', '.0f'),
    ('peak_mb', '.0f'),
    ('embeddings_mb', '.0f'),
)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table(
        *(name.replace('_', ' ') for name, _ in COLUMNS),
        title=f"{default_processes()} cores, load {os.getloadavg()[0]:.1f}; ms are a query's",
    )
    for row in rows:
        table.add_row(*(format(row[name], form) if name in row else '' for name, form in COLUMNS))
    Console(width=170, markup=False).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--shapes', type=positive, nargs='+', default=[1_000, 10_000], help='10**6 x 12 x 128 takes 6 GB'
    )
    parser.add_argument('--views', type=positive, default=12)
    parser.add_argument('--width', type=positive, default=128, help='numbers an embedding')
    parser.add_argument(
        '--decay', type=at_least(0, float), nargs='+', default=[1.0, 2.0, 3.0], help='spectra: variance i^-decay'
    )
    parser.add_argument('--queries', type=positive, default=64, help='of a batch')
    parser.add_argument('--singles', type=positive, default=9, help='queries searched one at a time (median)')
    parser.add_argument('--flat-most', type=at_least(0), default=10**6, help='most shapes for faiss flat (copies all)')
    parser.add_argument(
        '--hnsw-most', type=at_least(0), default=10_000, help='most shapes for faiss HNSW (slow to build)'
    )
    parser.add_argument('--seed', type=at_least(0), default=0)
    parser.add_argument('--json', type=output_file, help='also write the numbers to this file, after every row')
    arguments = parser.parse_args()
    versions = {}
    with contextlib.suppress(ImportError):
        versions['faiss-cpu'] = version('faiss-cpu')
    environment = machine()
    environment['versions'] |= versions
    rows: list[dict[str, Any]] = []
    for shapes in arguments.shapes:
        for decay in arguments.decay:
            for row in measure(arguments, shapes, decay):
                rows.append(row)
                if arguments.json:
                    settings = {name: value for name, value in vars(arguments).items() if name != 'json'}
                    arguments.json.write_text(
                        json.dumps(
                            {
                                'title': 'Exact search and faiss, one process',
                                'written': datetime.now(UTC).isoformat(timespec='seconds'),
                                **source(),
                                **environment,
                                'load': os.getloadavg()[0],
                                'settings': settings,
                                'rows': rows,
                            },
                            indent=1,
                        )
                        + '\n'
                    )
    show(rows)


if __name__ == '__main__':
    main()
