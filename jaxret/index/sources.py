"""The folders that an index is made of: their models, which must have different ids, and their broken files."""

import csv
import dataclasses
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jaxret.errors import ConfigError, DataError, Problem
from jaxret.files import check_regular, write_atomically
from jaxret.geometry.up_axis import AUTO, stated_axis
from jaxret.index.files import FAILED, Manifest, Source
from jaxret.index.model_files import ModelFile, file_mark, find_models, read_categories
from jaxret.index.shards import GIVEN, STATED, ShapeRow
from jaxret.preprocessing.shapes import ShapeInputs


@dataclass(frozen=True)
class FoundModel:
    """A model's file.

    Attributes:
      file: where it is.
      source: which of the folders it is in.
      up_axis, axis_from: as of a `ShapeRow`; '' where nothing says which it is.
      mark: what it was when it was found (`file_mark`).
    """

    file: ModelFile
    source: int
    up_axis: str
    axis_from: str
    mark: list[int]


def resolve_sources(
    manifest: Manifest | None,
    folder: Path,
    models: Path | str | None,
    up_axis: str | None,
    categories: Path | str | None,
    parts: bool | None,
    *,
    add: bool,
    rebuild: bool,
) -> tuple[list[Source], set[int]]:
    """The folders of models from now on, and which of them are looked through.

    Args:
      manifest: of the index as it is; None for a new one.
      folder: of the index, for messages.
      models: folder of models; None for all that the index has.
      up_axis, categories, parts: of that folder; None as before.
      add: it may be a further one.
      rebuild: it takes the place of all others, where `add` is not given too.

    Raises:
      ConfigError: `models` is missing, or a further folder without `add`, or a folder of the index is gone.
    """
    sources = _stored(manifest)
    if models is None:
        _refuse_all(sources, folder, named=bool(up_axis or categories or parts is not None))
        return sources, set(range(len(sources)))
    place, table = os.path.abspath(models), os.path.abspath(categories) if categories else ''
    number = next((number for number, source in enumerate(sources) if source.folder == place), len(sources))
    before = [*sources, Source(place, AUTO, '')][number]
    if number == len(sources) and not add and not rebuild:
        _refuse_further(sources, folder, place)
    chosen = Source(
        place, up_axis or before.up_axis, table or before.categories, before.parts if parts is None else parts
    )
    if rebuild and not add:
        return [chosen], {0}
    sources[number : number + 1] = [chosen]
    return sources, set(range(len(sources))) if rebuild else {number}


def _stored(manifest: Manifest | None) -> list[Source]:
    """The folders of an index; none of a new one."""
    stored = manifest.sources if manifest else ()
    return [dataclasses.replace(source, folder=os.path.normpath(source.folder)) for source in stored]


def _refuse_all(sources: Sequence[Source], folder: Path, *, named: bool) -> None:
    """Raises ConfigError where an index has no folders or some are gone; or where options that need one are `named`."""
    if not sources:
        raise ConfigError('--models is missing; name the folder with models')
    if named:
        raise ConfigError('--up-axis, --categories and --parts belong to a folder; name it with --models')
    if gone := _gone(sources):
        raise ConfigError(
            f'{folder} is an index of {", ".join(gone)}, which is no longer there; use --rebuild '
            f'--models DIR to make it of DIR alone'
        )


def _refuse_further(sources: Sequence[Source], folder: Path, place: str) -> None:
    """Raises ConfigError where an index has other folders already."""
    if not sources:
        return
    gone = _gone(sources)
    if len(gone) == len(sources):
        raise ConfigError(
            f'{folder} is an index of {", ".join(gone)}, which is no longer there; add --rebuild to make '
            f'it of {place} alone, or name another --out'
        )
    raise ConfigError(
        f'{folder} is an index of {", ".join(source.folder for source in sources)}; add --add to '
        f'have {place} in it too, --rebuild to have it alone, or name another --out'
    )


def _gone(sources: Sequence[Source]) -> list[str]:
    return [source.folder for source in sources if not os.path.isdir(source.folder)]


