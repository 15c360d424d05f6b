"""The rows of the papers' tables: their declarations, and what paper 003 prints."""

import dataclasses

import pytest
from overrides import apply_overrides, load_config
from paper_tables.plan import load_paper, paper_names, plan, select_rows
from paper_tables.rows.paper import UNTRAINED, Claim, Metric, Paper, Row, Table

from jaxret.runs.config import flatten

MAP = Metric('mean_map', 'Mean mAP')
CONFIGS = {'small': 'modelnet40.py'}


def paper(*rows, claims=(), **table):
    return Paper('P', (Table('T', (MAP,), rows, **table),), claims)


@pytest.mark.parametrize(
    ('rows', 'claims', 'message'),
    [
        ([Row('a', CONFIGS), Row('a', CONFIGS, {'seed': 1})], [], "two rows are named 'a'"),
        ([Row('a, b', CONFIGS)], [], 'a comma'),
        ([Row('a', CONFIGS), Row('b', {'paper': 'x.py'})], [], 'b: presets paper, not small'),
        ([Row('a', CONFIGS, paper={'map': 1.0})], [], 'a: values of map'),
        ([Row('a', CONFIGS, starts_from='b')], [], "a: cannot start from 'b'"),
        ([Row('a', CONFIGS, starts_from='b'), Row('b', CONFIGS, starts_from='a')], [], "a: cannot start from 'a'"),
        ([Row('a', CONFIGS)], [Claim('c', 'a', 'b', 'mean_map')], "claim 'c': no row 'b'"),
        ([Row('a', CONFIGS), Row('b', CONFIGS)], [Claim('c', 'a', 'b', 'map')], "no common metric 'map'"),
        (
            [Row('a', CONFIGS, paper={'mean_map': 1.0}), Row('b', CONFIGS, paper={'mean_map': 2.0})],
            [Claim('c', 'a', 'b', 'mean_map')],
            "claim 'c': the paper has a difference of -1.0",
        ),
    ],
)
def test_declarations_that_contradict_themselves_are_refused(rows, claims, message):
    with pytest.raises(ValueError, match='claim|row|comma|presets|values|start') as caught:
        paper(*rows, claims=claims)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    'table',
    [
        {'axis': 'x'},
        {'places': {'a': 0.0}},
        {'axis': 'x', 'places': {'b': 0.0}},
        {'axis': 'x', 'places': {'a': 0.0, 'b': 1.0}},
    ],
)
def test_an_axis_has_a_place_for_every_row(table):
    with pytest.raises(ValueError, match='T: an axis needs a place for every row'):
        paper(Row('a', CONFIGS), **table)


def test_the_paper_s_difference_is_above_0_for_what_it_finds_better():
    lower = dataclasses.replace(MAP, key='anmrr', higher_is_better=False)
    a, b = (Row(name, CONFIGS, paper={'anmrr': value}) for name, value in (('a', 0.3), ('b', 0.5)))
    claims = (Claim('c', 'a', 'b', 'anmrr'), Claim('d', 'b', 'a', 'anmrr', difference=0.7))
    both = Paper('P', (Table('T', (lower,), (a, b)),), claims)
    assert [both.difference(claim) for claim in claims] == [pytest.approx(0.2), 0.7]
    assert (
        paper(Row('a', CONFIGS), Row('b', CONFIGS), claims=(Claim('c', 'a', 'b', 'mean_map'),)).difference(
            Claim('c', 'a', 'b', 'mean_map')
        )
        is None
    )
    assert MAP.chance_key == 'mean_map_chance' and Metric('x', 'X', chance='y').chance_key == 'y'


def test_rows_are_selected_by_patterns():
    rows = load_paper('ncf')
    assert select_rows(rows, '') == list(rows.rows)
    assert select_rows(rows, 'clf*, WITH noisy centers') == [
        'CLF at batch 12',
        'CLF at batch 24',
        'CLF at batch 48',
        'with noisy centers',
    ]


@pytest.mark.parametrize('name', paper_names())
def test_every_preset_of_every_paper_gives_configs(name, tmp_path):
    """Names of configs, presets and keys, and the types of values."""
    found = load_paper(name)
    for preset in found.presets:
        jobs = plan(found, list(found.rows), preset=preset, overrides={}, data_dir='', out=tmp_path)
        assert set(jobs) >= set(found.rows)
        assert all(job.folder.parent == tmp_path / 'runs' for job in jobs.values())


