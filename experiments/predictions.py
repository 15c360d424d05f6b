"""What was found for every query, as files: predictions.csv and predictions.json."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.files import write_atomically
from jaxret.metrics.ranking import row_blocks

SHOWN = 10  # items of the gallery a query


@dataclass(frozen=True, eq=False)
class Ranking:
    """Queries Q and the gallery G that they searched.

    Attributes:
      search: what searched what ('test photos', 'image to mesh').
      queries: names [Q].
      truths: [Q] what is right: the name of an item of the gallery, or a class.
      gallery: names [G].
      scores: [Q, G], higher is better.
      wanted, labels: int [Q], [G]; items whose label is what the query wants are right.
      alone: whether queries are the gallery's items, and each leaves itself out.
    """

    search: str
    queries: Sequence[str]
    truths: Sequence[str]
    gallery: Sequence[str]
    scores: np.ndarray
    wanted: np.ndarray
    labels: np.ndarray
    alone: bool = False


def write_predictions(folder: Path, rankings: Iterable[Ranking]) -> None:
    """Writes for every query: search, query, truth, rank of the truth, and the first ten ids with their scores.

    The rank is that of the first right item, 1 is best, ties against the system; none where the gallery has none.

    Raises:
      StorageError: the folder cannot be written.
    """
    found = [row for ranking in rankings for row in _rows(ranking)]
    write_atomically(folder / 'predictions.json', json.dumps(found, indent=1) + '\n')
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    pairs = [f'{name}_{number}' for number in range(1, SHOWN + 1) for name in ('id', 'score')]
    writer.writerow(['search', 'query', 'truth', 'rank_of_truth', *pairs])
    for row in found:
        values = [value for result in row['results'] for value in result.values()]
        writer.writerow([row['search'], row['query'], row['truth'], row['rank_of_truth'], *values])
    write_atomically(folder / 'predictions.csv', text.getvalue())


def _rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    for block in row_blocks(*ranking.scores.shape):
        scores = np.array(ranking.scores[block], np.float64)
        scores[np.isnan(scores)] = -np.inf
        right = ranking.labels[None, :] == ranking.wanted[block, None]
        there = np.ones(scores.shape, bool)
        if ranking.alone:
            there[np.arange(len(scores)), np.arange(block.start, block.stop)] = False
        best = np.where(right & there, scores, -np.inf).max(axis=1, keepdims=True)
        before = np.count_nonzero(there & ~right & (scores >= best), axis=1)
        order = np.lexsort([right, -scores, ~there], axis=-1)[:, :SHOWN]
        for row, query in enumerate(range(block.start, block.stop)):
            shown = [item for item in order[row].tolist() if there[row, item]]
            yield {
                'search': ranking.search,
                'query': ranking.queries[query],
                'truth': ranking.truths[query],
                'rank_of_truth': int(before[row]) + 1 if (right & there)[row].any() else None,
                'results': [{'id': ranking.gallery[item], 'score': _number(scores[row, item])} for item in shown],
            }


def _number(score: float) -> float | None:
    return float(f'{score:.6g}') if np.isfinite(score) else None