def find_files(
    sources: Sequence[Source],
    scanned: set[int],
    inputs: ShapeInputs,
    parts: Callable[[int, Sequence[ModelFile]], list[ModelFile]],
    *,
    tell: Callable[[str], None],
) -> tuple[list[FoundModel], list[Problem], int]:
    """Files of the folders, what is wrong with the folders, and lines of categories without a file.

    Args:
      sources: all folders.
      scanned: numbers of those that are looked through.
      inputs: what is made of a model.
      parts: gives the parts of the files of a folder, by its number.
      tell: takes a line for people about files that are not read.

    Raises:
      DataError: a folder that is missing or has no models, or categories that cannot be read.
    """
    found, problems, without_file = [], [], 0
    for number in sorted(scanned):
        source = sources[number]
        told = read_categories(Path(source.categories)) if source.categories else {}
        below = find_models(Path(source.folder), inputs.suffixes)
        files, wrong = below.models, [*below.problems, *below.unread]
        if not files:
            kinds = f'it takes {" ".join(inputs.suffixes)}'
            raise DataError([Problem(source.folder, 'no models in it', kinds), *wrong])
        if line := below.told(source.folder, FAILED):
            tell(line)
        named = {file.id for file in files}
        files = parts(number, files) if source.parts else files
        named |= {file.id for file in files}
        named |= {str(folder) for name in named for folder in PurePosixPath(name).parents}
        without_file += len(told.keys() - named)
        for file in files:
            category, given = _told(file, told)
            mark = file_mark(file.path, textured=inputs.textured)
            axis = _told_axis(file.path, given or source.up_axis, given=bool(given))
            found.append(FoundModel(dataclasses.replace(file, category=category), number, *axis, mark))
        problems += wrong
    return found, problems, without_file


def _told(file: ModelFile, told: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Category and up axis of a model by a CSV file: of its own line, else of the nearest of the folders above it."""
    lines = [told[str(place)] for place in (file.id, *PurePosixPath(file.id).parents) if str(place) in told]
    category = told[file.id][0] if file.id in told else next((line[0] for line in lines if line[0]), file.category)
    return category, next((line[1] for line in lines if line[1]), '')


def _told_axis(path: Path, axis: str, *, given: bool) -> tuple[str, str]:
    """The axis that points up in a model, and how that is known.

    Args:
      path: of the model.
      axis: `given` of this very model; else what is said of its folder.
    """
    if not given and (stated := stated_axis(path)):
        return stated, STATED
    return ('', '') if axis == AUTO else (axis, GIVEN)


def check_ids(found: Sequence[FoundModel], rows: Sequence[ShapeRow], sources: Sequence[Source]) -> None:
    """Raises DataError where two folders have a model of one id."""
    seen = {row.id: row.source for row in rows}
    twice = []
    for item in found:
        if seen.setdefault(item.file.id, item.source) != item.source:
            twice.append(
                Problem(
                    str(item.file.path),
                    f'{sources[seen[item.file.id]].folder} has a model of this name',
                    'rename one of the folders in their paths, or index them apart',
                )
            )
    if twice:
        raise DataError(twice)


def below(path: Path | str, folders: Sequence[str]) -> bool:
    """Whether a path is in one of the folders."""
    return any(Path(path).is_relative_to(folder) for folder in folders)


def write_failed(folder: Path, problems: Sequence[Problem], sources: Sequence[Source], scanned: set[int]) -> None:
    """failed.csv: problems of the folders just looked through; lines of the index's other folders stay."""
    looked = [source.folder for number, source in enumerate(sources) if number in scanned]
    others = [source.folder for number, source in enumerate(sources) if number not in scanned]
    lines = [line for line in read_failed(folder) if below(line[0], others) and not below(line[0], looked)]
    lines += [(problem.where, f'{problem.found}; {problem.action}') for problem in problems]
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator='\n').writerows([('path', 'reason'), *sorted(lines)])
    write_atomically(folder / FAILED, buffer.getvalue().encode(errors='backslashreplace'))


def read_failed(folder: Path) -> list[tuple[str, str]]:
    """Path and reason of the files that could not be used; empty where there is no list."""
    try:
        check_regular(folder / FAILED)
        with (folder / FAILED).open(newline='', encoding='utf-8') as file:
            return [(row[0], row[1]) for row in list(csv.reader(file))[1:] if len(row) == 2]
    except (OSError, ValueError, csv.Error):
        return []
