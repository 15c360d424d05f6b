"""The rows of CMIC's Table 1: as papers print them, and of metrics.json of runs, by category."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from photo_to_shape.unseen_gallery import SHAPENET_NAMES

from jaxret.metrics.intervals import spread
from jaxret.reports.tables import UNTRAINED

MICRO, MACRO = 'all photos', 'mean of categories'
# key of metrics.json -> of metrics that have a gallery without the true shapes
COLUMNS = ('top1', 'top10', 'hausdorff', 'iou', 'unseen_hausdorff', 'unseen_iou')
_METHODS = ('UDF-CGI', 'Grabner et al. 2018', 'location field descriptors', 'HEG-TS', 'CMIC')
# Lin et al. (ICCV 2021), Table 1, Pix3D; in the columns above, accuracies in percent.
_PRINTED = {
    'bed': (
        (19.4, 46.6, 0.0821, 0.3397, 0.0960, 0.2487),
        (35.1, 83.2, 0.0385, 0.5598, 0.0577, 0.3013),
        (64.4, 89.0, 0.0152, 0.8074, 0.0448, 0.3490),
        (65.3, 95.4, 0.0122, 0.8213, 0.0425, 0.3684),
        (73.3, 96.1, 0.0093, 0.8927, 0.0408, 0.3999),
    ),
    'chair': (
        (17.3, 49.1, 0.0559, 0.3027, 0.0843, 0.1334),
        (41.3, 73.9, 0.0305, 0.5469, 0.0502, 0.1965),
        (58.1, 81.8, 0.0170, 0.7169, 0.0375, 0.2843),
        (87.9, 97.9, 0.0041, 0.9063, 0.0152, 0.7482),
        (79.4, 96.3, 0.0080, 0.8661, 0.0190, 0.6384),
    ),
    'sofa': (
        (21.7, 52.2, 0.0503, 0.3824, 0.0590, 0.3493),
        (44.1, 89.9, 0.0197, 0.7762, 0.0294, 0.6178),
        (67.0, 94.4, 0.0075, 0.9028, 0.0178, 0.7472),
        (72.8, 97.7, 0.0047, 0.9070, 0.0156, 0.7963),
        (80.7, 97.1, 0.0045, 0.9329, 0.0151, 0.8017),
    ),
    'table': (
        (12.0, 34.2, 0.1003, 0.1715, 0.1239, 0.1047),
        (33.9, 66.1, 0.0607, 0.4500, 0.0753, 0.1730),
        (53.3, 80.1, 0.0288, 0.6383, 0.0482, 0.2573),
        (73.7, 92.4, 0.0170, 0.7667, 0.0228, 0.4391),
        (76.9, 93.5, 0.0168, 0.8088, 0.0213, 0.4701),
    ),
    # The paper's "mean": over categories in all rows but its own, which is over photos.
    MACRO: (
        (17.6, 45.5, 0.0722, 0.2991, 0.0908, 0.2090),
        (38.6, 78.3, 0.0374, 0.5832, 0.0531, 0.3222),
        (60.7, 86.3, 0.0171, 0.7663, 0.0370, 0.4095),
        (74.9, 95.8, 0.0095, 0.8503, 0.0240, 0.6081),
    ),
    MICRO: (None, None, None, None, (78.9, 96.1, 0.0086, 0.8746, 0.0202, 0.6317)),
}
NOTES = (
    'Printed rows are those of Lin et al. (ICCV 2021), Table 1, on Pix3D and ShapeNet: other photos, other galleries. '
    'They show what was published and compare with nothing else here. Their LFD are location field descriptors '
    '(Grabner et al. 2019), learnt; the light-field descriptors here are those of Chen et al. (2003), which are not.',
    'The printed mean is over categories in all rows but that of CMIC, whose mean is over photos; so each stands where '
    'it belongs.',
    'Runs: mean over seeds with their standard deviation. Rows that nobody trained differ between seeds only where '
    'the seed divides the photos. Prior: always the shapes most frequent in training; its distances are those of '
    'one such shape. Chance: a random order, of the unseen gallery a random shape.',
    'Unseen: each photo searches the shapes of its category in a gallery that holds none of the run; desks search '
    'tables and count there. The best one is compared with the true shape. References and priors know no such gallery.',
    'Hausdorff distance and IoU are of the best answer; a hit has 0 and 1.',
)


def groups(runs: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The table, a group of rows a category, then those of all photos and of the mean of categories.

    Args:
      runs: {name: {seed: metrics.json}}; of the first the rows of what nobody trained are.

    Returns:
      [{name, photos (of the first seed, None for a category without), rows: [{method, source: 'printed', 'run' or 'not
      trained', values: {column: {mean; unless printed sd; of runs n, low, high, seeds: [..]}}}]}]; accuracies in
      percent; a column that is not known is absent.
    """
    first = next(iter(runs.values()))
    one = next(iter(first.values()))
    found = []
    for scope in (*sorted({*one['per_category'], *_PRINTED} - {MICRO, MACRO}), MICRO, MACRO):
        row = one['per_category'].get(scope, one if scope in (MICRO, MACRO) else {})
        rows = [_row(method, 'printed', [values]) for method, values in _printed(scope)]
        if row:
            rows += [
                _row(name, 'run', [_values(own, scope) for own in by_seed.values()]) for name, by_seed in runs.items()
            ]
            rows += _untrained(list(first.values()), scope)
        found.append({'name': scope, 'photos': row.get('queries'), 'rows': rows})
    return found


