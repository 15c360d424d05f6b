"""Files that are asked with: which kind each is, folders of them, masks beside them, arrays of each. No JAX."""

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.files import printable
from jaxret.geometry.formats import DISTANCE_SUFFIXES, MESH_SUFFIXES, unread_format
from jaxret.geometry.places import locate
from jaxret.preprocessing.headings import query_shape_arrays, query_up_axis
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs
from jaxret.preprocessing.photo_formats import PHOTO_SUFFIXES
from jaxret.preprocessing.photos import Box, Mask, Photo, photo_arrays
from jaxret.preprocessing.points import POINT_SUFFIXES, has_faces

# Of every kind of query. A .ply file is a mesh if it has faces.
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    'photo': PHOTO_SUFFIXES,
    'mesh': MESH_SUFFIXES,
    'points': POINT_SUFFIXES,
    'scan': DISTANCE_SUFFIXES,
}


@dataclass(frozen=True)
class QueryFile:
    """A file to ask with, and its kind: 'photo', 'mesh', 'points' or 'scan'."""

    path: Path
    kind: str


def kind_of(path: Path) -> str | None:
    """The kind of query that a file's name, and for .ply its header, tells; None for none."""
    suffix, place = path.suffix.lower(), locate(path)
    if suffix == '.ply' and not place.member:
        return 'mesh' if has_faces(path) else 'points'
    if place.suffix in MESH_SUFFIXES:
        return 'mesh'
    return next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), None)


def find_queries(arguments: Sequence[str | Path], *, kinds: Sequence[str], system: str) -> list[QueryFile]:
    """The files that are named, and those of any kind in use below the folders that are named.

    Args:
      arguments: files and folders. Of a folder, hidden files are left out, and other ones with a warning.
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
                if not path.is_dir() and not any(part.startswith('.') for part in path.relative_to(argument).parts)
            ]
            queries = [QueryFile(path, kind) for path in files if (kind := kind_of(path)) in kinds]
            found += queries
            if not queries:
                problems.append(Problem(str(argument), 'no queries in it', f'give {can}'))
                unread = [(path, action) for path in files if (action := unread_format(path))]
                problems += [Problem(str(path), 'files of this format are not read', action) for path, action in unread]
            elif len(queries) < len(files):
                _tell_left_out(argument, {*files} - {query.path for query in queries})
        elif not locate(argument).exists():
            problems.append(Problem(str(argument), 'no such file', 'check the path'))
        elif (kind := kind_of(argument)) in kinds:
            found.append(QueryFile(argument, kind))
        else:
            what = f'a query of kind {kind!r}' if kind else f'a file of kind {argument.suffix!r}'
            action = unread_format(argument) or f'give {can}'
            model = 'the built-in model' if system == 'pretrained' else f'a {system} model'
            problems.append(Problem(str(argument), f'{what}, which an index of {model} cannot embed', action))
    if problems:
        raise DataError(problems)
    return found


def _tell_left_out(folder: Path, files: Collection[Path]) -> None:
    kinds = Counter(path.suffix.lower() or 'without suffix' for path in files)
    told = ', '.join(f'{count} {kind}' for kind, count in kinds.most_common())
    warnings.warn(printable(f'{folder}: files that this index is not asked with are left out: {told}'), stacklevel=3)


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
    path = Path(mask)
    if mask == 'auto':
        found = dict.fromkeys(photos, mask)
    elif path.is_dir():
        found = _masks_in_folder(path, photos)
    elif len(photos) > 1:
        raise ConfigError(
            f'--mask={mask}: one mask for {len(photos)} photos; name a folder with one for each, of its name'
        )
    elif not path.exists():
        raise DataError(Problem(mask, 'no such file', 'name a mask file, a folder of masks, or auto'))
    else:
        found = dict.fromkeys(photos, path)
    return [found.get(query) for query in queries]


def _masks_in_folder(folder: Path, photos: Sequence[QueryFile]) -> dict[QueryFile, Path]:
    """The picture of each photo's name. Raises DataError with those that are missing."""
    own = {photo.path.resolve() for photo in photos}
    files = {
        file.stem: file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in PHOTO_SUFFIXES and file.resolve() not in own
    }
    missing = [
        Problem(str(photo.path), f'no mask {photo.path.stem}.* in {folder}', 'add one, or leave the photo out')
        for photo in photos
        if photo.path.stem not in files
    ]
    if missing:
        raise DataError(missing)
    return {photo: files[photo.path.stem] for photo in photos}


def query_arrays(
    query: Photo,
    *,
    kind: str,
    inputs: PhotoInputs | ShapeInputs,
    mask: Mask = None,
    box: Box | None = None,
    up_axis: str | None = None,
) -> Mapping[str, np.ndarray]:
    """What a system takes of one query, without the batch axis.

    Args:
      query: file; a photo or a cloud may be an array.
      kind: 'photo', 'mesh', 'points' or 'scan'.
      inputs: of that kind.
      mask, box: of a photo, see `photo_arrays`.
      up_axis: axis that points up in meshes and clouds whose format does not say; None as in training, 'auto' guesses.

    Raises:
      DataError: the query, or its mask, cannot be used.
    """
    if kind == 'photo':
        return photo_arrays(query, inputs=inputs, mask=mask, box=box)
    axis = query_up_axis(query, kind=kind, up_axis=up_axis, inputs=inputs)
    return query_shape_arrays(query, kind=kind, inputs=inputs, up_axis=axis)


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
