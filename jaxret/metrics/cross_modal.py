"""Retrieval between modalities: mAP of every direction (query modality, gallery modality), and domain mixing.

Letters: N objects, D embedding, M modalities. Every object is embedded once in every modality. Conventions of the
order, ties and the query itself: see `average_precision`.
"""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from jaxret.errors import refused
from jaxret.metrics.average_precision import (
    AveragePrecision,
    average_precision,
    cosine_steps,
    expected_average_precision,
    normalized_rows,
    without_self,
)
from jaxret.metrics.intervals import mean_metrics
from jaxret.metrics.ranking import row_blocks
from jaxret.metrics.rates import checked_ids, known_mean

ALONE = '_excluding_self'  # behind the name of a value without the query itself in its gallery


def cross_modal_metrics(
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    *,
    neighbors: int = 10,
    recall_levels: int = 11,
    confidence: float = 0.95,
) -> dict:
    """mAP of all M^2 directions, each with its interval and chance level.

    The gallery of a direction is all N objects in the other modality; a query's own object is relevant to it. Within a
    modality (image to image) the query itself is part of the gallery, as in the published tables, and the value without
    it stands beside.

    Args:
      embeddings: {modality: [N, D]}, in the order of the table.
      labels: [N] class ids.
      class_names: name of every class id.
      neighbors: k of the domain mixing.
      recall_levels: points of the precision-recall curves.
      confidence: level of the intervals.

    Returns:
      A flat dict of Python numbers, JSON-ready. For every direction A = map_<query>_<gallery>:
        A, A_low, A_high       mean AP over queries and its Student-t interval
        A_macro                mean over classes of their mean AP
        A_chance, A_macro_chance  expected mean AP of a random order (exact), over queries and over classes
      the same six for A_excluding_self, which between modalities are those of A: no query is in its gallery. Within a
      modality also A_chance_self_first, the expectation when the query is first and the rest in random order: what
      embeddings that know nothing reach there.
      mean_map and mean_map_excluding_self, the means over all directions, with the same suffixes (their intervals are
      over objects, since the nine APs of one object are not independent).
      queries, gallery (both N), queries_without_relevant_excluding_self (objects alone in their class: they have no AP
      there and are left out), domain_mixing, domain_mixing_expected, domain_mixing_neighbors (see `domain_mixing`).
      per_class: {name: {queries, mean_map, mean_map_low, mean_map_high, mean_map_chance, mean_map_excluding_self, A of
      every direction, and A_excluding_self within a modality}}.
      precision_recall: {recall: [T], A and, within a modality, A_excluding_self: [T] interpolated precision}.
      A value is None where no query counts.

    Raises:
      DataError: no modalities or objects, arrays that do not fit together, ids without a name, values that are not
        finite.
    """
    labels = _checked(embeddings, labels, len(class_names))
    results = _all_directions(embeddings, labels, recall_levels)
    directions = [name for name in results if not name.endswith(ALONE)]
    means = {name: [name] for name in results} | {
        'mean_map': directions,
        f'mean_map{ALONE}': [f'{name}{ALONE}' if f'{name}{ALONE}' in results else name for name in directions],
    }
    values = {name: result.values for name, result in results.items()}
    chance = {name: expected_average_precision(result.relevant, result.gallery) for name, result in results.items()}
    classes = {class_names[c]: labels == c for c in np.unique(labels)}
    metrics: dict = {'queries': len(labels), 'gallery': len(labels)}
    for name, members in means.items():
        by_class, chances = (
            known_mean([known_mean(_over_directions(given, members, rows)) for rows in classes.values()])
            for given in (values, chance)
        )
        metrics |= mean_metrics(name, _over_directions(values, members), confidence)
        metrics |= {
            f'{name}_macro': by_class,
            f'{name}_macro_chance': chances,
            f'{name}_chance': known_mean(_over_directions(chance, members)),
        }
    metrics |= _itself(metrics, results, directions)
    metrics['domain_mixing'], metrics['domain_mixing_expected'] = domain_mixing(embeddings, neighbors=neighbors)
    metrics['domain_mixing_neighbors'] = neighbors
    metrics['per_class'] = {name: _class_row(values, chance, means, rows, confidence) for name, rows in classes.items()}
    metrics['precision_recall'] = {'recall': next(iter(results.values())).recall.tolist()} | {
        name: result.known_precision for name, result in results.items()
    }
    return metrics


def _all_directions(
    embeddings: Mapping[str, np.ndarray], labels: np.ndarray, recall_levels: int
) -> dict[str, AveragePrecision]:
    """{map_<query>_<gallery>: result}, and within a modality that without the query itself, named `ALONE` behind."""
    results = {}
    for (query, x), (gallery, y) in product(embeddings.items(), repeat=2):
        for suffix in ('', ALONE) if query == gallery else ('',):
            results[f'map_{query}_{gallery}{suffix}'] = average_precision(
                x, y, labels, labels, exclude_self=bool(suffix), recall_levels=recall_levels
            )
    return results