def _printed(scope: str) -> list[tuple[str, dict[str, float]]]:
    return [
        (method, dict(zip(COLUMNS, values, strict=True)))
        for method, values in zip(_METHODS, _PRINTED.get(scope, ()), strict=False)
        if values
    ]


def _untrained(metrics: Sequence[Mapping[str, Any]], scope: str) -> list[dict[str, Any]]:
    named = dict.fromkeys(name for own in metrics for name in own['comparators'])
    of_name = {
        name: [own['comparators'][name] | own.get('unseen_comparators', {}).get(name, {}) for own in metrics]
        for name in named
    }
    rows = [
        _row(UNTRAINED[name], 'not trained', [_values(one, scope) for one in each]) for name, each in of_name.items()
    ]
    for level in ('prior', 'chance'):
        rows.append(_row(level, 'not trained', [_values(own, scope, f'_{level}') for own in metrics]))
    return rows


def _values(metrics: Mapping[str, Any], scope: str, level: str = '') -> dict[str, float]:
    """{column: value} of a scope that are known, accuracies in percent; `level` is '_prior', '_chance' or ''."""
    found = {}
    for column in COLUMNS:
        row, key = metrics, column
        if scope not in (MICRO, MACRO):
            part = 'unseen_per_category' if column.startswith('unseen_') else 'per_category'
            names = (scope,) if part == 'per_category' else (scope, _shapenet_name(scope, metrics))
            row = next((metrics[part][name] for name in names if name in metrics.get(part, {})), {})
            key = column.removeprefix('unseen_')
        value = row.get(f'{key}_macro{level}' if scope == MACRO else f'{key}{level}')
        if value is not None:
            found[column] = value * (100 if column.startswith('top') else 1)
    return found


def _shapenet_name(category: str, metrics: Mapping[str, Any]) -> str | None:
    """What the unseen gallery calls a category, unless that is another category of the run."""
    name = SHAPENET_NAMES.get(category)
    return None if name in metrics.get('per_category', {}) else name


def _row(method: str, source: str, values: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    columns = [column for column in COLUMNS if any(column in own for own in values)]
    seeds = {column: {seed: own[column] for seed, own in enumerate(values) if column in own} for column in columns}
    found = {column: asdict(spread(own)) for column, own in seeds.items()}
    known = {'printed': ('mean',), 'not trained': ('mean', 'sd'), 'run': ('mean', 'sd', 'n', 'low', 'high')}[source]
    return {
        'method': method,
        'source': source,
        'values': {
            column: {name: own[name] for name in known}
            | ({'seeds': list(seeds[column].values())} if source == 'run' else {})
            for column, own in found.items()
        },
    }
