"""The numbers of an evaluation as the text that the report's tables show."""

import math
import re
from collections.abc import Mapping, Sequence

UNKNOWN = '\u2013'
_ABBREVIATIONS = ('anmrr', 'auc', 'cad', 'dcg', 'f', 'ft', 'iou', 'ndcg', 'nn', 'st')


def accuracy_names(metrics: Mapping) -> dict[str, str]:
    """{key: title} of the accuracies that `metrics` holds: Top-k in ascending k, then the category."""
    ks = sorted(int(match[1]) for key in metrics if (match := re.fullmatch(r'top(\d+)', key)))
    names = {f'top{k}': f'Top-{k}' for k in ks}
    return names | ({'category_top1': 'Category of Top-1'} if 'category_top1' in metrics else {})


def percent(value: float | None) -> str:
    """12.3 %, or a dash if it is not known."""
    return UNKNOWN if _unknown(value) else f'{100 * value:.1f} %'


# What is measured beside a trained system, by name in its metrics.
UNTRAINED = {
    'light_field': 'light-field descriptors of silhouettes, not trained',
    'zero_shot': 'views, not trained',
    'zero_shot_prior': 'views and prior, not trained',
    'references': 'training photos as references, whitened in closed form',
    'references_views': 'references and views, not trained',
}


def metric_name(key: str) -> str:
    """A key of metrics as words: 'val_mean_map' is 'held-out mean mAP', 'category_top1' 'category Top-1'."""
    words = key.split('_')
    words = [{'val': 'held-out', 'map': 'mAP'}.get(word, word) for word in words]
    words = [word.upper() if word in _ABBREVIATIONS else re.sub(r'^top(\d+)$', r'Top-\1', word) for word in words]
    return ' '.join(words)


def duration(seconds: float) -> str:
    """'45 s', '3 min 32 s' or '2 h 5 min'."""
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    return f'{whole // 60} min {whole % 60} s' if whole < 3600 else f'{whole // 3600} h {whole // 60 % 60} min'


def number(value: float | None, digits: int = 4) -> str:
    """A number with a fixed number of digits, or a dash if it is not known."""
    return UNKNOWN if _unknown(value) else f'{value:.{digits}f}'


def accuracy(row: Mapping, key: str) -> dict:
    """One accuracy of a row of metrics, with its interval, chance and prior, as text and as fractions to draw.

    Args:
      row: metrics, or those of one category or class.
      key: for instance 'top1' or 'top1_macro'; where its value is not known, all are dashes.

    Returns:
      dict of the texts value, interval, chance, prior, ratio (to the prior, else to chance), and the bar's fractions.
    """
    if _unknown(row.get(key)):
        row = {}
    value, low, high = row.get(key), row.get(f'{key}_low'), row.get(f'{key}_high')
    chance, prior = row.get(f'{key}_chance'), row.get(f'{key}_prior')
    reference, label = (prior, 'prior') if not _unknown(prior) else (chance, 'chance')
    ratio = '' if _unknown(reference) or not reference else f'{value / reference:.1f}\u00d7 {label}'
    interval = UNKNOWN if _unknown(low) or _unknown(high) else f'{100 * low:.1f}\u2013{100 * high:.1f}'
    marks = {'value': value, 'low': low, 'high': high, 'chance': chance, 'prior': prior}
    return {
        'value': percent(value),
        'interval': interval,
        'chance': percent(chance),
        'prior': percent(prior),
        'ratio': ratio,
        'bar': {name: None if _unknown(mark) else round(100 * mark, 2) for name, mark in marks.items()},
    }


def tiles(metrics: Mapping, titles: Mapping[str, str]) -> list[dict]:
    """The headline accuracies, {key: title}, each with what its comparators reach that nobody trained."""
    return [
        {'title': title, **accuracy(metrics, key), 'untrained': _untrained_range(metrics, key)}
        for key, title in titles.items()
    ]


def _untrained_range(metrics: Mapping, key: str) -> str:
    values = sorted(row[key] for row in metrics.get('comparators', {}).values() if not _unknown(row.get(key)))
    ends = dict.fromkeys(map(percent, values[:1] + values[-1:]))
    return ' to '.join(ends)


def other_measures(metrics: Mapping) -> list[tuple[str, str]]:
    """(name, text) of what is no accuracy and in no table of categories."""
    measures = [('Queries', str(metrics['queries'])), ('Gallery shapes', str(metrics['gallery']))]
    if metrics.get('queries_without_positive'):
        measures.append(('Queries whose shape is not in the gallery', str(metrics['queries_without_positive'])))
    for key, digits in (('median_rank', 1), ('mean_reciprocal_rank', 3)):
        if key in metrics:
            measures.append((metric_name(key).capitalize(), number(metrics[key], digits)))
    if 'shape_metric_queries' in metrics and metrics['shape_metric_queries'] != metrics['queries']:
        measures.append(('Queries that Hausdorff and IoU cover', str(metrics['shape_metric_queries'])))
    return measures


def category_table(metrics: Mapping, names: Sequence[str]) -> list[dict]:
    """Rows of the table of accuracies `names`: every category, all queries (micro), the mean of categories (macro).

    Of a single category these three are the same: it has one row.
    """
    categories = metrics.get('per_category', {})
    if len(categories) == 1:
        rows = [(next(iter(categories)), metrics, '', 'total')]
    else:
        rows = [(name, row, '', 'category') for name, row in categories.items()]
        rows.append(('All queries (micro)', metrics, '', 'total'))
    if len(categories) != 1 and all(f'{key}_macro' in metrics for key in names):
        rows.append(('Mean of categories (macro)', metrics, '_macro', 'total'))
    return [
        {
            'name': name,
            'kind': kind,
            'queries': row['queries'],
            'accuracies': [accuracy(row, f'{key}{suffix}') for key in names],
            'hausdorff': number(row.get(f'hausdorff{suffix}')),
            'iou': number(row.get(f'iou{suffix}')),
        }
        for name, row, suffix, kind in rows
    ]


def unseen_table(metrics: Mapping) -> list[dict]:
    """Rows of the table of an unseen gallery (`unseen_metrics`) as text: every category, then all queries."""
    keys = ('hausdorff', 'hausdorff_chance', 'iou', 'iou_chance')
    total = {key: metrics[f'unseen_{key}'] for key in ('queries', 'gallery', *keys)}
    rows = [(name, row, 'category') for name, row in metrics['unseen_per_category'].items()]
    every = [('All queries', total, 'total')] if len(rows) != 1 else []
    return [
        {
            'name': name,
            'kind': kind,
            'queries': row['queries'],
            'gallery': row['gallery'],
            **{key: number(row[key]) for key in keys},
        }
        for name, row, kind in (*rows, *every)
    ]


def _unknown(value: float | None) -> bool:
    return value is None or math.isnan(value)


def untrained_table(metrics: Mapping, names: Sequence[str]) -> list[dict]:
    """Rows of the comparators that nobody trained, where the metrics have any."""
    return [
        {'name': UNTRAINED[name], 'accuracies': [accuracy(row, key) for key in names]}
        for name, row in metrics.get('comparators', {}).items()
    ]
