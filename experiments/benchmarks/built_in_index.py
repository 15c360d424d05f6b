"""What the benchmarks of the built-in model share: an index of a folder and what it cost, ranks, rows of accuracies.

Letters: Q queries, G shapes.
"""

import argparse
import contextlib
import resource
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.index.build import update_index
from jaxret.index.index import Index
from jaxret.inference.model import Model
from jaxret.inference.pretrained_model import DEFAULT, load_pretrained
from jaxret.metrics.intervals import mean_metrics, wilson_interval
from jaxret.preprocessing.photos import Mask, Photo
from jaxret.workers import progress_bar

TOP = 10
ACCURACIES = tuple(
    (f'{name}{end}', '.3f') for name in ('top1', 'top10', 'category') for end in ('', '_low', '_high', '_sd')
)


def add_index_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --model, --index and --up-axis."""
    parser.add_argument('--model', default=DEFAULT, help='name of the built-in model, or folder of its weights')
    parser.add_argument('--index', type=Path, help='folder in which the index is kept; default: a temporary one')
    parser.add_argument('--up-axis', choices=('y', 'z'), default='y', help='of the models')


@contextlib.contextmanager
def opened_index(models: Path, known: argparse.Namespace) -> Iterator[tuple[Model, Index, dict[str, Any]]]:
    """The built-in model, an index of a folder, and what to make it cost.

    Args:
      models: the folder.
      known: arguments of `add_index_arguments`.

    Yields:
      model, index, and {'shapes', 'failed', 'embedded': models embedded now, 'cpu_seconds_a_model': processor time of
      this process and those that read files over `embedded`, programs compiled included; None where none was}.

    Raises:
      ConfigError, DataError, StorageError: as `load_pretrained` and `update_index`; or the index has known photos.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = known.index or Path(temporary, 'models.index')
        model, before = load_pretrained(known.model), processor_seconds()
        made = update_index(folder, model, models, up_axis=known.up_axis)
        spent = processor_seconds() - before
        cost = {
            'shapes': made.shapes,
            'failed': len(made.failed),
            'embedded': made.embedded,
            'cpu_seconds_a_model': spent / made.embedded if made.embedded else None,
        }
        with Index.open(folder) as index:
            if index.references.rows():
                found = 'an index with known photos, which would count'
                raise DataError(Problem(str(folder), found, 'name another --index, or take them back'))
            yield model, index, cost


def processor_seconds() -> float:
    """Of this process and its ended children, so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def embedded(
    model: Model, photos: Sequence[Photo], *, masks: Sequence[Mask] | None = None, title: str = 'Embedding photos'
) -> np.ndarray:
    """Embeddings of photos as `Model.embed_photos` makes them, with a progress bar."""
    masks, rows = masks or [None] * len(photos), []
    with progress_bar(title, len(photos)) as advance:
        for photo, mask in zip(photos, masks, strict=True):
            rows.append(model.embed_photos([photo], masks=[mask]))
            advance()
    return np.concatenate(rows)


def orders(index: Index, queries: np.ndarray, *, depth: int, **options: Any) -> list[list[int]]:
    """Places in the index of the first `depth` shapes of every query; options as for `Index.search`."""
    place = {name: number for number, name in enumerate(index.ids)}
    found = []
    with progress_bar('Searching', len(queries)) as advance:
        for query in queries:
            (hits,) = index.search(query[None], top_k=depth, **options)
            found.append([place[hit.id] for hit in hits])
            advance()
    return found


def ordered(scores: np.ndarray, *, depth: int) -> list[list[int]]:
    """Places of the first `depth` shapes of every query by scores [Q, G], equal ones in their order."""
    return np.argsort(-scores, axis=1, kind='stable')[:, :depth].tolist()


def ranks(found: Sequence[Sequence[int]], wanted: Sequence[int], group: np.ndarray | None = None) -> np.ndarray:
    """Rank of the wanted shape of every query, from 1; inf where it was not found.

    Args:
      found: shapes in their order, of every query.
      wanted: its shape.
      group: int [G]; any shape of the wanted one's group will do. None: only itself.
    """
    group = np.arange(1 + max(*wanted, *(max(row) for row in found))) if group is None else group
    hits = [np.flatnonzero(group[list(row)] == group[shape]) for row, shape in zip(found, wanted, strict=True)]
    return np.array([places[0] + 1 if len(places) else np.inf for places in hits], np.float64)


def accuracy(name: str, hits: np.ndarray) -> dict[str, float]:
    """{A, A_low, A_high} of a share named A of hits [Q], which may be chances, with its 95 % interval."""
    low, high = wilson_interval(float(hits.sum()), len(hits))
    return {name: float(hits.mean()), f'{name}_low': low, f'{name}_high': high}


def rank_metrics(ranked: np.ndarray) -> dict[str, float | None]:
    """Top-1, Top-10 and mean reciprocal rank of `ranks`, each with its 95 % interval."""
    shares = accuracy('top1', ranked <= 1) | accuracy('top10', ranked <= TOP)
    return shares | mean_metrics('mrr', 1 / ranked, 0.95)
