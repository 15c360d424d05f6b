"""Embeddings of another run as the picture before: what is taken and what is refused, before any long work."""

import re
from pathlib import Path

import numpy as np
import pytest
from domain_adaptation import data as domain_data
from domain_adaptation.data import read_domains
from domain_adaptation.stages import FILE, before_stage, check_before, store_embeddings
from overrides import load_config

from data_pipelines.domain_adaptation.sample import write_mi3dor_sample
from jaxret.errors import CheckpointError, ConfigError, DataError
from jaxret.runs.split import DomainSplit

PHOTOS, SHAPES = np.arange(6.0).reshape(3, 2), np.ones((2, 2))
NAMES = (('a', 'b', 'c'), ('x', 'y'))


def stored(folder: Path, **changes) -> Path:
    """A work directory with embeddings, some entries changed."""
    folder.mkdir(exist_ok=True)
    store_embeddings(folder, PHOTOS, SHAPES, *NAMES)
    if changes:
        with np.load(folder / FILE) as before:
            np.savez(folder / FILE, **{**before, **changes})
    return folder


def test_another_run_is_shown_by_its_name(tmp_path):
    folder = stored(tmp_path / 'other')
    check_before(str(folder), tmp_path / 'this')
    name, photos, shapes = before_stage(str(folder), *NAMES, initial=None)
    assert name == 'other'
    np.testing.assert_array_equal(photos, PHOTOS)
    np.testing.assert_array_equal(shapes, SHAPES)
    with pytest.raises(DataError, match='other photos or shapes'):
        before_stage(str(folder), ('a', 'b', 'd'), NAMES[1], initial=None)


def test_without_another_run_the_initial_weights_are_shown(tmp_path):
    check_before('', tmp_path)
    assert before_stage('', *NAMES, initial=lambda: 'initial') == 'initial'


@pytest.mark.parametrize(
    'content',
    [
        None,
        b'',
        b'text',
        'array',
        'truncated',
        {'shapes': np.ones((2, 3))},
        {'photos': np.ones(3)},
        {'photos': np.full((3, 2), np.nan)},
        {'photo_names': np.array(['a'])},
        {'photos': np.array([{}] * 3)},
    ],
)
def test_what_is_no_embeddings_is_refused_at_once(tmp_path, content):
    folder = stored(tmp_path / 'other', **(content if isinstance(content, dict) else {}))
    if content is None:
        (folder / FILE).unlink()
    elif isinstance(content, bytes):
        (folder / FILE).write_bytes(content)
    elif content == 'array':
        with (folder / FILE).open('wb') as file:
            np.save(file, PHOTOS)
    elif content == 'truncated':
        (folder / FILE).write_bytes((folder / FILE).read_bytes()[:200])
    with pytest.raises(DataError, match=rf'{FILE}.*no embeddings|{FILE}[\s\S]*no embeddings'):
        check_before(str(folder), tmp_path / 'this')


def test_a_run_is_not_its_own_before(tmp_path):
    folder = stored(tmp_path / 'other')
    with pytest.raises(ConfigError, match=r'evaluation\.before: is the work directory of this run'):
        check_before(str(folder / '..' / 'other'), folder)


def test_photos_of_training_are_not_scored(tmp_path, monkeypatch):
    config, _ = load_config('mi3dor.py:smoke')
    config.cache_dir, config.batch_size, config.shapes_per_step = str(tmp_path / 'cache'), 4, 4
    data = write_mi3dor_sample(
        tmp_path / 'data',
        train_photos=2,
        test_photos=1,
        train_shapes=1,
        test_shapes=1,
        photo_size=16,
        processes=1,
        progress=False,
    )
    read_domains(config, data, tmp_path, synthetic=True, train=True)
    run = DomainSplit.read(tmp_path)
    monkeypatch.setattr(domain_data, 'has_checkpoints', lambda folder: True)
    layout, _ = read_domains(config, data, tmp_path, synthetic=True, train=False)
    assert {photo.split for photo in layout.photos} == {'test'}
    name = layout.photos[0].name
    monkeypatch.setattr(DomainSplit, 'read', lambda folder: DomainSplit(run.categories, {name: 'val'}, run.shapes))
    with pytest.raises(CheckpointError, match=f'1 photos that are held out here: {re.escape(name)};'):
        read_domains(config, data, tmp_path, synthetic=True, train=False)
