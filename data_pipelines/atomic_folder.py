"""Folders that are made once, whole or not at all, whoever else asks for them meanwhile."""

import contextlib
import errno
import fcntl
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxret.errors import ConfigError, JaxretError, StorageError
from jaxret.files import storage_errors, write_atomically

ANY = float('inf')  # no highest value
SAMPLE_MARKER = 'complete.json'
_STALE = 3600.0  # seconds after which a folder that a killed run left behind is removed
MARKER = 'prepared.json'


def complete_folder(folder: Path, write: Callable[[Path], Any]) -> Any:
    """Makes a folder unless it is there. Several processes may ask for it at once.

    Args:
      folder: its path, below the cache folder.
      write: fills the draft folder that it is given; what it returns (JSON) is kept as prepared.json.

    Returns:
      the content of prepared.json.

    Raises:
      StorageError: the cache folder cannot be written, or the disk is full.
    """
    complete = folder / MARKER
    try:
        if not complete.is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder.parent / f'.{folder.name}.lock'):
                if not complete.is_file():  # nobody else did it meanwhile
                    _write_folder(folder, write)
        return json.loads(complete.read_text(encoding='utf-8'))
    except JaxretError:
        raise
    except Exception as error:
        raise _storage_error(folder.parent, error) from error


def _write_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """Write below a draft folder that gets its name at the end."""
    _remove_leftovers(folder)
    draft = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
    try:
        draft.chmod(0o755)
        done = write(draft)
        write_atomically(draft / MARKER, json.dumps(done, indent=1))
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process prepares a folder; another waits and finds it done. The lock ends with its process."""
    with path.open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_leftovers(folder: Path) -> None:
    """Drafts of preparations that were killed: none is at work while the caller holds the lock."""
    for draft in folder.parent.glob(f'.{folder.name}.*'):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _storage_error(folder: Path, error: Exception) -> Exception:
    """A StorageError if the disk is behind an error, else the error itself.

    TFDS wraps what it meets, and the record writer raises RuntimeError with the system's words in its message.
    """
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
    spoken = [os.strerror(code) for code in codes]
    cause: BaseException | None = error
    while cause is not None:
        reason = next((words for words in spoken if words in str(cause)), None)
        if reason is None and isinstance(cause, OSError):
            reason = cause.strerror or str(cause)
        if reason is not None:
            return StorageError(f'{folder}: cannot be written ({reason}); free space, or name another cache folder')
        cause = cause.__cause__ or cause.__context__
    return error


def complete_sample(root: Path, wanted: Mapping[str, Any], write: Callable[[Path], Mapping[str, Any]]) -> Path:
    """Writes a sample to `root`, or returns at once where the same sample already stands there.

    Everything is written to a sibling folder that is renamed at the end, so `root` is never half written. Another
    sample is replaced; a folder with anything else in it is refused.

    Args:
      root: the folder to write, absolute.
      wanted: what decides the sample's content; kept in the marker and compared with it.
      write: fills the folder that it is given; what it returns is kept in the marker too.

    Returns:
      `root`.

    Raises:
      StorageError: `root` cannot be written, holds something else, or the disk is full.
    """
    with storage_errors(root):
        found = _read_marker(root)
        if found is not None and all(found.get(key) == value for key, value in wanted.items()):
            return root
        if found is None and root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise StorageError(f'{root}: holds something other than a sample; name an empty or a new folder')
        root.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(root)
        folder = Path(tempfile.mkdtemp(prefix=f'.{root.name}-', suffix='.partial', dir=root.parent))
        try:
            folder.chmod(0o755)
            facts = write(folder)
            write_json(folder / SAMPLE_MARKER, {**wanted, **facts, 'synthetic': True})
            _publish(folder, root, wanted)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return root


def check_ranges(**ranges: tuple[int | None, int, float]) -> None:
    """Raises ConfigError for a value that is not within lowest .. highest: name=(value, lowest, highest).

    None, where a function chooses a value itself, is within every range.
    """
    for name, (value, lowest, highest) in ranges.items():
        if value is not None and not lowest <= value <= highest:
            wanted = f'{lowest} or more' if highest == ANY else f'{lowest} to {highest}'
            raise ConfigError(f'the sample needs {name} of {wanted}, not {value}')


def write_json(path: Path, value: list | dict) -> None:
    """Writes JSON, the same bytes for the same value."""
    path.write_text(json.dumps(value, indent=1) + '\n', encoding='ascii')


def _read_marker(root: Path) -> dict | None:
    """The marker of a complete sample, or None."""
    try:
        found = json.loads((root / SAMPLE_MARKER).read_text(encoding='utf-8'))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get('synthetic') is True else None


def _publish(folder: Path, root: Path, wanted: Mapping[str, Any]) -> None:
    """Renames the finished folder to `root`; an older sample is moved away first. Another run may have been faster."""
    old = folder.with_suffix('.old.partial')
    if _read_marker(root) is not None:
        with suppress(FileNotFoundError):
            os.rename(root, old)
    try:
        os.rename(folder, root)
    except OSError:
        found = _read_marker(root)
        if found is None or any(found.get(key) != value for key, value in wanted.items()):
            raise
    shutil.rmtree(old, ignore_errors=True)


def _remove_stale(root: Path) -> None:
    """Removes what killed runs left beside `root`, unless it is young enough to belong to a run under way."""
    for path in root.parent.glob(f'.{glob.escape(root.name)}-*.partial'):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE:
                shutil.rmtree(path, ignore_errors=True)
