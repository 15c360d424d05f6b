"""Shares of hits with their interval and what guessing gives: over all items, and as means over categories.

Letters: N items.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from jaxret.errors import refused
from jaxret.metrics.intervals import mover_interval, wilson_interval


@dataclass(frozen=True)
class Rate:
    """sum of hits / sum of trials, over items.

    Attributes:
      hits: [N] numbers from 0 to the item's trials.
      trials: [N].
      category: [N] category ids.
      expected: {name: [N] hits expected of one trial, or None where that is unknown}: 'chance', the expectation of a
        random order, and other references.
    """

    hits: np.ndarray
    trials: np.ndarray
    category: np.ndarray
    expected: Mapping[str, np.ndarray | None]

    def of(self, rows: np.ndarray) -> 'Rate':
        """The rate over some of the items."""
        expected = {name: values if values is None else values[rows] for name, values in self.expected.items()}
        return Rate(self.hits[rows], self.trials[rows], self.category[rows], expected)


def rate_metrics(name: str, rate: Rate, confidence: float) -> dict[str, float | None]:
    """{A, A_low, A_high (Wilson), A_chance and the other expected ones} of a rate named A; None without trials."""
    trials = int(rate.trials.sum())
    if trials == 0:
        return dict.fromkeys(_keys(name, rate))
    hits = float(rate.hits.sum())
    expected = (
        None if values is None else float((values * rate.trials).sum() / trials) for values in rate.expected.values()
    )
    values = (hits / trials, *wilson_interval(hits, trials, confidence), *expected)
    return dict(zip(_keys(name, rate), values, strict=True))


def macro_metrics(name: str, rate: Rate, confidence: float) -> dict[str, float | None]:
    """The same keys of A_macro: the mean over the categories that have trials, with the MOVER of their intervals."""
    rows = [rate_metrics(name, rate.of(rate.category == c), confidence) for c in np.unique(rate.category)]
    rows = [list(row.values()) for row in rows if row[name] is not None]
    if not rows:
        return dict.fromkeys(_keys(f'{name}_macro', rate))
    expected = (None if None in column else float(np.mean(column)) for column in list(zip(*rows, strict=True))[3:])
    return dict(zip(_keys(f'{name}_macro', rate), (*mover_interval([row[:3] for row in rows]), *expected), strict=True))


def _keys(name: str, rate: Rate) -> tuple[str, ...]:
    return name, f'{name}_low', f'{name}_high', *(f'{name}_{other}' for other in rate.expected)


def known_mean(values: Iterable[float | None]) -> float | None:
    """Mean of the finite values, those that are not NaN or None; None without any."""
    values = np.asarray(values if isinstance(values, np.ndarray) else list(values), np.float64)
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def category_means(values: np.ndarray, category: np.ndarray) -> dict[int, float | None]:
    """{category id: `known_mean` of its values [N]}."""
    return {int(c): known_mean(values[category == c]) for c in np.unique(category)}


def checked_ids(name: str, ids: np.ndarray, count: int, names: int, *, kind: str = 'category') -> np.ndarray:
    """Ids int64 [N] of items, each with a name.

    Args:
      name: of the array, for the error.
      ids: to be checked.
      count: N.
      names: how many names there are.
      kind: what the ids are of, for the error.

    Raises:
      DataError: ids of another shape, or without a name.
    """
    ids = np.asarray(ids)
    if ids.shape != (count,):
        raise refused(name, f'shape {ids.shape}', f'give one {kind} id for each of the {count} items')
    if count and (ids.min() < 0 or ids.max() >= names):
        raise refused(name, f'ids {ids.min()}..{ids.max()}', f'there are {names} {kind} names')
    return ids.astype(np.int64)
