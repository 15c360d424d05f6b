"""Table 1 by category: printed rows, and those of metrics.json of runs that a stand-in for run.py writes."""

import json

import category_table
import pytest
import run
from machine import commits_text
from photo_to_shape.category_rows import _PRINTED, MACRO, MICRO, groups

from jaxret.files import write_atomically

MEASURES = {'top1': 0.5, 'top10': 0.9, 'hausdorff': 0.02, 'iou': 0.7}


def metrics_of(seed, shift=0.0):
    """As a run writes it, with two categories, of which the unseen gallery calls one otherwise."""
    own = {key: value + shift + seed / 100 for key, value in MEASURES.items()}
    levels = {f'{key}_prior': 0.1 for key in own} | {'top1_chance': 0.1, 'top10_chance': 0.1}
    rows = {'bookcase': {'queries': 3, **own, **levels}, 'chair': {'queries': 5, **own, **levels}}
    unseen = {'unseen_hausdorff': 0.05, 'unseen_hausdorff_macro': 0.06, 'unseen_hausdorff_chance': 0.09}
    parts = {'unseen_per_category': {'bookshelf': {'hausdorff': 0.04, 'hausdorff_chance': 0.08}}}
    return {
        'queries': 8, 'gallery': 9, 'masks': {'train': 'files', 'test': 'files'}, 'uses_answer': '',
        **own, **levels, **{f'{key}_macro': value / 2 for key, value in own.items()}, **unseen, **parts,
        'per_category': rows,
        'comparators': {'light_field': {**own, 'top1': 0.25, 'per_category': rows}},
        'unseen_comparators': {'light_field': {**unseen, 'unseen_hausdorff': 0.07, **parts}},
    }  # fmt: skip


def rows_of(found, name):
    (group,) = [group for group in found if group['name'] == name]
    return {row['method']: row for row in group['rows']}, group['photos']


def test_printed_means_are_those_of_the_printed_categories():
    """But the IoU of HEG-TS on unseen shapes, whose printed mean (0.6081) contradicts its rows; CMIC's is of photos."""
    categories = [_PRINTED[name] for name in ('bed', 'chair', 'sofa', 'table')]
    for method, means in enumerate(_PRINTED[MACRO]):
        for column, mean in enumerate(means):
            if (method, column) != (3, 5):
                found = sum(rows[method][column] for rows in categories) / 4
                assert found == pytest.approx(mean, abs=0.11 if column < 2 else 1.1e-4)
    for column, mean in enumerate(_PRINTED[MICRO][4]):
        values = [rows[4][column] for rows in categories]
        assert min(values) < mean < max(values)


def test_rows_of_runs_stand_beside_printed_ones():
    runs = {'A': {0: metrics_of(0), 1: metrics_of(2)}, 'B': {0: metrics_of(0, 0.1), 1: metrics_of(0, 0.1)}}
    found = groups(runs)
    assert [group['name'] for group in found] == ['bed', 'bookcase', 'chair', 'sofa', 'table', MICRO, MACRO]
    rows, photos = rows_of(found, MICRO)
    assert photos == 8 and rows['CMIC']['source'] == 'printed' and rows['CMIC']['values']['top1']['mean'] == 78.9
    assert rows['A']['values']['top1']['mean'] == pytest.approx(51) and rows['A']['values']['top1']['n'] == 2
    assert rows['A']['values']['top1']['sd'] == pytest.approx(2**0.5)
    assert rows['A']['values']['top1']['seeds'] == [50, 52] and rows['B']['values']['iou']['mean'] == pytest.approx(0.8)
    assert 'unseen_iou' not in rows['A']['values']
    light = next(row for name, row in rows.items() if name.startswith('light-field'))
    assert light['source'] == 'not trained' and light['values']['top1']['mean'] == 25
    assert light['values']['unseen_hausdorff']['mean'] == 0.07
    assert rows['prior']['values']['hausdorff']['mean'] == pytest.approx(0.1)
    assert 'unseen_hausdorff' not in rows['prior']['values'] and 'hausdorff' not in rows['chance']['values']
    assert rows['chance']['values']['unseen_hausdorff']['mean'] == pytest.approx(0.09)
    rows, photos = rows_of(found, 'bookcase')
    assert photos == 3 and rows['A']['values']['unseen_hausdorff']['mean'] == 0.04
    assert not any(row['source'] == 'printed' for row in rows.values())
    rows, _ = rows_of(found, 'chair')
    assert 'unseen_hausdorff' not in rows['A']['values'] and rows['HEG-TS']['values']['top1']['mean'] == 87.9
    rows, _ = rows_of(found, MACRO)
    assert rows['A']['values']['top1']['mean'] == pytest.approx(25.5) and 'CMIC' not in rows
    assert rows['A']['values']['unseen_hausdorff']['mean'] == 0.06
    assert {row['source'] for row in rows_of(found, 'bed')[0].values()} == {'printed'}


@pytest.fixture
def written(monkeypatch):
    """Command lines that run.py is called with; each writes its results."""
    called = []

    def main(arguments):
        called.append(arguments)
        workdir = category_table.Path(next(a for a in arguments if a.startswith('--workdir=')).partition('=')[2])
        seed = int(workdir.name.removeprefix('seed-'))
        metrics = metrics_of(seed) | {'by_views': metrics_of(seed, 0.2)}
        write_atomically(workdir / 'metrics.json', json.dumps(metrics))
        return 0

    monkeypatch.setattr(run, 'main', main)
    monkeypatch.setattr(category_table, 'machine', lambda: {'hardware': {'cores': 2, 'host': 'x'}, 'versions': {}})
    return called


