"""The command `jaxret`: index, search, export; what it prints, and its errors."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from finished_runs import write_run
from PIL import Image
from small_index import write_box, write_models

from jaxret.cli import main as cli
from jaxret.cli import search as cli_search
from jaxret.inference.export import load_query_encoder


@pytest.fixture(scope='module', autouse=True)
def cache(tmp_path_factory):
    """Compiled programs go to a folder of the tests; settings that the command makes are taken back."""
    patch = pytest.MonkeyPatch()
    patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
    for name in ('KERAS_HOME', 'MPLCONFIGDIR', 'JAX_COMPILATION_CACHE_DIR'):
        patch.setenv(name, str(tmp_path_factory.mktemp('other')))
    patch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
    yield
    patch.undo()


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A CMIC run, models, their index, photos with masks."""
    folder = tmp_path_factory.mktemp('place')
    write_run(folder / 'run', 'cmic')
    write_models(folder / 'models', 4)
    (folder / 'models' / 'broken.obj').write_text('nothing')
    assert (
        cli.main(
            [
                'index',
                '--checkpoint',
                str(folder / 'run'),
                '--models',
                str(folder / 'models'),
                '--out',
                str(folder / 'index'),
                '--processes',
                '1',
            ]
        )
        == 0
    )
    rng = np.random.default_rng(0)
    for name in ('one', 'two'):
        for kind in ('photos', 'masks'):
            (folder / kind).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(256, size=(30, 40, 3), dtype=np.uint8)).save(folder / f'photos/{name}.jpg')
        mask = np.zeros((30, 40), np.uint8)
        mask[5:20, 5 : 20 + 5 * len(name)] = 255
        Image.fromarray(mask).save(folder / f'masks/{name}.png')
    return folder


