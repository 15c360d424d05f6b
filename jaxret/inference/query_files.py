"""Files that are asked with: which kind each is, folders of them, masks beside them. No JAX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.geometry.distance_grids import DISTANCE_SUFFIXES
from jaxret.geometry.mesh import MESH_SUFFIXES
from jaxret.preprocessing.points import POINT_SUFFIXES, has_faces

PHOTO_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff', '.gif')
# Of every kind of query. A .ply file is a mesh if it has faces.
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    'photo': PHOTO_SUFFIXES,
    'mesh': MESH_SUFFIXES,
    'points': POINT_SUFFIXES,
    'scan': DISTANCE_SUFFIXES,
}
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class QueryFile:
    """A file to ask with, and its kind: 'photo', 'mesh', 'points' or 'scan'."""

    path: Path
    kind: str


def kind_of(path: Path) -> str | None:
    """The kind of query that a file's name, and for .ply its header, tells; None for none."""
    suffix = path.suffix.lower()
    if suffix == '.ply':
        return 'mesh' if has_faces(path) else 'points'
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)


def find_queries(arguments: Sequence[str | Path], *, kinds: Sequence[str], system: str) -> list[QueryFile]:
    """The files that are named, and those of any kind in use below the folders that are named.

    Args:
      arguments: files and folders. Of a folder, other files are left out, and hidden ones.
      kinds: that the index's system can embed.
      system: its name, for messages.

    Raises:
      DataError: with every file that is missing or of another kind, and every folder without queries.
    """
    can = ', '.join(f'{kind} ({" ".join(SUFFIXES[kind])})' for kind in kinds)
    found, problems = [], []
    for argument in map(Path, arguments):
        if argument.is_dir():
            files = [
                path
                for path in sorted(argument.rglob('*'))
                if path.is_file() and not any(part.startswith('.') for part in path.relative_to(argument).parts)
            ]
            queries = [QueryFile(path, kind) for path in files if (kind := kind_of(path)) in kinds]
            found += queries
            if not queries:
                problems.append(Problem(str(argument), 'no queries in it', f'give {can}'))
        elif not argument.exists():
            problems.append(Problem(str(argument), 'no such file', 'check the path'))
        elif (kind := kind_of(argument)) in kinds:
            found.append(QueryFile(argument, kind))
        else:
            what = f'a query of kind {kind!r}' if kind else f'a file of kind {argument.suffix!r}'
            problems.append(
                Problem(str(argument), f'{what}, which an index of a {system} run cannot embed', f'give {can}')
            )
    if problems:
        raise DataError(problems)
    return found


def find_masks(mask: str, queries: Sequence[QueryFile]) -> list[str | Path | None]:
    """The mask of every query.

    Args:
      mask: 'auto'; a file, for a single photo; a folder with a picture for each photo, of its name (whatever suffix);
        or '' for none.
      queries: those that are no photos have no mask.

    Raises:
      ConfigError: a file for several photos, or a mask without a photo.
      DataError: masks that are missing.
    """
    photos = [query for query in queries if query.kind == 'photo']
    if not mask:
        return [None] * len(queries)
    if not photos:
        raise ConfigError(f'--mask={mask}: there is no photo among the queries')
    if mask == 'auto':
        return ['auto' if query.kind == 'photo' else None for query in queries]
    path = Path(mask)
    if not path.is_dir():
        if len(photos) > 1:
            raise ConfigError(
                f'--mask={mask}: one mask for {len(photos)} photos; name a folder with one for each, of its name'
            )
        if not path.exists():
            raise DataError(Problem(mask, 'no such file', 'name a mask file, a folder of masks, or auto'))
        return [path if query.kind == 'photo' else None for query in queries]
    files = {file.stem: file for file in sorted(path.iterdir()) if file.suffix.lower() in PHOTO_SUFFIXES}
    missing = [
        Problem(str(query.path), f'no mask {query.path.stem}.* in {path}', 'add one, or leave the photo out')
        for query in photos
        if query.path.stem not in files
    ]
    if missing:
        raise DataError(missing)
    return [files[query.path.stem] if query.kind == 'photo' else None for query in queries]


def parse_box(text: str) -> Box:
    """'left,top,right,bottom' in pixels of the photo as displayed.

    Raises:
      ConfigError: not four numbers in order.
    """
    try:
        left, top, right, bottom = (float(part) for part in text.split(','))
    except ValueError:
        left = top = right = bottom = float('nan')
    if not (left < right and top < bottom):
        raise ConfigError(f'--box={text}: not left,top,right,bottom in pixels, such as 40,20,300,260')
    return left, top, right, bottom
