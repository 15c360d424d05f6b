"""How well the built-in model finds models by screenshots: pictures from views that the index does not have.

    python experiments/benchmarks/screenshots.py --models=DIR
    python experiments/benchmarks/screenshots.py --models=DIR --up-axis=z --queries=300 --index=models.index

The folder is indexed with the built-in model. Models are drawn, and of each one picture of 512 pixels is rendered: from
anywhere around, 5 to 45 degrees above the horizon, with another lens and light than the index's views, as a PNG file
whose transparency tells the object. Rows:

- built-in, mask: as `jaxret search` does it; no mask: the same picture on white, without transparency; instance, mask:
  `--for instance`.
- outlines alone: the best intersection over union with the silhouettes that the index keeps.
- silhouettes and greys: the correlation with silhouette and grey of twelve views, its best view; nothing learnt.
- chance.

`twins` counts a model of the same silhouettes from all sides as the right one: copies and mirror images of symmetric
parts cannot be told apart. The mean reciprocal rank takes ranks above 100 as 0. Pose: of the first answers that are
right, the error of the camera's azimuth and elevation; a symmetric model has several right azimuths. Intervals are of
95 %.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from measuring import at_least, describe_devices, make_parser, parse, positive, says_errors, show, write_json

# isort: split
import numpy as np
from built_in_index import (
    TOP,
    accuracy,
    add_index_arguments,
    embedded,
    opened_index,
    ordered,
    orders,
    rank_metrics,
    ranks,
)
from screenshot_pictures import VIEWS, baseline_features, baseline_views, draw_camera, save, screenshot

from jaxret.errors import DataError
from jaxret.geometry.view_ring import ViewRing
from jaxret.index.embeddings import gather
from jaxret.index.files import held_table
from jaxret.index.hits import Hit
from jaxret.index.index import Index
from jaxret.inference.model import Model
from jaxret.search.outlines import Outlines
from jaxret.workers import map_parallel

DEPTH = 100  # ranks that are looked for
TIMED = 20  # queries
NEAR = 15  # degrees
COLUMNS = (
    ('row', ''),
    *((f'{name}{end}', '.3f') for name in ('top1', 'top10', 'mrr') for end in ('', '_low', '_high')),
    ('top1_twins', '.3f'),
    ('top10_twins', '.3f'),
)


def draw(index: Index, queries: int, seed: int) -> tuple[list[int], list[ViewRing]]:
    """Places of the models that are searched for, and a camera for each."""
    generator = np.random.default_rng(seed)
    chosen = generator.choice(len(index), size=min(queries, len(index)), replace=False)
    return chosen.tolist(), [draw_camera(generator) for _ in chosen]


def rendered(
    function: Callable[..., np.ndarray], index: Index, shapes: Sequence[int], rings: Sequence[ViewRing], title: str
) -> list[np.ndarray]:
    """A function of `screenshot_pictures` of models of the index. Raises DataError where one cannot be rendered."""
    names = [index.ids[shape] for shape in shapes]
    items = [(index.model_path(name), index.up_axis(name), ring) for name, ring in zip(names, rings, strict=True)]
    results = [result for _, result in map_parallel(function, items, ordered=True, progress=title)]
    if problems := [problem for result in results if isinstance(result, DataError) for problem in result.problems]:
        raise DataError(problems)
    return results


def methods(
    model: Model, index: Index, bits: np.ndarray, files: Sequence[Path], pictures: Sequence[np.ndarray]
) -> Iterator[tuple[str, list[list[int]]]]:
    """Name of a row, and the shapes that it answers with, in their order, for every query."""
    masked = embedded(model, files, title='Embedding, with masks')
    yield 'built-in, mask', orders(index, masked, depth=DEPTH)
    plain = embedded(model, [picture[..., :3] for picture in pictures], title='Embedding, without masks')
    yield 'built-in, no mask', orders(index, plain, depth=DEPTH)
    yield 'instance, mask', orders(index, masked, depth=DEPTH, purpose='instance')
    outlines, shapes = Outlines(bits), np.arange(len(index))
    covered = [outlines.scores(row[None], shapes) for row in model.parts.outlines(masked)]
    yield 'outlines alone', ordered(np.stack(covered), depth=DEPTH)
    gallery = np.stack(rendered(baseline_views, index, shapes, [VIEWS] * len(index), 'Rendering views'))
    asked = np.stack([baseline_features(picture) for picture in pictures])
    products = np.einsum('qc,gvc->qgv', asked, gallery, optimize=True)
    yield 'silhouettes and greys', ordered(products.max(axis=2), depth=DEPTH)


def chance(shapes: int, queries: int) -> dict[str, Any]:
    """The row of a random order."""
    inverse = 1 / np.arange(1, min(shapes, DEPTH) + 1)
    shares = {'top1': 1 / shapes, 'top10': min(TOP, shapes) / shapes, 'mrr': float(inverse.sum() / shapes)}
    return {'row': 'chance', 'queries': queries, **shares}


def silhouettes(index: Index) -> np.ndarray:
    """Those that the index keeps, uint8 [G, V, B]."""
    with held_table(index.folder) as (_, rows):
        return gather(index.folder, rows, 'outlines', checked=True)


def pose_errors(hits: Sequence[Hit], rings: Sequence[ViewRing]) -> dict[str, Any]:
    """Errors of the cameras of hits that are right."""
    if not hits:
        return {'right': 0}
    true = np.array([(ring.first_azimuth, ring.elevation) for ring in rings])
    error = np.abs(np.array([(hit.azimuth, hit.elevation) for hit in hits]) - true)
    error[:, 0] = np.minimum(error[:, 0], 360 - error[:, 0])
    result: dict[str, Any] = {'right': len(hits)}
    for name, values in zip(('azimuth', 'elevation'), error.T, strict=True):
        result |= {f'{name}_median': float(np.median(values)), **accuracy(f'{name}_within_{NEAR}', values <= NEAR)}
    return result


def misses(
    index: Index, bits: np.ndarray, wanted: Sequence[int], rings: Sequence[ViewRing], found: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """What was answered in place of the model that is shown, and the mean overlap of both models' silhouettes."""
    rows = []
    for shape, ring, order, rank in zip(wanted, rings, found, ranks(found, wanted), strict=True):
        if rank > 1:
            first = order[0]
            common, either = (np.bitwise_count(x).sum() for x in (bits[shape] & bits[first], bits[shape] | bits[first]))
            names = {'model': index.ids[shape], 'first': index.ids[first]}
            pose = {'azimuth': ring.first_azimuth, 'elevation': ring.elevation, 'field_of_view': ring.field_of_view}
            rows.append({**names, 'rank': float(rank), 'overlap': float(common / either), **pose})
    return rows


