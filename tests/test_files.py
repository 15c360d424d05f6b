"""Files replaced in one step, and storage faults as errors."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxret.errors import ConfigError, StorageError
from jaxret.files import check_regular, exclusive, read_json, storage_errors, write_atomically


def test_writes_with_folders_and_usual_permissions(tmp_path):
    path = tmp_path / 'new' / 'folder' / 'ä.json'
    for text in ('Größe', 'shorter'):
        write_atomically(path, text)
        assert path.read_text(encoding='utf-8') == text
    other = tmp_path / 'other'
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / 'a.json'
    write_atomically(path, 'old')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(StorageError, match=r'a\.json: cannot be written \(No space left .*free some space, or'):
        write_atomically(path, 'new')
    assert path.read_text() == 'old' and list(tmp_path.iterdir()) == [path]
    with pytest.raises(StorageError, match='below: cannot be written .*make it writable, or'):
        write_atomically(path / 'below', 'text')


def test_writers_of_one_file_do_not_collide(tmp_path):
    path = tmp_path / 'a.json'
    texts = [str(digit) * 100_000 for digit in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: write_atomically(path, text), texts))
    assert path.read_text() in texts and list(tmp_path.iterdir()) == [path]


def test_only_regular_files_of_a_size_are_opened(tmp_path):
    (tmp_path / 'a.json').write_text('{"ä": 1}', encoding='utf-8')
    (tmp_path / 'link.json').symlink_to(tmp_path / 'a.json')
    assert read_json(tmp_path / 'a.json') == read_json(tmp_path / 'link.json') == {'ä': 1}
    os.mkfifo(tmp_path / 'pipe.json')
    (tmp_path / 'zero.json').symlink_to('/dev/zero')
    for name in ('pipe.json', 'zero.json', '.'):
        with pytest.raises(OSError, match='not a regular file'):
            read_json(tmp_path / name)
    (tmp_path / 'deep.json').write_text('[' * 200_000)
    with pytest.raises(ValueError, match='nested too deeply'):
        read_json(tmp_path / 'deep.json')
    with (tmp_path / 'large.json').open('wb') as file:
        file.truncate(2**30 + 1)
    with pytest.raises(OSError, match='1,073,741,825 bytes, the limit is'):
        read_json(tmp_path / 'large.json')
    check_regular(tmp_path / 'large.json')
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / 'gone')


def test_only_storage_faults_change_their_kind(tmp_path):
    with pytest.raises(StorageError, match='cannot be written'), storage_errors(tmp_path):
        raise PermissionError(13, 'Permission denied')
    with pytest.raises(ValueError, match='mine'), storage_errors(tmp_path):
        raise ValueError('mine')


def test_one_process_at_a_time_is_within(tmp_path):
    lock, entered = tmp_path / 'made' / '.lock', []

    def wait():
        with exclusive(lock):
            entered.append(True)

    with ThreadPoolExecutor() as threads:
        with exclusive(lock):
            refused = exclusive(lock, refuse=lambda process: ConfigError(f'{process} is there'))
            with pytest.raises(ConfigError, match=f'^{os.getpid()} is there$'), refused:
                pass
            waiting = threads.submit(wait)
            time.sleep(0.2)
            assert not entered
        waiting.result(timeout=60)
    assert entered