def _itself(metrics: Mapping, results: Mapping[str, AveragePrecision], directions: Sequence[str]) -> dict:
    """What finding oneself is worth within a modality; between modalities, where none can, the values without it."""
    found, without = {}, 0
    for name in directions:
        if f'{name}{ALONE}' in results:
            first = expected_average_precision(results[name].relevant, results[name].gallery, self_first=True)
            found[f'{name}_chance_self_first'] = known_mean(first)
            without = int(np.count_nonzero(~results[f'{name}{ALONE}'].defined))  # the same in every modality
        else:
            for suffix in ('', '_low', '_high', '_macro', '_macro_chance', '_chance'):
                found[f'{name}{ALONE}{suffix}'] = metrics[f'{name}{suffix}']
    return found | {f'queries_without_relevant{ALONE}': without}


def domain_mixing(embeddings: Mapping[str, np.ndarray], *, neighbors: int = 10) -> tuple[float, float]:
    """Share of the nearest neighbours that come from another modality, over all pooled embeddings.

    Neighbours are by cosine among the M N - 1 other embeddings; those of the same modality come first among equal ones.
    0 says that the modalities lie apart; mixed ones reach about the expected value, and one more than that if
    the embeddings of one object lie close together.

    Args:
      embeddings: {modality: [N, D]}.
      neighbors: k; at most M N - 1 are used.

    Returns:
      (share, expected share at random: (M-1) N / (M N - 1)).
    """
    if neighbors < 1:
        raise refused('neighbors', f'{neighbors}', 'ask for at least one')
    pooled = np.concatenate([normalized_rows(name, x) for name, x in embeddings.items()])
    modality = np.repeat(np.arange(len(embeddings)), [len(x) for x in embeddings.values()])
    total = len(pooled)
    k = min(neighbors, total - 1)
    if k == 0:
        return 0.0, 0.0
    others = 0
    for rows in row_blocks(total, total):
        # As in `average_precision`: the lowest bit says "other modality", so that equal cosines favour the own one.
        codes = (-cosine_steps(pooled[rows], pooled) << 1) | (modality[rows, None] != modality[None, :])
        others += np.count_nonzero(np.partition(without_self(codes, rows.start), k - 1, axis=1)[:, :k] & 1)
    same = np.bincount(modality)
    return float(others / (k * total)), float(np.mean((total - same[modality]) / (total - 1)))


def _class_row(
    values: Mapping[str, np.ndarray],
    chance: Mapping[str, np.ndarray],
    means: Mapping[str, Sequence[str]],
    rows: np.ndarray,
    confidence: float,
) -> dict:
    per_object = {name: _over_directions(values, members, rows) for name, members in means.items()}
    return {
        'queries': int(np.count_nonzero(rows)),
        **{name: known_mean(value) for name, value in per_object.items()},
        **mean_metrics('mean_map', per_object['mean_map'], confidence),
        'mean_map_chance': known_mean(_over_directions(chance, means['mean_map'], rows)),
    }


def _over_directions(
    values: Mapping[str, np.ndarray], names: Sequence[str], rows: np.ndarray | slice = slice(None)
) -> np.ndarray:
    """One value an object, whose mean is the mean over directions of the mean over the objects that count there.

    z_i = mean_d (m_d + [i counts] (a_di - m_d) N / N_d): the plain mean over d where all objects count, and the usual
    linearisation of a ratio where some do not, so that its spread is that of the result. NaN without any direction;
    a single direction as it is, with NaN where an object does not count.
    """
    if len(names) == 1:
        return values[names[0]][rows]
    columns = []
    for name in names:
        column = values[name][rows]
        known = ~np.isnan(column)
        if known.any():
            mean = column[known].mean()
            columns.append(mean + np.where(known, column - mean, 0.0) * (len(column) / np.count_nonzero(known)))
    return np.mean(columns, axis=0) if columns else np.full(len(values[names[0]][rows]), np.nan)


def _checked(embeddings: Mapping[str, np.ndarray], labels: np.ndarray, names: int) -> np.ndarray:
    if not embeddings:
        raise refused('embeddings', 'no modalities', 'give at least one')
    shapes = {name: np.shape(x) for name, x in embeddings.items()}
    if len(set(shapes.values())) != 1:
        found = ', '.join(f'{name} {shape}' for name, shape in shapes.items())
        raise refused('embeddings', found, 'give every modality [N, D] for the same objects')
    return checked_ids('labels', labels, next(iter(shapes.values()))[0], names, kind='class')
