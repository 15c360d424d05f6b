"""A folder is written once, whoever asks for it meanwhile, and the key of what is prepared follows the code."""

import shutil
import threading
import time

import pytest

import jaxret
from data_pipelines import file_checks
from data_pipelines.atomic_folder import complete_folder, complete_sample
from jaxret.errors import StorageError


def test_one_of_several_writes(tmp_path):
    written, found = [], []

    def write(draft):
        written.append(draft)
        time.sleep(0.3)
        (draft / 'file').write_text('x')
        return {'count': len(written)}

    def ask():
        found.append(complete_folder(tmp_path / 'made', write))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1 and found == [{'count': 1}] * 4
    assert [path.name for path in tmp_path.iterdir()] == ['made']
    assert sorted(path.name for path in (tmp_path / 'made').iterdir()) == ['file', 'prepared.json']


def test_what_else_is_hidden_beside_the_folder_stays(tmp_path):
    (tmp_path / '.made.backup').mkdir()
    (tmp_path / '.made.backup' / 'notes.txt').write_text('precious')
    drafts = []

    def killed(draft):
        drafts.append(draft)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(shutil, 'rmtree', lambda *arguments, **options: None)  # as a killed process leaves it
        complete_folder(tmp_path / 'made', killed)
    assert drafts[0].is_dir()
    complete_folder(tmp_path / 'made', lambda draft: {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ['.made.backup', 'made']
    assert (tmp_path / '.made.backup' / 'notes.txt').read_text() == 'precious'


def test_a_sample_made_otherwise_is_replaced_or_refused(tmp_path):
    complete_sample(tmp_path / 'made', {'seed': 0, 'count': 2}, lambda draft: {})
    (tmp_path / 'made' / 'notes.txt').write_text('precious')
    with pytest.raises(StorageError, match=r'made: holds what was made otherwise \(seed differ'):
        complete_sample(tmp_path / 'made', {'seed': 1, 'count': 2}, lambda draft: {}, replace=False)
    assert (tmp_path / 'made' / 'notes.txt').exists()
    complete_sample(tmp_path / 'made', {'seed': 0, 'count': 2}, lambda draft: {}, replace=False)
    complete_sample(tmp_path / 'made', {'seed': 1, 'count': 2}, lambda draft: {})
    assert not (tmp_path / 'made' / 'notes.txt').exists()


def test_code_that_makes_pixels_is_hashed(tmp_path, monkeypatch):
    for name in ('geometry', 'preprocessing'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'a.py').write_text('')
    (tmp_path / 'prepare.py').write_text('')
    monkeypatch.setattr(jaxret, '__file__', str(tmp_path / '__init__.py'))
    hashes = [file_checks.source_hash(str(tmp_path / 'prepare.py'))]
    for name in ('geometry/a.py', 'preprocessing/a.py', 'prepare.py'):
        (tmp_path / name).write_text('1')
        hashes.append(file_checks.source_hash(str(tmp_path / 'prepare.py')))
    assert len(set(hashes)) == 4
