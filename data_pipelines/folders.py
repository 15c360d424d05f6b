"""The folder of a data set: opened, and where the paths below it really lead."""

import os
from pathlib import Path

from jaxret.errors import DataError, Problem


def open_folder(folder: Path, *, layout: str, key: str = 'data_dir') -> Path:
    """The folder with links resolved.

    Args:
      folder: as the user names it.
      layout: what it should be, for the message ("Pix3D's layout (...)").

    Raises:
      DataError: it does not exist, is no folder, or cannot be read.
    """
    action = f'name a folder in {layout}'
    try:
        if not folder.exists():
            raise DataError(Problem(str(folder), f'{key} does not exist', action))
        if not folder.is_dir():
            raise DataError(Problem(str(folder), f'{key} is not a folder', action))
        next(folder.iterdir(), None)
        return folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(Problem(str(folder), f'{key} cannot be read ({error})', 'check its permissions')) from error


def resolve(root: Path, name: str) -> Path:
    """Where a path below `root` really leads; `root` itself where that cannot be told (found by the file checks)."""
    try:
        return (root / name).resolve()
    except (OSError, RuntimeError, ValueError):
        return root


def names_in(folder: Path, problems: list[Problem]) -> list[str]:
    """Names in a folder, sorted, without hidden ones; none for what is no folder. Adds what is wrong to `problems`."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith('.'))
    except (NotADirectoryError, FileNotFoundError):
        return []
    except OSError as error:
        found = f'cannot be read ({error.strerror or error})'
        problems.append(Problem(str(folder), found, 'check its permissions'))
        return []
