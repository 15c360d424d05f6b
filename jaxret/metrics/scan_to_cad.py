"""Metrics of finding CAD models for scans: category, exact model, and the similarity benchmark with its pools.

Letters: Q scans, G gallery CADs, A annotations, P pool CADs of an annotation, D embedding.

Distances, not similarities: lower is closer. Ties count against the system (among equal distances the wrong CADs come
first), and a NaN distance is farther than every number. Every rate stands beside what a random order is expected to
give, computed from the annotation itself: in small pools with several ranked CADs even that is high.

Source: Dahnert et al., "Joint Embedding of 3D Scan and CAD Objects", ICCV 2019, section 6; Kabadayi and Dai, "Metric
Learning on Joint Embedding of 3D Scan and CAD Objects", section 6.1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.distance import cdist

from jaxret.errors import refused
from jaxret.metrics.domain_confusion import checked_embeddings, domain_confusion
from jaxret.metrics.ranking import ABSENT, checked_scores, top_k_indices
from jaxret.metrics.rates import Rate, checked_ids, macro_metrics, rate_metrics

FILTERED = 3  # annotations with this many ranked CADs are the "filtered" ones


@dataclass(frozen=True)
class Annotations:
    """The similarity benchmark: for each annotated scan a pool of CADs, of which people ranked the most similar.

    Attributes:
      distances: [A, P] from the scan to each CAD of its pool.
      rank: [A, P] 1 is most similar, 0 is not ranked.
      category: [A] category ids of the scans.
      valid: [A, P] False where a CAD is missing; None for none. Missing CADs are in no order, and ranks close up.
    """

    distances: np.ndarray
    rank: np.ndarray
    category: np.ndarray
    valid: np.ndarray | None = None


def scan_cad_metrics(
    scans: np.ndarray,
    cads: np.ndarray,
    *,
    scan_category: np.ndarray,
    cad_category: np.ndarray,
    category_names: Sequence[str],
    distances: np.ndarray | None = None,
    true_cad: np.ndarray | None = None,
    annotations: Annotations | None = None,
    columns: Sequence[str] = (),
    neighbors: int = 10,
    confidence: float = 0.95,
) -> dict:
    """Everything that is measured on one split.

    Args:
      scans: [Q, D] embeddings.
      cads: [G, D] embeddings of the gallery.
      scan_category, cad_category: [Q], [G] category ids.
      category_names: name of every id.
      distances: [Q, G] of a system that compares otherwise; None for Euclidean ones of the embeddings.
      true_cad: [Q] gallery index of the scan's own model, -1 where it is not there; None leaves exact_top1 out.
      annotations: of the similarity benchmark; None leaves its rates out.
      columns: names of the categories that published tables show; the rest is their 'other'.
      neighbors: k of the domain confusion.
      confidence: level of the intervals.

    Returns:
      A flat dict of Python numbers. For each rate R below: R ("instance average"), R_low, R_high (Wilson), R_chance,
      R_macro ("class average": mean over the categories that have items), R_macro_low, R_macro_high (MOVER),
      R_macro_chance. None where nothing counts.
        category_top1      the nearest CAD of the whole gallery has the scan's category
        exact_top1         the nearest of the gallery's CADs of the scan's category is its own model
        instance_top1      the nearest of the pool is among the ranked ones
        ranking_quality    position by position: the i-th nearest of the pool is the i-th ranked, i = 1..n, n ranked;
                           pooled over positions, as in the public code
        ranking_overlap    share of the n nearest of the pool that are ranked, mean over annotations, as in the papers'
                           words (chance equals that of instance_top1)
        <the last three>_filtered   on the annotations with 3 ranked CADs only
      With columns, of instance_top1 and ranking_quality also R_of_<column> (blanks as _) and R_of_other with their
      _chance, and R_eleven_macro, the mean over those that have items, with its interval and chance.
      scans, gallery, annotations, annotations_filtered, annotations_without_ranked (have no answer and are left out),
      domain_confusion and its parts (see `domain_confusion`), and per_category: {name: {scans, annotations, and
      R, R_low, R_high, R_chance}}.

      Intervals take items as independent. Those of ranking_quality take the positions as independent; those of
      ranking_overlap are too wide, since a share varies less than a yes or no.

    Raises:
      DataError: no scans, empty gallery, arrays that do not fit together, ids out of range, values that are not finite.
    """
    scans, cads = checked_embeddings('scans', scans), checked_embeddings('cads', cads)
    if scans.shape[1] != cads.shape[1]:
        raise refused('scans, cads', f'shapes {scans.shape} and {cads.shape}', 'give embeddings of one size')
    scan_category = checked_ids('scan_category', scan_category, len(scans), len(category_names))
    cad_category = checked_ids('cad_category', cad_category, len(cads), len(category_names))
    distances = cdist(scans, cads) if distances is None else np.asarray(distances)
    if distances.shape != (len(scans), len(cads)):
        raise refused('distances', f'shape {distances.shape}', f'give {len(scans)} scans x {len(cads)} CADs')
    rates = {'category_top1': _category_rate(distances, scan_category, cad_category)}
    if true_cad is not None:
        rates['exact_top1'] = _exact_rate(distances, true_cad, scan_category, cad_category)
    counts = {'scans': len(scans), 'gallery': len(cads)}
    if annotations is not None:
        benchmark, benchmark_counts = _benchmark_rates(annotations, len(category_names))
        rates, counts = rates | benchmark, counts | benchmark_counts
    metrics: dict = dict(counts)
    for name, rate in rates.items():
        metrics |= rate_metrics(name, rate, confidence) | macro_metrics(name, rate, confidence)
    metrics |= _published_columns(rates, category_names, columns, confidence)
    metrics |= domain_confusion(scans, cads, neighbors=neighbors)
    metrics['per_category'] = {
        category_names[c]: _category_row(rates, c, np.count_nonzero(scan_category == c), confidence)
        for c in np.unique(np.concatenate([rate.category for rate in rates.values()]))
    }
    return metrics


def pool_metrics(
    annotations: Annotations, *, category_names: Sequence[str], columns: Sequence[str] = (), confidence: float = 0.95
) -> dict:
    """The rates of the similarity benchmark alone, with the keys of `scan_cad_metrics`."""
    rates, metrics = _benchmark_rates(annotations, len(category_names))
    for name, rate in rates.items():
        metrics |= rate_metrics(name, rate, confidence) | macro_metrics(name, rate, confidence)
    return metrics | _published_columns(rates, category_names, columns, confidence)


def _published_columns(
    rates: dict[str, Rate], category_names: Sequence[str], columns: Sequence[str], confidence: float
) -> dict:
    """Rates of the columns of published tables, and the mean over them."""
    metrics, shown = {}, [*columns, 'other']
    column_of = np.array([shown.index(name if name in columns else 'other') for name in category_names])
    for name in ('instance_top1', 'ranking_quality') if columns else ():
        if name not in rates:
            continue
        rate = replace(rates[name], category=column_of[rates[name].category])
        metrics |= macro_metrics(f'{name}_eleven', rate, confidence)
        for number, column in enumerate(shown):
            key = f'{name}_of_{column.replace(" ", "_")}'
            found = rate_metrics(key, rate.of(rate.category == number), confidence)
            metrics |= {key: found[key], f'{key}_chance': found[f'{key}_chance']}
    return metrics


def _category_rate(distances: np.ndarray, scan_category: np.ndarray, cad_category: np.ndarray) -> Rate:
    best = top_k_indices(-distances, 1, query_category=scan_category, gallery_category=cad_category)[:, 0]
    share = (cad_category[None, :] == scan_category[:, None]).mean(axis=1)
    return Rate(cad_category[best] == scan_category, np.ones(len(distances)), scan_category, {'chance': share})


def _exact_rate(
    distances: np.ndarray, true_cad: np.ndarray, scan_category: np.ndarray, cad_category: np.ndarray
) -> Rate:
    _, true_cad = checked_scores(distances, true_cad)
    same = cad_category[None, :] == scan_category[:, None]
    present = true_cad != ABSENT
    own = np.take_along_axis(distances, np.maximum(true_cad, 0)[:, None], axis=1)
    if np.any(present & ~np.take_along_axis(same, np.maximum(true_cad, 0)[:, None], axis=1)[:, 0]):
        raise refused('true_cad', 'a scan whose own model has another category', 'give both the same category')
    hits = present & (np.count_nonzero(same & (distances <= own), axis=1) == 1)
    chance = np.where(present, 1 / np.maximum(np.count_nonzero(same, axis=1), 1), 0.0)
    return Rate(hits, np.ones(len(distances)), scan_category, {'chance': chance})


def _benchmark_rates(annotations: Annotations, names: int) -> tuple[dict[str, Rate], dict[str, int]]:
    """Rates over the annotations that have ranked CADs, and how many there are."""
    distances, ranked, place, category = _checked_annotations(annotations, names)
    answered = ranked.any(axis=1)
    distances, ranked, place, category = (x[answered] for x in (distances, ranked, place, category))
    pool = np.isfinite(distances).sum(axis=1)  # CADs that are there
    n = ranked.sum(axis=1)
    order = np.lexsort((ranked, distances), axis=-1)  # among equals, unranked ones first
    in_order = np.take_along_axis(ranked, order, axis=1)
    within = np.arange(distances.shape[1])[None, :] < n[:, None]
    closer = np.count_nonzero(distances[:, None, :] < distances[:, :, None], axis=2)
    as_close = np.count_nonzero(distances[:, None, :] <= distances[:, :, None], axis=2)
    # At its place whatever the order of equals: as many closer ones as come before it, and none as close.
    exact = np.count_nonzero(ranked & (closer == place - 1) & (as_close == place), axis=1)
    one, share = np.ones(len(n)), n / pool
    rates = {
        'instance_top1': Rate(in_order[:, 0], one, category, {'chance': share}),
        'ranking_quality': Rate(exact, n, category, {'chance': 1 / pool}),
        'ranking_overlap': Rate((in_order & within).sum(axis=1) / n, one, category, {'chance': share}),
    }
    filtered = n >= FILTERED
    rates |= {f'{name}_filtered': rate.of(filtered) for name, rate in rates.items()}
    return rates, {
        'annotations': len(n),
        'annotations_filtered': int(np.count_nonzero(filtered)),
        'annotations_without_ranked': int(np.count_nonzero(~answered)),
    }


def _checked_annotations(annotations: Annotations, names: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """distances [A, P] (infinite where missing), ranked [A, P] bool, place [A, P] (1..n of the ranked), category."""
    distances, rank = np.asarray(annotations.distances, np.float64), np.asarray(annotations.rank)
    valid = np.ones(rank.shape, bool) if annotations.valid is None else np.asarray(annotations.valid, bool)
    if distances.ndim != 2 or not distances.shape == rank.shape == valid.shape:
        found = f'shapes {distances.shape}, {rank.shape}, {valid.shape}'
        raise refused('annotations', found, 'give distances, rank and valid as [A, P]')
    if rank.size and rank.min() < 0:
        raise refused('annotations.rank', f'{rank.min()}', 'use 0 for CADs that are not ranked, and 1, 2, ...')
    category = checked_ids('annotations.category', annotations.category, len(rank), names)
    ranked = valid & (rank > 0)
    both = ranked[:, :, None] & ranked[:, None, :]
    if np.any(both & (rank[:, :, None] == rank[:, None, :]) & ~np.eye(rank.shape[1], dtype=bool)[None]):
        raise refused('annotations.rank', 'two CADs of a pool with one rank', 'rank them 1, 2, ...')
    place = 1 + np.count_nonzero(both & (rank[:, None, :] < rank[:, :, None]), axis=2)
    finite = np.where(np.isfinite(distances), distances, np.finfo(np.float64).max)
    return np.where(valid, finite, np.inf), ranked, place, category


def _category_row(rates: Mapping[str, Rate], c: int, scans: int, confidence: float) -> dict:
    row: dict = {'scans': int(scans)}
    if 'instance_top1' in rates:
        row['annotations'] = int(np.count_nonzero(rates['instance_top1'].category == c))
    for name, rate in rates.items():
        row |= rate_metrics(name, rate.of(rate.category == c), confidence)
    return row