def test_rows_of_the_noisy_center_paper_are_what_it_prints(tmp_path):
    found = load_paper('ncf')
    ours = {'ours: stretched meshes and small turns at batch 12'}
    assert {name for name, row in found.rows.items() if not row.paper} == ours
    for row in (found.rows[name] for name in found.rows.keys() - ours):
        directions = [value for key, value in row.paper.items() if key != 'mean_map']
        assert len(directions) == 9
        assert sum(directions) / 9 == pytest.approx(row.paper['mean_map'], abs=0.0051)  # printed with two decimals
    printed = [claim for claim in found.claims if claim.better not in ours]
    assert [round(found.difference(claim), 2) for claim in printed] == [0.17, 0.11, 0.92, 0.76]
    assert [claim.better for claim in printed] == [
        'proposed at batch 12',
        'proposed at batch 24',
        'CLF at batch 48',
        'with noisy centers',
    ]
    for preset, baseline in (('small', 'clf'), ('paper', 'paper_clf')):
        jobs = plan(
            found, list(found.rows), preset=preset, overrides={'data.train_per_class': '2'}, data_dir='', out=tmp_path
        )
        assert len({job.key for job in jobs.values()}) == 8  # of 9 rows: 'with' is table 1's, at batch 48
        assert differing(jobs[next(iter(ours))].config, jobs['proposed at batch 12'].config) == {
            'shape_augmentation.turn': 30.0,
            'shape_augmentation.meshes': 'stretch',
        }
        assert jobs['with noisy centers'] is jobs['proposed at batch 48']
        for size in (12, 24, 48):
            for row, name in ((f'CLF at batch {size}', baseline), (f'proposed at batch {size}', preset)):
                config, _ = load_config(f'modelnet40.py:{name}')
                apply_overrides(config, {'batch_size': str(size), 'data.train_per_class': '2'})
                job = jobs[row]
                assert job.config['loss.alignment'] == ('mse' if 'CLF' in row else 'simsiam')
                assert job.config['loss.center'] == ('center' if 'CLF' in row else 'noisy_center')
                assert all(
                    job.config[key] == value
                    for key, value in (
                        ('batch_size', size),
                        ('epochs', config.epochs),
                        ('data.train_per_class', 2),
                        ('optimizer.learning_rate', config.optimizer.learning_rate),
                    )
                )
        without = jobs['without noisy centers'].config
        changed_keys = differing(without, jobs['with noisy centers'].config).keys()
        own = {'loss.center', 'loss.center_weight'} | (
            {'center_optimizer.learning_rate'} if preset == 'paper' else set()
        )
        assert changed_keys == own and without['loss.center'] == 'center'
        baseline_job = jobs['CLF at batch 48'].config  # whose center loss it is
        assert all(without[key] == baseline_job[key] for key in own)


def configs_of(name, preset, tmp_path):
    found = load_paper(name)
    return found, {
        row: job.config
        for row, job in plan(found, list(found.rows), preset=preset, overrides={}, data_dir='', out=tmp_path).items()
    }


def differing(config, default):
    return {key: config[key] for key in config if config[key] != default[key]}


