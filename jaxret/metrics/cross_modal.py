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
    row_blocks,
    without_self,
)
from jaxret.metrics.intervals import mean_interval


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
        A_chance               expected mean AP of a random order (exact)
      the same five for A_excluding_self, which between modalities are those of A: no query is in its gallery. Within a
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
    results: dict[str, AveragePrecision] = {}
    for (query, x), (gallery, y) in product(embeddings.items(), repeat=2):
        for suffix in ('', '_excluding_self') if query == gallery else ('',):
            results[f'map_{query}_{gallery}{suffix}'] = average_precision(
                x, y, labels, labels, exclude_self=bool(suffix), recall_levels=recall_levels
            )
    values = {name: result.values for name, result in results.items()}
    chance = {name: expected_average_precision(result.relevant, result.gallery) for name, result in results.items()}
    own = [name for name in results if f'{name}_excluding_self' in results]
    directions = [name for name in results if not name.endswith('_excluding_self')]
    means = {
        'mean_map': directions,
        'mean_map_excluding_self': [f'{name}_excluding_self' if name in own else name for name in directions],
    }

    classes = [labels == c for c in np.unique(labels)]
    metrics: dict = {'queries': len(labels), 'gallery': len(labels)}
    for name, members in (means | {name: [name] for name in results}).items():
        per_object = _over_directions(values, members)
        metrics[name] = _mean(per_object)
        metrics[f'{name}_low'], metrics[f'{name}_high'] = mean_interval(per_object, confidence)
        metrics[f'{name}_macro'] = _mean(
            np.array([_or_nan(_mean(_over_directions(values, members, rows))) for rows in classes])
        )
        metrics[f'{name}_chance'] = _mean(_over_directions(chance, members))
    for name in own:
        first = expected_average_precision(results[name].relevant, results[name].gallery, self_first=True)
        metrics[f'{name}_chance_self_first'] = _mean(first)
    for name in (name for name in directions if name not in own):
        for suffix in ('', '_low', '_high', '_macro', '_chance'):
            metrics[f'{name}_excluding_self{suffix}'] = metrics[f'{name}{suffix}']
    metrics['queries_without_relevant_excluding_self'] = int(
        np.count_nonzero(~results[f'{own[0]}_excluding_self'].defined)
    )
    metrics['domain_mixing'], metrics['domain_mixing_expected'] = domain_mixing(embeddings, neighbors=neighbors)
    metrics['domain_mixing_neighbors'] = neighbors
    metrics['per_class'] = {
        class_names[labels[rows][0]]: _class_row(values, chance, means, rows, confidence) for rows in classes
    }
    metrics['precision_recall'] = {'recall': next(iter(results.values())).recall.tolist()} | {
        name: [None if np.isnan(p) else float(p) for p in result.precision] for name, result in results.items()
    }
    return metrics


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
    row = {'queries': int(np.count_nonzero(rows))} | {name: _mean(value) for name, value in per_object.items()}
    row['mean_map_low'], row['mean_map_high'] = mean_interval(per_object['mean_map'], confidence)
    row['mean_map_chance'] = _mean(_over_directions(chance, means['mean_map'], rows))
    return row | {name: _mean(value[rows]) for name, value in values.items()}


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


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _checked(embeddings: Mapping[str, np.ndarray], labels: np.ndarray, names: int) -> np.ndarray:
    labels = np.asarray(labels)
    if not embeddings:
        raise refused('embeddings', 'no modalities', 'give at least one')
    shapes = {name: np.shape(x) for name, x in embeddings.items()}
    if len(set(shapes.values())) != 1:
        found = ', '.join(f'{name} {shape}' for name, shape in shapes.items())
        raise refused('embeddings', found, 'give every modality [N, D] for the same objects')
    if labels.shape != next(iter(shapes.values()))[:1]:
        raise refused('labels', f'shape {labels.shape}', 'give one class id for each object')
    if labels.size and (labels.min() < 0 or labels.max() >= names):
        raise refused('labels', f'ids {labels.min()}..{labels.max()}', f'there are {names} class names')
    return labels.astype(np.int64)