def query_seconds(model: Model, index: Index, files: Sequence[Path]) -> dict[str, float]:
    """Median time of a query, from the file to ten answers."""
    spent = []
    for file in [files[0], *files[:TIMED]]:
        started = time.perf_counter(), time.process_time()
        index.search(model.embed_photos([file]), top_k=TOP)
        spent.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    clock, processor = np.median(spent[1:], axis=0)  # the first may compile
    return {'query_seconds': float(clock), 'query_cpu_seconds': float(processor), 'timed': len(spent) - 1}


@says_errors
def main(arguments: list[str] | None = None) -> int:
    """Indexes, renders, searches, prints a table; returns 1 where the folder cannot be used."""
    parser = make_parser(__doc__)
    parser.add_argument('--models', type=Path, required=True, help='folder of models')
    parser.add_argument('--queries', type=positive, default=100)
    parser.add_argument('--seed', type=at_least(0), default=0, help='of models and cameras')
    add_index_arguments(parser)
    known, _, cores = parse(parser, arguments)
    with opened_index(known.models, known) as (model, index, cost), tempfile.TemporaryDirectory() as to:
        bits = silhouettes(index)
        twins = np.unique(bits.reshape(len(bits), -1), axis=0, return_inverse=True)[1]
        wanted, rings = draw(index, known.queries, known.seed)
        pictures = rendered(screenshot, index, wanted, rings, 'Taking screenshots')
        files = [Path(to, f'{number}.png') for number in range(len(pictures))]
        for picture, file in zip(pictures, files, strict=True):
            save(picture, file)
        rows, missed, facts = [], [], {**cost, 'twins': len(bits) - len(set(twins.tolist()))}
        facts |= query_seconds(model, index, files)
        firsts = [index.search(query[None], top_k=1)[0][0] for query in model.embed_photos(files)]
        right = [number for number, hit in enumerate(firsts) if hit.id == index.ids[wanted[number]]]
        facts |= pose_errors([firsts[number] for number in right], [rings[number] for number in right])
        title = f'screenshots of {len(index)} models, {describe_devices()}, {cores} cores'
        for name, found in methods(model, index, bits, files, pictures):
            alike = rank_metrics(ranks(found, wanted, twins))
            also = {f'{key}_twins': alike[key] for key in ('top1', 'top10')}
            rows.append({'row': name, 'queries': len(wanted), **rank_metrics(ranks(found, wanted)), **also})
            missed = missed or misses(index, bits, wanted, rings, found)
            write_json(known.json, title=title, arguments=known, rows=rows, facts=facts, misses=missed)
        rows.append(chance(len(index), len(wanted)))
        write_json(known.json, title=title, arguments=known, rows=rows, facts=facts, misses=missed)
    show(title, COLUMNS, rows)
    print('\n'.join(f'{name}: {value}' for name, value in facts.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
