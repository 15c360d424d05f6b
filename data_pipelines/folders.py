"""The folder of a data set: opened, and where the paths below it really lead."""

import os
from collections.abc import Iterable
from pathlib import Path

from jaxret.errors import Problem, refused


def open_folder(folder: Path | str, *, layout: str, key: str = 'data_dir') -> Path:
    """The folder with links resolved.

    Args:
      folder: as the user names it.
      layout: what it should be, for the message ("Pix3D's layout (...)").
      key: the option that names it.

    Raises:
      DataError: it does not exist, is no folder, or cannot be read.
    """
    folder, action = Path(folder), f'name a folder in {layout}'
    try:
        if not folder.exists():
            raise refused(str(folder), f'{key} does not exist', action)
        if not folder.is_dir():
            raise refused(str(folder), f'{key} is not a folder', action)
        next(folder.iterdir(), None)
        return folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise refused(str(folder), f'{key} cannot be read ({error})', 'check its permissions') from error


def resolve(root: Path, name: str) -> Path:
    """Where a path below `root` really leads; `root` itself where that cannot be told (found by the file checks)."""
    try:
        return (root / name).resolve()
    except (OSError, RuntimeError, ValueError):
        return root


def leaves(root: Path, name: str) -> bool:
    """Whether a path below `root` leads out of it."""
    return not resolve(root, name).is_relative_to(root)


def link_problem(path: Path | str, found: str = 'a link that leaves the folder') -> Problem:
    """Problem of a path that leads out of the folder."""
    return Problem(str(path), found, 'put the file or folder itself below the data folder')


def escaping(root: Path, names: Iterable[str], found: str = 'a link that leaves the folder') -> list[Problem]:
    """A problem for each path that leads out of the folder."""
    return [link_problem(root / name, found) for name in names if leaves(root, name)]


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
