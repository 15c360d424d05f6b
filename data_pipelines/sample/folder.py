"""A folder with a synthetic sample: written whole or not at all, kept where it stands already, never over other files.

    complete.json    what the sample is (seed, sizes, generator version); written last
"""

import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from jaxret.errors import ConfigError, StorageError
from jaxret.files import storage_errors

ANY = float('inf')  # no highest value
MARKER = 'complete.json'
_STALE = 3600.0  # seconds after which a folder that a killed run left behind is removed


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
            write_json(folder / MARKER, {**wanted, **facts, 'synthetic': True})
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
        found = json.loads((root / MARKER).read_text(encoding='utf-8'))
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
