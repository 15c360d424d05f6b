"""The folder of a data set: opened, and what is in it."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

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


def leaves(name: str) -> bool:
    """Whether a path that a file names leads out of the folder. Links below it may lead anywhere, and are followed."""
    path = PurePosixPath(name)
    return path.is_absolute() or '..' in path.parts


def outside(root: Path, names: Iterable[str]) -> list[Problem]:
    """A problem for each path that leads out of the folder (`leaves`)."""
    action = 'name a file below the data folder; a link there may lead elsewhere'
    return [Problem(str(root / name), 'leaves the data folder', action) for name in names if leaves(name)]


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