@pytest.mark.parametrize('preset', ['small', 'paper'])
def test_rows_of_cmic_differ_from_its_default_in_what_they_name(preset, tmp_path):
    found, configs = configs_of('cmic', preset, tmp_path)
    default = configs['CMIC']
    whole = {'data.crop': 'none'} if preset == 'small' else {}  # as in preset paper
    mask = {'model.mask': 'channel'} if preset == 'small' else {}
    expected = {
        'no colour augmentation': {'color.mode': 'none'},
        'HSV': {'color.mode': 'hsv', 'color.probability': 0.5},
        'no category loss': {'loss.category_weight': 0.0},
        'triplet': {'loss.kind': 'triplet'},
        'no colour augmentation and no category loss': {'color.mode': 'none', 'loss.category_weight': 0.0},
        'triplet and no category loss': {'loss.kind': 'triplet', 'loss.category_weight': 0.0},
        'with category loss': {},
        'without category loss': {'loss.category_weight': 0.0},
        'without true shape in the category loss': {'loss.true_shape': 'removed'},
        'true shape in its denominator alone (Eq. 5)': {'loss.true_shape': 'not_positive'},
        'cross-modal center loss': {'loss.kind': 'center', 'model.pooling': 'unit_mean'},
        'mask as another channel': mask | whole,
        'photo times mask': {'model.mask': 'black'} | whole,
        'without mask': {'model.mask': 'none'} | whole,
        'grey outside the mask and mask as another channel': whole or {'model.mask': 'both'},
        '1 view': {'render.views': 1, 'data.views_per_step': 1},
        '6 views': {'render.views': 6},
        '12 views': {},
        '18 views': {'render.views': 18},
        '24 views': {'render.views': 24},
        'grey rendering': {},
        'textured rendering': {'render.shading': 'textured'},
        'no attention: mean of the views': {'model.pooling': 'mean'},
        'no attention: maximum of the views': {'model.pooling': 'max'},
        **{f'beta_1 {beta}': {'loss.category_weight': beta} for beta in (0.1, 0.4, 0.6, 0.8, 1.0)},
        'ours: CMIC with training photos as references': {'evaluation.references': 0.5},
    }
    random_start = flatten(load_config('pix3d.py:random_start')[0])  # as frozen weights have no place for a mask
    masks = default if preset == 'paper' else random_start | found.of_presets[preset]
    found_rows = {
        row: differing(config, masks if 'mask' in row and 'category' not in row else default)
        for row, config in configs.items()
        if row != 'CMIC'
    }
    assert found_rows == expected
    assert (default['render.views'], default['loss.category_weight'], default['loss.true_shape']) == (
        12,
        0.2,
        'included',
    )
    curve = found.tables[-1]
    assert [curve.places[row.name] for row in curve.rows] == [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert all(configs[name]['loss.category_weight'] == place for name, place in curve.places.items())


def test_class_averages_of_scan_cad_are_those_of_its_eleven_columns():
    rows = load_paper('scan_cad').rows
    for name, row in rows.items():
        for key in [key for key in row.paper if key.endswith('_eleven_macro')]:
            base = key.removesuffix('_eleven_macro')
            values = [value for column, value in row.paper.items() if column.startswith(f'{base}_of_')]
            assert len(values) == 11, name
            assert sum(values) / 11 == pytest.approx(row.paper[key], abs=0.015), (name, key)


def test_rows_of_hifa_on_both_data_sets(tmp_path):
    for name, file, gain in (('hifa', 'mi3dor', 62.03), ('hifa_mi3dor2', 'mi3dor2', 26.45)):
        found, configs = configs_of(name, 'paper', tmp_path)
        assert [table.title[:7] for table in found.tables[:2]] == [f'Table {1 if file == "mi3dor" else 2}', 'Table 3']
        first, second = (found.rows[row].paper for row in ('AlexNet (source only)', 'HIFA-G'))
        assert 100 * (second['nn'] / first['nn'] - 1) == pytest.approx(gain, abs=0.01)  # the text's percentage
        default, expected = configs['HIFA-GL (with MI)'], flatten(load_config(f'{file}.py:paper')[0])
        assert {key: default[key] for key in expected} == expected
        assert differing(configs['HIFA-G'], default) == {'loss.mutual_information': 'none', 'loss.centroid': 'none'}
    second = load_paper('hifa_mi3dor2').rows
    assert all(row.paper['f'] == row.paper['ft'] for row in second.values() if row.paper)  # 20 shapes a class


def test_printed_values_of_cmic():
    rows = load_paper('cmic').rows
    printed = {name: row.paper['top1'] for name, row in rows.items() if 'top1' in row.paper}
    assert list(printed.values()) == [
        78.9,
        75.2,
        76.6,
        74.7,
        71.4,
        66.5,
        62.7,
        78.9,
        75.2,
        76.7,
        62.4,
        78.9,
        29.6,
        62.1,
        55.6,
        68.3,
        78.9,
        79.3,
        79.2,
        78.9,
        62.8,
        62.1,
    ]
    assert rows['with category loss'].paper['category_top1'] == 96.1
    assert rows['without category loss'].paper['category_top1'] == 95.9
    found = load_paper('cmic')
    differences = {claim.text: found.difference(claim) for claim in found.claims}
    assert [text for text, value in differences.items() if value is None] == [
        'a beta_1 of 0.2 is better than of 1',
        'ours, not in the paper: CMIC with training photos as references is better than CMIC',
        'not in the paper: CMIC is better than views that nobody trained',
        'not in the paper: ours is better than references with views that nobody trained',
        'not in the paper: the same in category',
    ]
    assert len(differences) == len(found.claims) == 25
    names = {'zero_shot', 'references_views'}
    assert {claim.worse.removeprefix(UNTRAINED) for claim in found.claims if len(claim.rows) == 1} == names


@pytest.mark.parametrize(
    ('name', 'file', 'printed'),
    [
        ('cmic_stanford_cars', 'stanford_cars', [83.4, 81.5, 81.7, 80.3]),
        ('cmic_comp_cars', 'comp_cars', [77.8, 73.0, 67.3, 64.0]),
    ],
)
def test_rows_of_cmic_on_cars(name, file, printed, tmp_path):
    for preset in ('small', 'paper'):
        found, configs = configs_of(name, preset, tmp_path)
        assert [row.paper['top1'] for row in found.rows.values()] == printed
        default = configs['CMIC']
        assert default['data.layout'] == file and default['loss.category_weight'] == 0.0
        assert [differing(config, default) for config in configs.values()] == [
            {},
            {'color.mode': 'hsv', 'color.probability': 0.5},
            {'color.mode': 'none'},
            {'loss.kind': 'triplet'},
        ]
        assert default['data.image_size'] == 224
