"""`jaxret index --add-photos`, `jaxret photos`, and `jaxret search` with known photos and photos of one object."""

import csv
import io
import json

import numpy as np
import pytest
from finished_runs import write_run
from PIL import Image
from small_index import write_models

from jaxret.cli import main as cli


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A CMIC run, models and photos; the settings that the command makes are taken back."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp('place')
    patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    patch.setenv('JAX_COMPILATION_CACHE_DIR', str(folder / 'programs'))
    write_run(folder / 'run', 'cmic')
    write_models(folder / 'models', 3)
    (folder / 'photos').mkdir()
    for name, color in (('one', (250, 10, 10)), ('two', (10, 10, 250))):
        Image.new('RGB', (40, 30), color).save(folder / f'photos/{name}.png')
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 5:30] = 255
    Image.fromarray(mask).save(folder / 'photos/mask.png')
    yield folder
    patch.undo()


@pytest.fixture
def run(place, capsys, monkeypatch):
    monkeypatch.chdir(place)

    def call(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def write_list(place, *lines, columns='photo,model,mask,box'):
    (place / 'photos/list.csv').write_text('\n'.join((columns, *lines)) + '\n')


def test_photos_from_the_first_index_to_the_last_one_taken_back(run, place):
    write_list(place, 'one.png,tall/00/box.obj,mask.png,"2,2,35,28"', 'two.png,wide/01/box.off,,')
    making = ('index', '--out', 'index', '--checkpoint', 'run', '--models', 'models', '--processes', '1')
    status, out, _ = run(*making, '--add-photos', 'photos/list.csv')
    assert status == 0 and out.splitlines()[1] == 'index: 2 photos of 2 models added'
    search = 'next: jaxret search --index index QUERY'
    assert out.splitlines()[2:] == [f'{search}   or   jaxret serve --index index']
    status, out, _ = run('index', '--out', 'index', '--add-photos', 'photos/list.csv')  # again, and alone
    assert (status, out) == (0, f'index: 0 photos of 2 models added; 2 were known before\n{search}\n')

    asked = ('search', '--index', 'index')
    found = json.loads(run(*asked, '--json', 'photos/one.png', 'photos/two.png')[1])
    assert found[1]['hits'][0]['id'] == 'wide/01/box.off' and found[1]['hits'][0]['references'] == 1
    out = run(*asked, '--together', 'photos/two.png', 'photos/one.png')[1].splitlines()
    assert out[0] == 'photos/two.png + photos/one.png (photo, no mask or box)' and 'known photos' in out[1]
    for line in out[2:-1]:
        _, score, _, shape, *_ = line.split()
        scores = [hit['score'] for each in found for hit in each['hits'] if hit['id'] == shape]
        assert float(score) == pytest.approx(np.mean(scores), abs=1e-4)

    (place / 'models/wide/01/box.off').rename(place / 'away.off')
    assert '1 removed; 1 known photos (1 more of models that are gone)' in run(*making)[1]
    rows = list(csv.DictReader(io.StringIO(run('photos', '--index', 'index', '--csv')[1])))
    assert [(row['number'], row['model'], row['photo'], row['state']) for row in rows] == [
        ('1', 'tall/00/box.obj', 'one.png', ''),
        ('2', 'wide/01/box.off', 'two.png', 'its model is gone'),
    ]

    assert run('photos', '--index', 'index', '--remove', '1')[1].startswith('index: 1 photos removed\nnext: ')
    status, _, err = run('photos', '--index', 'index', '--remove', 'photos/list.csv', '7')
    assert status == 1 and err.count('not among the known photos') == 1 and 'photo 7: no such number' in err
    (row,) = json.loads(run('photos', '--index', 'index', '--undo', '--json')[1])
    assert (row['number'], row['state']) == (2, 'taken back')
    assert run('photos', '--index', 'index')[1].startswith('no photos\nnext: ')
    (place / 'away.off').rename(place / 'models/wide/01/box.off')


def test_every_wrong_line_is_listed_before_anything_is_embedded(run, place):
    write_list(
        place,
        'none.png,tall/00/box.obj,,',
        'one.png,nothing,,',
        'one.png,tall/00/box.obj,nomask.png,"3,2,1"',
        'two.png,tall/00/box.obj,,1,2,3,4',
        ',,,',
        'two.png,wide/01/box.off,,',
        'two.png,tall/00/box.obj,,',
    )
    assert run('index', '--out', 'fresh', '--checkpoint', 'run', '--models', 'models', '--processes', '1')[0] == 0
    status, _, err = run('index', '--out', 'fresh', '--add-photos', 'photos/list.csv')
    assert status == 1 and not (place / 'fresh/references.sqlite').exists()
    found = [line.split('list.csv, ')[1] for line in err.splitlines()[1:]]
    assert [line.split(': ')[0] for line in found] == [f'line {n}' for n in (2, 3, 4, 4, 5, 5, 6, 6, 8)]
    for line, said in zip(
        found,
        ('no such file', 'not in the index', 'mask', 'box', 'more values', 'box', 'no photo', "model ''", 'above'),
        strict=True,
    ):
        assert said in line

    write_list(place, 'list.csv,tall/00/box.obj', columns='photo,model')  # no picture
    status, _, err = run('index', '--out', 'fresh', '--add-photos', 'photos/list.csv')
    assert status == 1 and 'not an image' in err and not (place / 'fresh/references.sqlite').exists()


def test_one_photo_under_two_names_does_not_show_two_models(run, place):
    (place / 'photos/copy.png').write_bytes((place / 'photos/one.png').read_bytes())
    write_list(place, 'one.png,tall/00/box.obj', 'copy.png,wide/01/box.off', columns='photo,model')
    assert run('index', '--out', 'twice', '--checkpoint', 'run', '--models', 'models', '--processes', '1')[0] == 0
    status, _, err = run('index', '--out', 'twice', '--add-photos', 'photos/list.csv')
    assert status == 1 and "photo 'copy.png': the same photo as 'one.png', which shows 'tall/00/box.obj'" in err
    assert not (place / 'twice/references.sqlite').exists()


@pytest.mark.parametrize(
    ('columns', 'found'),
    [('photo,shape', 'columns photo, shape'), ('photo,model,masks', 'masks'), ('', 'none'), ('photo,model', 'no phot')],
)
def test_lists_that_are_none(run, place, columns, found):
    write_list(place, columns=columns)
    status, _, err = run('index', '--out', 'new', '--checkpoint', 'run', '--models', 'models', '--add-photos',
                         'photos/list.csv')  # fmt: skip
    assert status == 1 and found in err and not (place / 'new').exists()


def test_options_that_do_not_go_together(run, place):
    write_list(place, 'one.png,tall/00/box.obj,,')
    status, _, err = run('index', '--out', 'new', '--add-photos', 'photos/list.csv', '--up-axis', 'z')
    assert status == 1 and '--up-axis with --add-photos but without --models' in err
    for parts in ('--parts', '--no-parts'):
        status, _, err = run('index', '--out', 'new', '--add-photos', 'photos/list.csv', parts)
        assert status == 1 and '--parts or --no-parts with --add-photos but without --models' in err
