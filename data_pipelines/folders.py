"""The folder of a data set: opened, and where the paths below it really lead."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from jaxret.errors import Problem, refused

_FEW_LINKS = 3  # to files of one folder, told one by one


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
    action = 'put the file or folder itself below the data folder (a copy, or a mount of the other disk)'
    return Problem(str(path), found, action)


def escaping(root: Path, names: Iterable[str], found: str = 'a link that leaves the folder') -> list[Problem]:
    """A problem for each path that leads out of the folder; see `link_problems`."""
    return link_problems(root, [(str(root / name), name) for name in names], found)


def link_problems(root: Path, named: Iterable[tuple[str, str]], found: str) -> list[Problem]:
    """A problem for each path that leads out of the folder: one for all below a folder that is a link as a whole, and
    one for many links in one folder.

    Args:
      root: the folder, links resolved.
      named: where each path below it is named, and the path.
      found: what is said of a single one; {} stands for the path.
    """
    of_folder: dict[str, set[str]] = {}
    of_files: dict[str, dict[str, str]] = {}
    bad: dict[str, bool] = {}
    for where, name in named:
        if linked := _linked_folder(root, name, bad):
            of_folder.setdefault(linked, set()).add(name)
        elif leaves(root, name):
            of_files.setdefault(str(PurePosixPath(name).parent), {})[where] = name
    problems = [_folder_problem(root, folder, len(names)) for folder, names in of_folder.items()]
    for folder, files in of_files.items():
        if len(files) > _FEW_LINKS and all((root / name).is_symlink() for name in files.values()):
            first = next(iter(files.values()))
            many = f'{len(files)} files are links that leave the data folder, such as {first} to {resolve(root, first)}'
            problems.append(link_problem(root / folder, many))
        else:
            problems += [link_problem(where, found.format(repr(name))) for where, name in files.items()]
    return problems


def _folder_problem(root: Path, folder: str, count: int) -> Problem:
    leads = f'that leaves the data folder, to {resolve(root, folder)}' if leaves(root, folder) else 'to nothing'
    return link_problem(root / folder, f'as a whole a link {leads} ({count} files of it are used)')


def _linked_folder(root: Path, name: str, bad: dict[str, bool]) -> str | None:
    """The first folder of a path that is a link out of the root or to nothing; `bad` keeps which ones are."""
    for folder in [str(part) for part in PurePosixPath(name).parents if part.name][::-1]:
        if folder not in bad:
            path = root / folder
            bad[folder] = path.is_symlink() and (leaves(root, folder) or not path.exists())
        if bad[folder]:
            return folder
    return None


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
