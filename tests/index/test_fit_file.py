"""What was learnt of known photos, on disk: kept as it was, refused where damaged, of one index alone."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from parts_index import FUSION, PARTS, PartsModel, World, parts_index, teach
from safetensors.numpy import save_file

from jaxret.errors import DataError
from jaxret.index.fit_file import fit_checksum, fit_key, outdated, read_fit, write_fit
from jaxret.index.fitting import Fit, Ranks
from jaxret.search.certainty import Certainty
from jaxret.search.whitening import Whitening

NO_RANKS = Ranks(np.ones(1), np.ones(1))
OWNER = np.arange(6) // 2


def fit_of(**changes) -> Fit:
    rng = np.random.default_rng(0)
    values = {
        'fusion': replace(FUSION, background=0.1),
        'whitening': Whitening(rng.normal(size=32).astype('f'), rng.normal(size=(32, 5)).astype('f')),
        'right': Certainty((0.5, 0.25, -1.0), 0.6),
        'present': Certainty((0.125, 1.0, -2.0), 0.75),
        'outlined': True,
        'references': 6,
        'shapes': 3,
    }
    return Fit(**(values | changes), before=NO_RANKS, after=NO_RANKS)


@pytest.fixture
def index(tmp_path):
    world = World.of(6)
    with parts_index(tmp_path, world) as index:
        teach(index, world.photos(OWNER), OWNER)
        index.asked = world.photos(np.array([1]), seed=7)
        yield index


def first(index):
    return index.search(index.asked)[0][0]


def test_round_trip(tmp_path):
    assert read_fit(tmp_path) is None
    for changes in ({}, {'whitening': None, 'right': None}, {'present': None, 'outlined': False}):
        fit = fit_of(**changes)
        write_fit(tmp_path, fit, key='k')
        found = read_fit(tmp_path)
        assert (found.key, found.references, found.outlined) == ('k', 6, fit.outlined)
        assert (found.fusion, found.right, found.present) == (fit.fusion, fit.right, fit.present)
        assert (found.whitening is None) == (fit.whitening is None)
        if fit.whitening is not None:
            np.testing.assert_array_equal(found.whitening.mean, fit.whitening.mean)
            np.testing.assert_array_equal(found.whitening.projection, fit.whitening.projection)
    write_fit(tmp_path, fit_of(present=Certainty((1.0, 1.0, 1.0), 0.69)), key='k')
    assert read_fit(tmp_path).present is None and read_fit(tmp_path).right is not None
    assert os.listdir(tmp_path) == ['fit.safetensors']


def test_what_is_replaced_or_removed_is_seen_by_the_next_search(index):
    plain = first(index)
    write_fit(index.folder, fit_of(), key=fit_key(index.manifest))
    learnt = first(index)
    assert learnt.chance is not None and learnt.present is not None and learnt.score != plain.score
    write_fit(index.folder, fit_of(right=None), key=fit_key(index.manifest))
    assert first(index).chance is None and first(index).present == learnt.present
    (index.folder / 'fit.safetensors').unlink()
    assert first(index) == plain


def test_what_was_learnt_for_another_model_or_other_settings_does_not_count(index, tmp_path):
    plain = first(index)
    write_fit(index.folder, fit_of(), key='of another one')
    assert first(index) == plain
    assert 'another model or other settings' in outdated(index.folder, index.manifest, 6)
    prints = {fit_key(index.manifest)}
    for number, changed in enumerate((
        PartsModel(fingerprint='b' * 64),
        PartsModel(parts=replace(PARTS, references={'late': 0.0, 'class': 1.0})),
        PartsModel(fusion=replace(FUSION, weight=0.4)),
    )):  # fmt: skip
        with parts_index(tmp_path / str(number), World.of(6), model=changed) as other:
            prints.add(fit_key(other.manifest))
    assert len(prints) == 4
    with parts_index(tmp_path / 'same', World.of(6)) as other:
        assert fit_key(other.manifest) in prints


def test_when_to_learn_again(index):
    assert outdated(index.folder, index.manifest, 100) == ''  # nothing was learnt
    shapes = index.manifest.shapes
    write_fit(index.folder, fit_of(references=10, shapes=shapes), key=fit_key(index.manifest))
    for references in (9, 12):
        assert outdated(index.folder, index.manifest, references) == ''
    for references in (8, 13):
        told = outdated(index.folder, index.manifest, references)
        assert f'has learnt of 10 known photos, and there are {references}' in told
    grown = replace(index.manifest, shapes=2 * shapes)
    assert f'has learnt of {shapes} models, and there are {2 * shapes}' in outdated(index.folder, grown, 10)


@pytest.mark.parametrize(
    'about',
    [
        '{',
        '[]',
        '{"key": "k"}',
        {'fusion': {'weight': 2.0}},
        {'fusion': {'unknown': 2.0}},
        {'fusion': {'background': float('nan')}},
        {'right': {'weights': ['x', 1, 2], 'area': 1}},
        {'references': None},
    ],
)
def test_damaged_files(index, about):
    path = index.folder / 'fit.safetensors'
    write_fit(index.folder, fit_of(), key=fit_key(index.manifest))
    content = path.read_bytes()
    size = int.from_bytes(content[:8], 'little')
    stored = json.loads(json.loads(content[8 : 8 + size])['__metadata__']['fit'])
    text = about if isinstance(about, str) else json.dumps(stored | about)
    arrays = {'none': np.zeros(0, 'f')}
    save_file(arrays, path, metadata={'fit': text, 'sha256': fit_checksum(text, arrays)})
    with pytest.raises(DataError, match=r'fit.safetensors: missing or damaged .*run `jaxret fit` again, or remove it'):
        first(index)


def test_what_was_changed_since_is_damaged(index):
    path = index.folder / 'fit.safetensors'
    write_fit(index.folder, fit_of(), key=fit_key(index.manifest))
    content = path.read_bytes()
    for place in (len(content) - 3, content.index(b'"references') + 15, content.index(b'0.25')):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DataError, match=r'fit.safetensors: missing or damaged .*another checksum'):
            first(index)


def test_files_that_are_none(index, tmp_path):
    path = index.folder / 'fit.safetensors'
    plain = first(index)
    for content in (b'', b'no safetensors', os.urandom(100)):
        path.write_bytes(content)
        with pytest.raises(DataError, match='fit.safetensors: missing or damaged'):
            first(index)
    save_file({'none': np.zeros(0, 'f')}, path)  # of someone else
    with pytest.raises(DataError, match='fit.safetensors: missing or damaged'):
        first(index)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match='fit.safetensors: .*not a regular file'):
        first(index)
    path.unlink()
    path.symlink_to(tmp_path / 'elsewhere')
    assert first(index) == plain  # to nothing
    write_fit(index.folder, fit_of(), key=fit_key(index.manifest))
    assert not path.is_symlink() and not (tmp_path / 'elsewhere').exists()
    assert first(index).chance is not None
