"""The table of nine directions and the domain mixing against loop oracles."""

import json

import numpy as np
import pytest
import references_metrics as oracle

from jaxret.errors import DataError
from jaxret.metrics.average_precision import average_precision, expected_average_precision
from jaxret.metrics.cross_modal import cross_modal_metrics, domain_mixing
from jaxret.metrics.intervals import mean_interval

NAMES = ('chair', 'desk', 'sofa', 'tree')
MODALITIES = ('image', 'mesh', 'point')
DIRECTIONS = [(query, gallery) for query in MODALITIES for gallery in MODALITIES]


def make_case(seed, objects=24, noise=1.0, alone=False):
    """Embeddings near a centre a class; with `alone` the last object is the only one of its class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, size=objects)
    if alone:
        labels[-1] = 3
    centres = rng.standard_normal((4, 6))
    return {
        name: (centres[labels] + noise * rng.standard_normal((objects, 6))).astype(np.float32) for name in MODALITIES
    }, labels


def loop_table(embeddings, labels):
    """{(query, gallery, without itself): [AP or None]} by the slow definitions."""
    table = {}
    for query, gallery in DIRECTIONS:
        rows = [[oracle.cosine(a, b) for b in embeddings[gallery].tolist()] for a in embeddings[query].tolist()]
        for without in (False, True) if query == gallery else (False,):
            table[query, gallery, without] = [
                oracle.average_precision(oracle.ranked_relevance(row, labels, labels[q], q if without else None))
                for q, row in enumerate(rows)
            ]
    return table


def mean(values):
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@pytest.mark.parametrize('alone', [False, True])
def test_every_direction_equals_the_oracle(alone):
    embeddings, labels = make_case(0, alone=alone)
    table = loop_table(embeddings, labels.tolist())
    metrics = cross_modal_metrics(embeddings, labels, NAMES)
    for (query, gallery, without), values in table.items():
        name = f'map_{query}_{gallery}' + '_excluding_self' * without
        assert metrics[name] == pytest.approx(mean(values), rel=1e-12)
        by_class = [mean([v for v, c in zip(values, labels, strict=True) if c == k]) for k in sorted(set(labels))]
        assert metrics[f'{name}_macro'] == pytest.approx(mean(by_class), rel=1e-12)
        rows = [metrics['per_class'][NAMES[k]][name] for k in sorted(set(labels))]
        assert rows == [None if v is None else pytest.approx(v, rel=1e-12) for v in by_class]
        known = np.array([v for v in values if v is not None])
        assert (metrics[f'{name}_low'], metrics[f'{name}_high']) == pytest.approx(mean_interval(known))
        relevant = [sum(c == d for d in labels) - without for c in labels]
        chance = expected_average_precision(np.array(relevant), len(labels) - without)
        assert metrics[f'{name}_chance'] == pytest.approx(np.nanmean(chance))
        known_chance = [None if np.isnan(value) else value for value in chance]
        by_class = [mean([v for v, c in zip(known_chance, labels, strict=True) if c == k]) for k in sorted(set(labels))]
        assert metrics[f'{name}_macro_chance'] == pytest.approx(mean(by_class))
    plain = [metrics[f'map_{q}_{g}'] for q, g in DIRECTIONS]
    for q, g in DIRECTIONS:
        for suffix in (
            ('', '_low', '_high', '_macro', '_macro_chance', '_chance') if q != g else ()
        ):  # no query is in that gallery
            assert metrics[f'map_{q}_{g}_excluding_self{suffix}'] == metrics[f'map_{q}_{g}{suffix}']
    other = [metrics[f'map_{q}_{g}_excluding_self'] for q, g in DIRECTIONS]
    assert metrics['mean_map'] == pytest.approx(np.mean(plain), rel=1e-12)
    assert metrics['mean_map_excluding_self'] == pytest.approx(np.mean(other), rel=1e-12)
    assert metrics['mean_map_excluding_self'] < metrics['mean_map']
    assert metrics['mean_map_chance'] == pytest.approx(np.mean([metrics[f'map_{q}_{g}_chance'] for q, g in DIRECTIONS]))
    assert metrics['queries_without_relevant_excluding_self'] == alone
    assert metrics['queries'] == metrics['gallery'] == 24
    assert sum(row['queries'] for row in metrics['per_class'].values()) == 24


def test_intervals_of_the_mean_are_over_objects():
    embeddings, labels = make_case(1)
    table = loop_table(embeddings, labels.tolist())
    metrics = cross_modal_metrics(embeddings, labels, NAMES)
    per_object = np.mean([table[q, g, False] for q, g in DIRECTIONS], axis=0)
    assert (metrics['mean_map_low'], metrics['mean_map_high']) == pytest.approx(mean_interval(per_object))
    chairs = per_object[labels == 0]
    row = metrics['per_class']['chair']
    assert (row['mean_map'], row['mean_map_low'], row['mean_map_high']) == pytest.approx(
        (chairs.mean(), *mean_interval(chairs))
    )


def test_keys_are_flat_numbers_and_curves_are_those_of_the_direction():
    embeddings, labels = make_case(2, alone=True)
    metrics = cross_modal_metrics(embeddings, labels, NAMES, recall_levels=5)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    nested = {name for name, value in metrics.items() if not isinstance(value, int | float)}
    assert nested == {'per_class', 'precision_recall'}
    names = [
        name + suffix
        for name in ('mean_map', *(f'map_{q}_{g}' for q, g in DIRECTIONS))
        for suffix in ('', '_excluding_self')
    ]
    for name in names:
        assert metrics[f'{name}_low'] <= metrics[name] <= metrics[f'{name}_high']
        assert {f'{name}_chance', f'{name}_macro'} <= metrics.keys()
    for m in MODALITIES:
        assert metrics[f'map_{m}_{m}_chance'] < metrics[f'map_{m}_{m}_chance_self_first']
    curves = metrics['precision_recall']
    assert curves['recall'] == [0.0, 0.25, 0.5, 0.75, 1.0]
    expected = average_precision(embeddings['mesh'], embeddings['point'], labels, labels, recall_levels=5).precision
    assert curves['map_mesh_point'] == expected.tolist()


def test_separated_classes_are_perfect_and_random_ones_are_at_chance():
    embeddings, labels = make_case(3, noise=0.0)
    metrics = cross_modal_metrics(embeddings, labels, NAMES)
    assert metrics['mean_map'] == metrics['mean_map_excluding_self'] == metrics['mean_map_macro'] == 1.0
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 4, size=240)
    metrics = cross_modal_metrics({m: rng.standard_normal((240, 64)) for m in MODALITIES}, labels, NAMES)
    assert abs(metrics['map_image_mesh'] - metrics['map_image_mesh_chance']) < 0.01
    assert abs(metrics['map_image_image'] - metrics['map_image_image_chance_self_first']) < 0.01
    assert abs(metrics['map_mesh_mesh_excluding_self'] - metrics['map_mesh_mesh_excluding_self_chance']) < 0.01
    assert abs(metrics['domain_mixing'] - metrics['domain_mixing_expected']) < 0.02


@pytest.mark.parametrize('k', [1, 4, 10, 100])
def test_mixing_equals_the_oracle(k):
    embeddings, _ = make_case(5, objects=9)
    embeddings['mesh'][3] = embeddings['image'][3]
    embeddings['point'][2:5] = 0
    pooled = np.concatenate(list(embeddings.values())).tolist()
    share, expected = domain_mixing(embeddings, neighbors=k)
    assert share == pytest.approx(oracle.mixing(pooled, [i // 9 for i in range(27)], min(k, 26)))
    assert expected == pytest.approx(18 / 26)


def test_mixing_at_its_ends():
    rng = np.random.default_rng(6)
    x = rng.standard_normal((40, 8))
    apart = {name: x + 100 * axis for name, axis in zip(MODALITIES, np.eye(8)[:3], strict=True)}
    assert domain_mixing(apart)[0] == 0.0
    assert domain_mixing({'image': x, 'mesh': x, 'point': x}, neighbors=2)[0] == 1.0
    assert domain_mixing({'image': x}) == (0.0, 0.0)
    assert domain_mixing({'image': x[:1]}) == (0.0, 0.0)
    collapsed = {name: np.ones((40, 8)) for name in MODALITIES}
    assert domain_mixing(collapsed)[0] == 0.0


def test_one_object():
    metrics = cross_modal_metrics({name: np.ones((1, 3)) for name in MODALITIES}, [0], ['chair'])
    assert (metrics['mean_map'], metrics['mean_map_low'], metrics['mean_map_chance']) == (1.0, 0.0, 1.0)
    assert metrics['map_image_image_excluding_self'] is None
    assert metrics['mean_map_excluding_self'] == 1.0  # of the six directions that have a gallery
    assert metrics['precision_recall']['map_image_image_excluding_self'] == [None] * 11
    json.dumps(metrics, allow_nan=False)


@pytest.mark.parametrize(
    ('change', 'found'),
    [
        ({'embeddings': {}}, 'no modalities'),
        ({'embeddings': {'image': np.ones((3, 2)), 'mesh': np.ones((4, 2))}}, 'same objects'),
        ({'embeddings': {'image': np.ones((0, 2))}, 'labels': []}, 'image|queries'),
        ({'labels': [0, 1]}, 'labels'),
        ({'labels': [0, 1, 2]}, 'class names'),
        ({'labels': [0, 1, -1]}, 'class names'),
        ({'embeddings': {'image': np.array([[1.0], [np.inf], [2.0]])}}, 'not finite'),
        ({'neighbors': 0}, 'neighbors'),
    ],
)
def test_bad_input(change, found):
    good = {'embeddings': {'image': np.ones((3, 2))}, 'labels': [0, 1, 1], 'class_names': ['a', 'b']}
    with pytest.raises(DataError, match=found):
        cross_modal_metrics(**good | change)
