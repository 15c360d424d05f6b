"""Folders that are made once, whole or not at all, whoever else asks for them meanwhile.

A folder is written under another name below the same parent and renamed when it is complete. Only one process writes
it; another waits and finds it done. What a killed run leaves behind is removed by the next one.
"""

import contextlib
import errno
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxret.errors import JaxretError, StorageError
from jaxret.files import exclusive, storage_advice, write_atomically
from jaxret.workers import map_parallel

MARKER, SAMPLE_MARKER = 'prepared.json', 'complete.json'
_DRAFT = 'jaxret-draft'  # in names of draft folders: what else is hidden beside a folder is somebody's own
_HANGS = 3600.0  # seconds after which a process that makes one part of a sample is given up


def complete_folder(
    folder: Path,
    write: Callable[[Path], Mapping[str, Any]],
    *,
    marker: str = MARKER,
    wanted: Mapping[str, Any] | None = None,
    replace: bool = True,
) -> dict[str, Any]:
    """Makes a folder unless it is there. Several processes may ask for it at once.

    Args:
      folder: its path.
      write: fills the draft folder that it is given; what it returns (JSON) is kept in the marker.
      marker: name of the file that is written last.
      wanted: what decides the content: a folder whose marker says otherwise is replaced, and one with anything else in
        it is refused. None where the folder's name says it: whatever else has that name is removed.
      replace: False refuses a folder whose marker says otherwise, too.

    Returns:
      the content of the marker.

    Raises:
      StorageError: the folder cannot be written, holds something else, or the disk is full.
    """

    def find() -> dict[str, Any] | None:
        found = _read_marker(folder / marker)
        same = found is not None and all(found.get(key) == value for key, value in (wanted or {}).items())
        return found if same else None

    try:
        done = find()
        if done is None:
            with exclusive(folder.parent / f'.{folder.name}.lock', leave=False):
                done = find()
                if done is None:
                    if wanted is not None:
                        _refuse_other_content(folder, marker, None if replace else wanted)
                    done = _write_folder(folder, lambda draft: {**(wanted or {}), **write(draft)}, marker)
        return done
    except JaxretError:
        raise
    except Exception as error:
        raise _storage_error(folder, error) from error


def complete_sample(
    root: Path | str, wanted: Mapping[str, Any], write: Callable[[Path], Mapping[str, Any]], *, replace: bool = True
) -> Path:
    """Writes a sample to `root`, or returns at once where the same sample already stands there.

    Args:
      root: the folder to write. A folder with anything else in it is refused.
      wanted: what decides the sample's content; kept in the marker and compared with it.
      write: fills the folder that it is given; what it returns is kept in the marker too.
      replace: whether another sample is replaced; False refuses it.

    Returns:
      `root`, absolute.

    Raises:
      StorageError: as `complete_folder`.
    """
    root = Path(root).absolute()
    complete_folder(root, write, marker=SAMPLE_MARKER, wanted={**wanted, 'synthetic': True}, replace=replace)
    return root


def make_all(
    make: Callable[[Any], Any], jobs: Sequence[Any], *, processes: int | None, progress: bool, serial_below: int = 2
) -> list[Any]:
    """make(job) for the jobs of a sample, in their order, in processes; fewer than `serial_below` in this one."""
    title = 'Making the synthetic sample' if progress else None
    options = {'processes': processes, 'serial_below': serial_below, 'timeout': _HANGS, 'progress': title}
    return [made for _, made in map_parallel(make, jobs, ordered=True, raises=True, **options)]


def write_json(path: Path, value: list | dict) -> None:
    """Writes JSON, the same bytes for the same value."""
    path.write_text(json.dumps(value, indent=1) + '\n', encoding='ascii')


def _read_marker(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _refuse_other_content(folder: Path, marker: str, wanted: Mapping[str, Any] | None) -> None:
    """Raises StorageError for a file, or a folder that is neither empty nor a sample; with `wanted`, nor that one."""
    found = _read_marker(folder / marker)
    if found is not None and found.get('synthetic') is True:
        if differing := [key for key, value in (wanted or {}).items() if found.get(key) != value]:
            raise StorageError(
                f'{folder}: holds what was made otherwise ({", ".join(differing)} differ, see {marker} there); name a '
                'new folder, or delete it'
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StorageError(f'{folder}: holds something other than a sample; name an empty or a new folder')


def _write_folder(folder: Path, write: Callable[[Path], dict[str, Any]], marker: str) -> dict[str, Any]:
    """Write below a draft folder that gets its name at the end. The caller holds the lock."""
    prefix = f'.{folder.name}.{_DRAFT}-'
    for leftover in folder.parent.glob(f'{glob.escape(prefix)}*'):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    old = draft.with_name(f'{draft.name}.old')
    try:
        draft.chmod(0o755)
        done = write(draft)
        write_atomically(draft / marker, json.dumps(done, indent=1) + '\n')
        with contextlib.suppress(FileNotFoundError):
            os.replace(folder, old)
        os.replace(draft, folder)
        return json.loads((folder / marker).read_text(encoding='utf-8'))
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


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
            return StorageError(f'{folder}: cannot be written ({reason}); {storage_advice(reason)}')
        cause = cause.__cause__ or cause.__context__
    return error
