"""How often the axis that points up in models is guessed right, of each alone and with its folder.

    python experiments/benchmarks/up_axes.py --y DIR --y DIR --z DIR

Every folder counts twice: as it is, and with its models turned so that the other axis points up. Of each the shares
guessed right, wrong, and left open, where the axis of the training holds. Rows:

- alone: firm guesses of single models, of those that count in a folder.
- folder: what `jaxret index` makes of the folder.
- ten models: of folders of ten of its models, drawn at random.
- categories: each first folder indexed for itself.
- mixed: all folders as they are below one; shuffled: in one folder without folders below.

Files of formats that say their axis are left out.
"""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from measuring import make_parser, parse, positive, says_errors, show, write_json

# isort: split
import numpy as np

from jaxret.errors import ConfigError, DataError
from jaxret.geometry.formats import MESH_SUFFIXES
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.up_axis import FIRM, Guess, folder_axes, guess_up_axis, stated_axis
from jaxret.index.model_files import find_models
from jaxret.workers import progress_bar

COLUMNS = (('models', ''), ('up', ''), ('row', ''), ('count', 'd'), ('right', '.3f'), ('wrong', '.3f'), ('open', '.3f'))
DRAWN, TEN = 200, 10


def guesses_of(path: Path) -> dict[str, Guess]:
    """Of a file as it is, and turned: by the axis that it is loaded with."""
    mesh = load_mesh(path)
    x, y, z = mesh.vertices.T
    turned = {True: np.stack([x, -z, y], axis=1), False: np.stack([x, z, -y], axis=1)}
    guesses = {f'turned {up}': guess_up_axis(replace(mesh, vertices=turned[up])) for up in (True, False)}
    return {'as it is': guess_up_axis(mesh), **guesses}


def read(folder: Path, up: str) -> tuple[list[str], dict[str, list[Guess]]]:
    """Ids of a folder's models, and by the axis that points up the guesses of each."""
    files = [file for file in find_models(folder, MESH_SUFFIXES).models if stated_axis(file.path) is None]
    usable = []
    with progress_bar(folder.name, len(files)) as advance:
        for file in files:
            with contextlib.suppress(DataError):  # broken
                usable.append((file.id, guesses_of(file.path)))
            advance()
    other, turned = ('z', 'turned True') if up == 'y' else ('y', 'turned False')
    names = [name for name, _ in usable]
    return names, {up: [one['as it is'] for _, one in usable], other: [one[turned] for _, one in usable]}


def counted(models: str, up: str, row: str, axes: Sequence[str | None], right: Sequence[str]) -> dict[str, Any]:
    """A row: the axes that were guessed, None where they are left open, and the right ones."""
    hits = [axis == true for axis, true in zip(axes, right, strict=True)]
    left = [axis is None for axis in axes]
    lost = [not hit and not one for hit, one in zip(hits, left, strict=True)]
    shares = {name: float(np.mean(some)) for name, some in (('right', hits), ('wrong', lost), ('open', left))}
    return {'models': models, 'up': up, 'row': row, 'count': len(axes)} | shares


def rows_of(models: str, names: Sequence[str], up: str, guesses: Sequence[Guess], seed: int) -> list[dict[str, Any]]:
    """The rows of one folder whose models have one axis."""
    rng, right = np.random.default_rng(seed), [up] * len(names)
    ten, categories = [], []
    for _ in range(DRAWN):
        drawn = rng.choice(len(names), min(TEN, len(names)), replace=False)
        ten += folder_axes([names[number] for number in drawn], [guesses[number] for number in drawn])
    for category in sorted({name.split('/')[0] for name in names}):
        own = [number for number, name in enumerate(names) if name.split('/')[0] == category]
        categories += folder_axes([names[number] for number in own], [guesses[number] for number in own])
    return [
        counted(models, up, 'alone', [axis if sure >= FIRM else None for axis, sure in guesses], right),
        counted(models, up, 'folder', folder_axes(names, guesses), right),
        counted(models, up, 'ten models', ten, [up] * len(ten)),
        counted(models, up, 'categories', categories, right),
    ]


@says_errors
def main(arguments: list[str] | None = None) -> int:
    """Guesses, prints a table; returns 1 where a folder cannot be used."""
    parser = make_parser(__doc__)
    for axis in ('y', 'z'):
        text = f'folder whose models have +{axis} up; may be repeated'
        parser.add_argument(f'--{axis}', action='append', default=[], metavar='DIR', help=text)
    parser.add_argument('--seed', type=positive, default=1, help='of the models that are drawn')
    known, _, _ = parse(parser, arguments)
    folders = [(Path(folder), axis) for axis in ('y', 'z') for folder in getattr(known, axis)]
    if not folders:
        raise ConfigError('--y and --z are missing; name a folder whose models have this axis up')
    rows, names, guesses, right = [], [], [], []
    for number, (folder, up) in enumerate(folders):
        own, by_axis = read(folder, up)
        rows += [row for axis in ('y', 'z') for row in rows_of(folder.name, own, axis, by_axis[axis], known.seed)]
        names += [f'{number}/{name}' for name in own]
        guesses, right = guesses + by_axis[up], right + [up] * len(own)
    if len(folders) > 1:
        rows.append(counted('all', 'both', 'mixed', folder_axes(names, guesses), right))
        flat = [str(number) for number in range(len(names))]
        rows.append(counted('all', 'both', 'shuffled', folder_axes(flat, guesses), right))
    title = 'which axis points up'
    show(title, COLUMNS, rows)
    write_json(known.json, title=title, arguments=known, rows=rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