@pytest.fixture
def run(place, capsys, monkeypatch):
    monkeypatch.chdir(place)

    def call(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_index_tells_what_it_did(run, place):
    status, out, _ = run('index', '--checkpoint', 'run', '--out', 'index', '--processes', '1')
    assert status == 0
    first, last = out.splitlines()
    told = 'index: 4 shapes: 0 embedded, 4 as before; 1 file failed (see index/failed.csv)'
    assert first == f'{told}; up axis: 4 y by default (see index/overview.html)'
    assert last == 'next: jaxret search --index index QUERY   or   jaxret serve --index index'
    assert 'broken.obj' in (place / 'index/failed.csv').read_text()


def test_search_prints_rank_id_category_score_and_view(run):
    status, out, err = run('search', '--index', 'index', 'photos/one.jpg', '--mask', 'masks/one.png', '--top', '3')
    assert status == 0 and err == ''
    lines = out.splitlines()
    assert lines[0] == 'photos/one.jpg (photo, mask masks/one.png)' and len(lines) == 6
    assert lines.pop().startswith('next: jaxret serve --index index   or   jaxret index --out index --add-photos')
    columns = [
        'rank',
        'score',
        'category',
        'id',
        'view',
        'azimuth',
        'elevation',
        'width',
        'x',
        'height',
        'x',
        'depth',
        'triangles',
    ]
    assert lines[1].split() == columns
    for rank, line in enumerate(lines[2:], 1):
        fields = line.split()
        assert fields[0] == str(rank) and re.fullmatch(r'-?\d\.\d{4}', fields[1])
        assert fields[2] in ('tall', 'wide') and fields[3].startswith(fields[2] + '/')
        assert fields[5] == f'{int(fields[4]) * 90}\N{DEGREE SIGN}'
        assert re.search(r' [\d.]+ x [\d.]+ x [\d.]+ +12$', line)


def test_search_as_json_and_csv_agree(run):
    status, out, _ = run('search', '--index', 'index', 'photos', '--json', '--category', 'wide', '--top', '9')
    assert status == 0
    found = json.loads(out)
    assert [entry['query'] for entry in found] == ['photos/one.jpg', 'photos/two.jpg']
    assert all(entry['kind'] == 'photo' and entry['object'] == 'photo, no mask or box' for entry in found)
    assert all([hit['rank'] for hit in entry['hits']] == [1, 2] for entry in found)
    assert {hit['category'] for entry in found for hit in entry['hits']} == {'wide'}
    scores = [hit['score'] for hit in found[0]['hits']]
    assert scores == sorted(scores, reverse=True)
    status, out, _ = run('search', '--index', 'index', 'photos', '--csv', '--category', 'wide', '--top', '9')
    rows = list(csv.DictReader(io.StringIO(out)))
    wanted = [
        (entry['query'], hit['id'], hit['score'], hit['view'], hit['azimuth'])
        for entry in found
        for hit in entry['hits']
    ]
    assert wanted == [
        (row['query'], row['id'], float(row['score']), int(row['view']), float(row['azimuth'])) for row in rows
    ]


def test_conditions_on_what_models_measure(run):
    suffixes = ('obj', 'off', 'ply', 'stl')
    sizes = {f'{"wide" if n % 2 else "tall"}/{n:02d}/box.{suffixes[n]}': (1, 1 + n / 3, 2) for n in range(4)}
    status, out, err = run('search', '--index=index', 'photos/one.jpg', '--json', '--where=watertight', '--top=9')
    hits = json.loads(out)[0]['hits']
    assert status == 0 and err == '' and {hit['id'] for hit in hits} == set(sizes)
    for hit in hits:
        np.testing.assert_allclose(hit['facts']['size'], sizes[hit['id']], rtol=1e-5)
        assert (hit['facts']['triangles'], hit['facts']['unit'], hit['facts']['watertight']) == (12, None, True)
    asked = ('search', '--index=index', 'photos/one.jpg', '--csv', '--where', 'name~wide', '--where', 'triangles<13')
    rows = list(csv.DictReader(io.StringIO(run(*asked)[1])))
    assert [row['id'] for row in rows] == [hit['id'] for hit in hits if 'wide' in hit['id']]
    assert [float(row['height']) for row in rows] == [hit['facts']['size'][1] for hit in hits if 'wide' in hit['id']]
    status, out, err = run('search', '--index=index', 'photos/one.jpg', '--json', '--where=size<9m and watertight')
    assert status == 0 and json.loads(out)[0]['hits'] == []
    assert err == ("--where 'size<9m and watertight': no model meets it; 4 models left out whose files have no unit\n")


def test_a_model_finds_itself_and_lies_on_itself(run, tmp_path):
    name = 'wide/01/box.off'
    turned = trimesh.load(f'models/{name}')
    turned.apply_transform(trimesh.transformations.rotation_matrix(0.5, (0, 1, 0)))
    turned.export(tmp_path / 'turned.stl')
    asked = ('search', '--index', 'index', f'models/{name}', tmp_path / 'turned.stl', '--json')
    status, out, _ = run(*asked, '--top', '2', '--sheet', tmp_path / 'sheet.png')
    own, other = (entry['hits'] for entry in json.loads(out))
    assert status == 0 and (tmp_path / 'sheet.png').stat().st_size and len(own) == len(other) == 2
    assert own[0]['score'] == pytest.approx(1, abs=1e-5)
    for first, second in (own, other):
        assert first['id'] == name and first['distance'] < 1e-6 < second['distance'] and first['mirrored'] is False
    status, out, err = run('search', '--index', 'index', f'models/{name}', 'photos/one.jpg', '--mask', 'masks')
    heads = [line for line in out.splitlines() if line.endswith(')') or line.startswith('rank')]
    assert status == 0 and heads[0].endswith('(mesh; nearest first, by mean distance)') and 'mean distance' in heads[1]
    assert heads[2] == 'photos/one.jpg (photo, mask masks/one.png)' and 'distance' not in heads[3]
    assert 'Laying models on the query' in err
    status, out, _ = run(*asked, '--no-align')
    assert status == 0 and {hit['distance'] for entry in json.loads(out) for hit in entry['hits']} == {None}


def test_masks_and_boxes_change_what_is_found(run):
    def scores(*options):
        status, out, _ = run('search', '--index', 'index', 'photos', '--json', '--top', '1', *options)
        assert status == 0
        return [entry['hits'][0]['score'] for entry in json.loads(out)]

    whole, masked = scores(), scores('--mask', 'masks')
    assert whole[0] != masked[0] and whole[1] != masked[1]
    assert masked == scores('--box', '5,5,35,20') == scores('--box', '0,5,35,20', '--mask', 'masks')  # what they hold
    assert masked != scores('--box', '5,5,20,20')


def test_photos_without_a_mask_are_told_of_together(run):
    with pytest.warns(UserWarning, match=r'photos and masks.*\(photos/one.jpg and 1 more\)') as told:
        assert run('search', '--index', 'index', 'photos')[0] == 0
    assert len(told) == 1


def test_sheet(run, place):
    assert run('search', '--index', 'index', 'photos', '--sheet=sheet.png', '--top', '4')[0] == 0
    with Image.open(place / 'sheet.png') as sheet:
        assert sheet.width > 5 * 92 and sheet.height > 2 * 92


@pytest.mark.parametrize(
    'arguments,found',
    [
        (
            ['search', '--index', 'index', 'photos/gone.jpg', 'index/index.json'],
            r'2 problems:\n  .*gone.jpg: no such '
            r"file.*\n  .*index.json: a file of kind '.json', which an index of a cmic model cannot embed; give "
            r'photo \(\.jpg',
        ),
        (['search', '--index', 'gone', 'photos'], r'gone/index.json: no such file; make an index with `jaxret index`'),
        (
            ['search', '--index', 'index', 'photos', '--category', 'sofa'],
            "category 'sofa': no shape has it; choose from",
        ),
        (['search', '--index', 'index', 'photos', '--where', 'size<2'], "'size<2': 'size' without a unit; write one"),
        (['search', '--index', 'index', 'photos', '--box', '1,2,3'], 'not left,top,right,bottom'),
        (['search', '--index', 'index', 'photos', '--mask', 'masks/one.png'], 'one mask for 2 photos'),
        (['search', '--index', 'index', 'photos', '--sheet', 'nowhere/a.png'], 'no such folder'),
        (['search', '--index', 'index', 'photos', '--sheet', 'masks'], '--sheet=masks: a folder'),
        (['search', '--index', 'index', 'photos', '--sheet', ''], '--sheet is empty'),
        (['search', '--index', 'index', 'photos', '--for', 'class'], '--for=class: the model of this index leaves no'),
        (['search', '--index', 'index', 'photos', '--checkpoint', 'photos'], 'config.json: no such file'),
        (['index', '--checkpoint', 'run', '--models', 'gone', '--out', 'other'], '--models=gone: no such folder'),
        (['index', '--checkpoint', 'gone', '--models', 'models', '--out', 'other'], 'config.json: no such file'),
        (['index', '--checkpoint', 'run', '--out', 'other'], '--models is missing'),
        (['index', '--checkpoint', 'run', '--models', 'photos', '--out', 'index'], 'add --add'),
        (['index', '--checkpoint', 'run', '--models', 'photos', '--out', 'other'], 'photos: no models in it; it takes'),
        (['index', '--checkpoint', 'run', '--models', 'models', '--categories', 'gone', '--out', 'o'], 'gone: missing'),
        (
            ['index', '--checkpoint', 'run', '--models', 'models', '--out', 'o', '--gallery', 'points'],
            "gallery 'points': only cross-modal centers leave a choice",
        ),
        (['search', '--index', 'index', 'photos', '--mask', 'photos'], 'no mask one.* in photos'),
        (['search', '--index', 'index', 'photos', '--no-align'], 'there is no mesh among the queries'),
    ],
)
def test_one_clear_error(run, place, arguments, found):
    status, out, err = run(*arguments)
    assert status == 1 and out == ''
    assert err.startswith('error: ') and re.search(found, err), err
    assert 'Traceback' not in err


def test_bad_input_is_found_before_jax_is_started(run, monkeypatch):
    def started():
        raise AssertionError('too late')

    monkeypatch.setattr(cli, 'check_platforms', started)
    assert run('search', '--index', 'index', 'photos/gone.jpg')[0] == 1
    assert run('search', '--index', 'index', 'photos', '--for', 'class')[0] == 1
    assert run('search', '--index', 'index', 'photos', '--where', 'heavy')[0] == 1
    for sheet in ('', 'masks', 'nowhere/a.png'):
        assert run('search', '--index', 'index', 'photos', '--sheet', sheet)[0] == 1
    assert run('index', '--checkpoint', 'run', '--models', 'gone', '--out', 'other')[0] == 1
    assert run('index', '--checkpoint', 'gone', '--models', 'models', '--out', 'other')[0] == 1
    assert 'neither one of' in run('index', '--model', 'lite', '--models', 'models', '--out', 'other')[2]
    assert run('index', '--checkpoint', 'run', '--models', 'models', '--out', 'o', '--categories', 'gone')[0] == 1


def test_broken_queries_leave_the_answers_to_the_others(run, place):
    wanted = run('search', '--index', 'index', 'photos', '--csv')[1]
    shutil.copytree(place / 'photos', place / 'mixed')
    (place / 'mixed/broken.jpg').write_bytes((place / 'mixed/one.jpg').read_bytes()[:200])
    (place / 'mixed/empty.jpg').write_bytes(b'')
    status, out, err = run('search', '--index', 'index', 'mixed', '--csv', '--sheet', 'mixed.png')
    assert status == 1 and out == wanted.replace('photos/', 'mixed/') and (place / 'mixed.png').exists()
    assert err.startswith('error: 2 problems:\n  mixed/broken.jpg: ') and 'mixed/empty.jpg: empty file' in err
    assert 'on_bad_file' not in err and 'Traceback' not in err
    status, out, err = run('search', '--index', 'index', 'mixed/broken.jpg', 'mixed/empty.jpg')
    assert status == 1 and out == '' and '2 problems' in err and 'on_bad_file' not in err


def test_names_with_control_characters_do_not_reach_the_terminal(run, place):
    name = 'a\n\x1b[31m\u202eb'
    for folder in (name, 'other'):
        shutil.copytree(place / 'models/tall', place / f'odd/{folder}')
    (place / f'{name}.jpg').write_bytes((place / 'photos/one.jpg').read_bytes())
    assert run('index', '--checkpoint', 'run', '--models', 'odd', '--out', 'odd.index', '--processes', '1')[0] == 0
    status, out, err = run('search', '--index', 'odd.index', f'{name}.jpg', '--sheet', 'odd.png')
    assert status == 0 and err == '' and (place / 'odd.png').exists()
    assert all(line.isprintable() for line in out.splitlines()) and out.count('a\\n\\x1b[31m\\u202eb') > 2
    found = json.loads(run('search', '--index', 'odd.index', f'{name}.jpg', '--json')[1])
    assert found[0]['query'] == f'{name}.jpg' and found[0]['hits'][0]['category'] == name
    status, _, err = run('search', '--index', 'odd.index', 'gone\x1b[2J.jpg')
    assert status == 1 and err.startswith('error: gone\\x1b[2J.jpg: no such file')


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk_under_the_output(place):
    program = (
        'import sys; from jaxret.cli import main, search; '
        "search.run_search = lambda options, before_jax: print('answer') or 0; sys.exit(main.main())"
    )
    with open('/dev/full', 'w') as full:
        done = subprocess.run(
            [sys.executable, '-c', program, 'search', '--index', 'index', 'photos', '--csv'],
            cwd=place,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith('error: ') and 'No space left' in done.stderr and done.stderr.count('\n') == 1


@pytest.mark.parametrize('value', ['x', '0', '-3', '1.5'])
def test_numbers_of_results(run, capsys, value):
    with pytest.raises(SystemExit):
        run('search', '--index', 'index', 'photos', f'--top={value}')
    assert f"argument --top: '{value}': must be a positive whole number" in capsys.readouterr().err


def test_an_option_is_given_once(capsys):
    with pytest.raises(SystemExit):
        cli.main(['index', '--models', 'one', '--models', 'two', '--out', 'index'])
    assert 'argument --models: given twice; give it once' in capsys.readouterr().err


def test_automatic_mask_without_opencv(run, monkeypatch):
    monkeypatch.setattr(cli_search, 'can_mask', lambda: False)
    status, _, err = run('search', '--index', 'index', 'photos', '--mask', 'auto')
    assert status == 1 and "pip install 'jaxret[mask]'" in err


def test_an_index_whose_run_changed_or_moved(run, place):
    shutil.copytree(place / 'run', place / 'moved')
    assert run('search', '--index', 'index', 'photos', '--checkpoint', 'moved')[0] == 0
    write_run(place / 'another', 'cmic', seed=5)
    status, _, err = run('search', '--index', 'index', 'photos', '--checkpoint', 'another')
    assert status == 1 and 'has other weights' in err and '--rebuild' in err
    status, _, err = run('index', '--checkpoint', 'another', '--models', 'models', '--out', 'index')
    assert status == 1 and 'add --rebuild' in err
    (place / 'run').rename(place / 'away')
    status, _, err = run('search', '--index', 'index', 'photos')
    assert 'name it with --checkpoint' in run('index', '--out', 'index')[2]
    (place / 'away').rename(place / 'run')
    assert status == 1 and 'name it with --checkpoint' in err


def test_export_writes_a_program_and_what_it_takes(run, place):
    status, out, _ = run('export', '--checkpoint', 'run', '--out', 'encoder.bin')
    assert status == 0 and out.startswith('encoder.bin: ') and 'differ from the model' in out
    described = json.loads((place / 'encoder.bin.json').read_text())
    assert described['kind'] == 'photo' and described['arrays']['image'] == {'shape': ['B', 32, 32, 3], 'type': 'uint8'}
    arrays = {name: np.zeros((2, *one['shape'][1:]), one['type']) for name, one in described['arrays'].items()}
    assert load_query_encoder(place / 'encoder.bin')(**arrays).shape == (2, 16)


def test_serve_names_the_extra_that_is_missing(run, monkeypatch):
    monkeypatch.delitem(sys.modules, 'jaxret.serving.server', raising=False)
    monkeypatch.setitem(sys.modules, 'uvicorn', None)
    status, _, err = run('serve', '--index', 'index')
    assert status == 1 and err == "error: `jaxret serve` needs uvicorn: pip install 'jaxret[serve]'\n"


def test_help_needs_nothing(run):
    for arguments in (['--help'], ['index', '--help'], ['search', '--help'], ['serve', '--help'], ['export', '--help']):
        with pytest.raises(SystemExit) as stop:
            run(*arguments)
        assert stop.value.code == 0


def test_a_folder_with_box_models_only(run, place):
    """Ids are paths below the folder, at any depth, with /."""
    write_box(place / 'deep/a/b/c/box.stl', 1, 2, 3)
    assert run('index', '--checkpoint', 'run', '--models', 'deep', '--out', 'deep.index', '--processes', '1')[0] == 0
    status, out, _ = run('search', '--index', 'deep.index', 'photos/two.jpg', '--csv')
    assert status == 0 and next(csv.DictReader(io.StringIO(out)))['id'] == 'a/b/c/box.stl'
