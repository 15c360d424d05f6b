"""Texts and pictures of the report on a paper's tables."""

from jaxret.reports.paper_tables import cells, draw_claims, draw_curve, draw_table, write_table_report

METRICS = [
    {'key': 'map', 'title': 'mAP', 'digits': 2, 'higher_is_better': True},
    {'key': 'anmrr', 'title': 'ANMRR', 'digits': 3, 'higher_is_better': False},
]
NOTHING = {'paper': None, 'mean': None, 'sd': None, 'n': 0, 'low': None, 'high': None, 'chance': None, 'seeds': {}}
ONE = NOTHING | {'paper': 0.5, 'mean': 0.25, 'n': 1, 'seeds': {0: 0.25}}
THREE = {
    'paper': 86.33,
    'mean': 91.0,
    'sd': 1.0,
    'n': 3,
    'low': 88.52,
    'high': 93.48,
    'chance': 12.5,
    'seeds': {0: 90.0, 1: 91.0, 2: 92.0},
}


def row(name, state='finished', **values):
    runs = [{'seed': seed, 'state': state, 'folder': f'/nowhere/{name}-{seed}'} for seed in range(3)]
    return {
        'name': name,
        'state': state,
        'uses_answer': ['poses'] if name == 'b' else [],
        'runs': runs,
        'config': {},
        'tuned': {'factors': [3.0, 0.5]} if state == 'finished' else None,
        'values': {'map': NOTHING, 'anmrr': NOTHING} | values,
    }


TABLE = {
    'title': 'Table 1',
    'metrics': METRICS,
    'axis': '',
    'rows': [row('x$y$', map=THREE, anmrr=ONE), row('<b>none</b>', state='not possible: too few')],
}
CLAIM = {
    'text': 'x is better',
    'better': 'x',
    'worse': 'y',
    'metric': 'mAP',
    'digits': 2,
    'paper': 0.17,
    'n': 3,
    'mean': 1.0,
    'sd': 0.5,
    'low': -0.24,
    'high': 2.24,
    'verdict': 'undecided',
    'sentence': 'X.',
    'conclusion': 'undecided (37 seeds would decide)',
}
UNKNOWN = CLAIM | {
    'metric': 'ANMRR',
    'paper': None,
    'n': 0,
    'mean': None,
    'sd': None,
    'low': None,
    'high': None,
    'conclusion': 'cannot be said',
}


def marks(axes):
    """{label: x values of its marks}."""
    found = {}
    for line in axes.get_lines():
        found.setdefault(line.get_label(), []).extend(float(x) for x in line.get_xdata())
    return found


def test_cells_show_what_is_known():
    first, second = cells(TABLE['rows'][0], METRICS)
    assert first == {
        'paper': '86.33',
        'mean': '91.00',
        'sd': '1.00',
        'low': '88.52',
        'high': '93.48',
        'chance': '12.50',
        'interval': '88.52 to 93.48',
    }
    assert second['mean'] == '0.250' and second['sd'] == second['interval'] == second['chance'] == '\u2013'


def test_pictures_mark_what_was_measured_and_nothing_else():
    figure = draw_table(TABLE)
    left, right = figure.axes
    assert marks(left) == {
        'our 95 % interval over seeds': [88.52, 93.48],
        'our seeds': [90.0, 91.0, 92.0],
        'our mean': [91.0],
        'paper': [86.33],
        'chance': [12.5],
    }
    assert marks(right) == {'our seeds': [0.25], 'our mean': [0.25], 'paper': [0.5]}
    assert [label.get_text() for label in left.get_yticklabels()] == ['x$y$', '<b>none</b> (no runs)']
    assert 'lower is better' in right.get_title(loc='left')
    figure = draw_claims([CLAIM, UNKNOWN])
    first, second = figure.axes
    assert marks(first).items() >= {'paper': [0.17], 'our mean': [1.0]}.items()
    assert marks(second).keys().isdisjoint({'paper', 'our mean'})
    assert draw_claims([]) is None


def test_a_curve_is_drawn_in_the_order_of_its_axis_with_what_is_known():
    more = THREE | {'mean': 80.0, 'low': 79.0, 'high': 81.0, 'paper': None, 'seeds': {0: 79.5, 1: 80.5}}
    rows = [row('b', map=more) | {'place': 0.4}, row('none') | {'place': 0.2}, row('a', map=THREE) | {'place': 0.0}]
    rows.append(row('not trained: zero shot', map=THREE) | {'place': None})
    (axes,) = draw_curve(TABLE | {'axis': 'weight', 'rows': rows}).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert lines == {
        'our seeds': [[0.0, 90.0], [0.0, 91.0], [0.0, 92.0], [0.4, 79.5], [0.4, 80.5]],
        'our mean': [[0.0, 91.0], [0.4, 80.0]],
        'paper': [[0.0, 86.33]],
        'chance': [[0.0, 12.5], [0.4, 12.5]],
    }
    (band,) = axes.collections
    assert {tuple(point) for point in band.get_paths()[0].vertices} == {
        (0.0, 88.52),
        (0.0, 93.48),
        (0.4, 79.0),
        (0.4, 81.0),
    }
    assert (axes.get_xlabel(), axes.get_title(loc='left')) == ('weight', 'mAP')
    assert draw_curve(TABLE) is None
    empty = draw_curve(TABLE | {'axis': 'weight', 'rows': rows[1:2]}).axes[0]
    assert not empty.get_lines() and not empty.collections


def test_the_page_holds_everything_and_old_pictures_go(tmp_path):
    results = {
        'title': 'T & U',
        'notes': ['Note.'],
        'warning': 'Short <runs>.',
        'settings': {'preset': 'small'},
        'seeds': [0, 1, 2],
        'tables': [TABLE],
        'claims': [CLAIM, UNKNOWN],
        'claims_of_paper': 7,
    }
    page = write_table_report(tmp_path, results, provenance={'synthetic': False, 'Code': 'abc'}).read_text()
    for text in (
        'T &amp; U',
        'Note.',
        'Short &lt;runs&gt;.',
        '&lt;b&gt;none&lt;/b&gt;',
        '86.33',
        '<strong>91.00</strong>',
        '88.52 to 93.48',
        '+0.17',
        '-0.24 to +2.24',
        'undecided (37 seeds would decide)',
        'tuned: rate × 3, epochs × 0.5',
        'intervals of all 7 claims',
        'not possible: too few',
        '3 of 3',
        '0 of 3',
        'claims.png',
        'table_1.png',
    ):
        assert text in page
    assert {path.name for path in tmp_path.iterdir()} == {'index.html', 'table_1.png', 'claims.png'}
    curve = TABLE | {'axis': 'weight & more', 'rows': [row('a', map=THREE) | {'place': 0.0}]}
    page = write_table_report(tmp_path, results | {'tables': [TABLE, curve]}, provenance={}).read_text()
    assert 'curve_2.png' in page and 'curve_1.png' not in page and 'mAP against the weight &amp; more' in page
    assert (tmp_path / 'curve_2.png').exists()
    page = write_table_report(tmp_path, results | {'claims': []}, provenance={'synthetic': True}).read_text()
    assert 'claims.png' not in page and not (tmp_path / 'claims.png').exists() and 'Synthetic data' in page
