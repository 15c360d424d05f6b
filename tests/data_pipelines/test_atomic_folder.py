"""A folder is written once, whoever asks for it meanwhile, and the key of what is prepared follows the code."""

import threading
import time

import jaxret
from data_pipelines import file_checks
from data_pipelines.atomic_folder import complete_folder


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