def test_a_table_goes_on_and_is_written(tmp_path, written, capsys, monkeypatch):
    out = f'--out={tmp_path / "table"}'
    assert category_table.main(['--seeds=1', out, '--config.epochs=2']) == 0
    assert len(written) == 1 and '--config.epochs=2' in written[0] and '--config.seed=0' in written[0]
    assert category_table.main(['--seeds=2', out, '--config.epochs=2']) == 0
    assert len(written) == 2 and '--config.seed=1' in written[1]
    table = json.loads((tmp_path / 'table' / 'table.json').read_text())
    rows, _ = rows_of(table['groups'], MICRO)
    assert rows[category_table.REFERENCES]['values']['top1']['seeds'] == [50.0, 51.0] and table['seeds'] == 2
    assert rows[category_table.VIEWS]['values']['top1']['mean'] == 70.5
    made = [json.loads((tmp_path / 'table' / 'runs' / f'seed-{n}' / 'source.json').read_text()) for n in (0, 1)]
    assert table['commits'] == commits_text(made)
    monkeypatch.setattr(category_table, 'source', lambda: {'commit': 'f' * 40, 'dirty': True})
    (tmp_path / 'table' / 'runs' / 'seed-1' / 'source.json').write_text('{')  # and of the newest code, one more seed
    assert category_table.main(['--seeds=3', out, '--config.epochs=2']) == 0
    table = json.loads((tmp_path / 'table' / 'table.json').read_text())
    assert table['commits'] == sorted({*commits_text(made[:1]), 'unknown', 'f' * 12 + ' with changes'})
    page = (tmp_path / 'table' / 'report' / 'index.html').read_text()
    assert (
        '51.0 ± 1.0' in page and 'printed' in page and 'not trained' in page and str(tmp_path) not in json.dumps(table)
    )
    assert category_table.main(['--seeds=3', out]) == 1
    assert 'config.epochs: 2 there, (not given) now' in capsys.readouterr().err


def test_what_is_refused_leaves_the_folder_free(tmp_path, written, capsys, monkeypatch):
    out = f'--out={tmp_path / "table"}'
    for wrong, message in (
        ('--config.epcohs=2', 'epcohs: unknown key'),
        ('--config.epochs=two', 'epochs=two: not a whole number'),
        (f'--unseen_dir={tmp_path}/gone', f'--unseen_dir={tmp_path}/gone: does not exist'),
        (f'--data_dir={tmp_path}/gone', f'--data_dir={tmp_path}/gone: does not exist'),
    ):
        assert category_table.main(['--seeds=1', out, wrong]) == 1
        assert message in capsys.readouterr().err and not written
    with monkeypatch.context() as refusing:
        refusing.setattr(run, 'main', lambda arguments: 1)
        assert category_table.main(['--seeds=1', out, '--config.model.pooling=sum']) == 1
    assert category_table.main(['--seeds=1', out]) == 0
    refused, called = [], len(written)
    monkeypatch.setattr(run, 'main', lambda arguments: refused.append(arguments) or 1)
    assert category_table.main(['--seeds=2', out]) == 1 and len(refused) == 1 and len(written) == called
    capsys.readouterr()
    assert category_table.main(['--seeds=1', out, '--config.epochs=3']) == 1
    assert 'made with other settings' in capsys.readouterr().err


def test_a_folder_belongs_to_the_data_it_was_made_of(tmp_path, written, monkeypatch, capsys):
    data = tmp_path / 'data'
    data.mkdir()
    (data / 'pix3d.json').write_text('[]')
    monkeypatch.chdir(tmp_path)
    assert category_table.main(['--seeds=1', '--data_dir=data', '--out=table']) == 0
    assert f'--config.data_dir={data}' in written[0]
    monkeypatch.chdir(data)
    assert category_table.main(['--seeds=1', '--data_dir=.', '--out=../table']) == 0 and len(written) == 1
    (data / 'pix3d.json').write_text('[ ]')
    assert category_table.main(['--seeds=1', '--data_dir=.', '--out=../table']) == 1
    assert 'data: ' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('file', 'content', 'message'),
    [
        ('runs/seed-0/metrics.json', '{"top1"', 'delete the file, and the same command evaluates the run again'),
        ('runs/seed-0/metrics.json', '[]', 'metrics.json: damaged, or of an earlier version (without gallery, '),
        ('runs/seed-0/metrics.json', json.dumps(metrics_of(0)), 'earlier version (without by_views)'),
        ('settings.json', '{"data_dir"', 'settings.json: cannot be read'),
        ('settings.json', '{"data_dir": "", "evaluation.unseen_dir": ""}', 'delete the folder or name another --out'),
    ],
)
def test_damaged_and_older_files_are_named(tmp_path, written, capsys, file, content, message):
    command = ['--seeds=1', f'--out={tmp_path}']
    assert category_table.main(command) == 0
    (tmp_path / file).write_text(content)
    assert category_table.main(command) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--seeds=0'], '--seeds=0: not a number'),
        (['--config.seed=3'], '--config.seed: use --seeds'),
        (['--config.evaluation.references=0'], '--config.evaluation.references: the table sets it itself'),
        (['--rows=A'], '--rows=A: unknown argument'),
    ],
)
def test_arguments_that_mean_nothing(arguments, message, capsys):
    assert category_table.main(arguments) == 1
    assert message in capsys.readouterr().err
