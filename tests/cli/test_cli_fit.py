"""`jaxret fit`, and what `jaxret search`, `jaxret index` and `jaxret photos` say after it, of a tiny built-in model."""

import csv
import io
import json
from functools import cache

import numpy as np
import pytest
import trimesh
from PIL import Image
from small_pretrained import SIDE, small_pretrained

import jaxret
from jaxret.cli import main as cli
from jaxret.cli.answers import certainty_text
from jaxret.index.hits import Hit
from jaxret.inference import pretrained_model

MODELS = 6


def picture(number, seed):
    """A photo of a model: its own colour, and noise."""
    noise = np.random.default_rng(100 * number + seed).normal(size=(SIDE, SIDE, 3)) * 20
    return Image.fromarray(np.clip((40 * number, 250 - 30 * number, 60) + noise, 0, 255).astype(np.uint8))


@cache
def plain_model():
    return small_pretrained()


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Runs commands in a folder with models and photos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', str(tmp_path / 'programs'))
    monkeypatch.setattr(pretrained_model, 'load_pretrained', lambda name: plain_model())
    (tmp_path / 'models').mkdir()
    lines = ['photo,model']
    for number in range(MODELS):
        trimesh.creation.box((1, 1 + number / 4, 0.8)).export(tmp_path / f'models/{number}.obj')
        for seed in range(4):
            picture(number, seed).save(tmp_path / f'{number}-{seed}.png')
            lines += [f'{number}-{seed}.png,{number}.obj'] * (seed < 3)
    (tmp_path / 'some.csv').write_text('\n'.join(line for line in lines if '-2' not in line) + '\n')
    (tmp_path / 'all.csv').write_text('\n'.join(lines) + '\n')

    def call(*arguments):
        status = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_from_photos_to_how_sure_an_answer_is(run, tmp_path):
    index = ('--index', 'index')
    assert run('index', '--out', 'index', '--models', 'models', '--processes', '1')[0] == 0
    status, _, err = run('fit', *index)
    assert status == 1 and 'known photos: 0 models have two or more' in err
    assert run('index', '--out', 'index', '--add-photos', 'some.csv')[0] == 0

    status, out, _ = run('fit', *index)
    lines = out.splitlines()
    assert status == 0 and lines[0] == '12 known photos; of those held out, in 5 folds:'
    assert [line.count('Top-1 ') + line.count('Top-10 ') for line in lines[1:5]] == [2] * 4
    assert lines[5].startswith('learnt map of photos ')
    assert lines[-2] == 'both only for photos without a mask or plain ground, as most are'
    assert lines[-1] == 'next: jaxret search --index index QUERY'

    (answer,) = json.loads(run('search', *index, '--json', '2-3.png')[1])
    first, second = answer['hits'][:2]
    assert 0 < first['chance'] < 1 and second['chance'] is second['present'] is None and first['references'] == 2
    rows = list(csv.DictReader(io.StringIO(run('search', *index, '--csv', '2-3.png')[1])))
    assert float(rows[0]['chance']) == pytest.approx(first['chance']) and rows[1]['chance'] == ''
    assert (rows[0]['present'] == '') == (first['present'] is None)
    out = run('search', *index, '2-3.png')[1].splitlines()
    assert out[1].startswith(f'the first is right with a chance of {first["chance"]:.0%}')
    assert 'chance' not in run('search', *index, '--for', 'class', '2-3.png')[1]

    assert run('photos', *index)[2] == run('index', '--out', 'index', '--processes', '1')[2] == ''
    _, _, err = run('index', '--out', 'index', '--add-photos', 'all.csv')
    assert 'note: `jaxret fit` has learnt of 12 known photos, and there are 18: run it again' in err
    assert run('photos', *index, '--json')[2] == err.splitlines()[-1] + '\n'
    assert run('fit', *index)[1].startswith('18 known photos') and run('photos', *index)[2] == ''


def test_an_index_made_anew_with_another_model_has_learnt_nothing(run, tmp_path, monkeypatch):
    assert run('index', '--out', 'index', '--models', 'models', '--processes', '1', '--add-photos', 'all.csv')[0] == 0
    assert run('fit', '--index', 'index')[0] == 0
    other = small_pretrained(margin=0.2)
    monkeypatch.setattr(pretrained_model, 'load_pretrained', lambda name: other)
    making = ('index', '--out', 'index', '--models', 'models', '--processes', '1', '--rebuild')
    assert 'what `jaxret fit` learnt was for another model or other settings and does not count' in run(*making)[2]
    with jaxret.Index.open('index') as index:
        queries = other.embed_photos(['2-3.png'])
        assert index.search(queries)[0][0].chance is None and index.search(queries)[0][0].references


NONE = 'probably none of the models (with a chance of'


@pytest.mark.parametrize(
    ('chance', 'present', 'told'),
    [
        (None, None, ''),
        (0.625, None, 'the first is right with a chance of 62%'),
        (0.625, 0.5, 'the first is right with a chance of 62%'),
        (0.1, 0.25, f'{NONE} 75%); if it is one of them, the first is right with a chance of 10%'),
        (None, 0.25, f'{NONE} 75%)'),
        (0.9999, 1e-5, f'{NONE} 99%); if it is one of them, the first is right with a chance of 99%'),
    ],
)
def test_how_sure_in_words(chance, present, told):
    assert certainty_text([Hit(1, 'a', '', 1.0, 0, 0.0, chance=chance, present=present)]) == told
    assert certainty_text([]) == ''
