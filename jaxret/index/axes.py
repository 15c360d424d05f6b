"""Which axis points up in the models of an index, where neither the user nor their format says so.

What the models of a folder agree on (`jaxret.geometry.up_axis`) holds for all of them; where nothing tells, it is that
of the training. What is once settled stays while the file is the same; `jaxret index --rebuild` guesses anew.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path

from jaxret.errors import DataError
from jaxret.geometry.places import locate
from jaxret.geometry.up_axis import Guess, agreed_axis, folder_axes, guess_file_axis
from jaxret.index.model_files import ModelFile
from jaxret.index.shards import BEFORE, DEFAULT, GIVEN, GUESSED, STATED, ShapeRow
from jaxret.index.sources import FoundModel
from jaxret.preprocessing.shapes import ShapeInputs, file_checksum
from jaxret.workers import map_parallel, reading_memory

_SAMPLE = 1000  # models that speak for a folder; where they do not agree, all are asked
_TOLD = {GIVEN: 'as given', STATED: 'by format', GUESSED: 'guessed', DEFAULT: 'by default', BEFORE: 'as given'}


def settle_axes(
    found: Sequence[FoundModel], rows: Sequence[ShapeRow], inputs: ShapeInputs, *, processes: int | None, progress: bool
) -> list[FoundModel]:
    """The models, each with its axis.

    Args:
      found: models as they are now.
      rows: of the index as it is.
      inputs: what is made of a model; its axis is that of models of which nothing tells.
      processes: that read models; None takes one a core.
      progress: show a progress bar.
    """
    settled = _as_before(found, rows, textured=inputs.textured)
    before = {number for number, item in enumerate(settled) if item.axis_from}
    for source in sorted({item.source for item in settled}):
        wholes: dict[str, list[int]] = {}
        for number, item in enumerate(settled):
            if item.source == source:
                wholes.setdefault(_whole(item.file)[0], []).append(number)
        axes = _axes(wholes, settled, processes=processes, progress=progress)
        for name, number in ((name, number) for name, numbers in wholes.items() for number in numbers):
            if not settled[number].axis_from:
                axis, known = (axes[name], GUESSED) if axes[name] else (inputs.up_axis, DEFAULT)
                settled[number] = replace(settled[number], up_axis=axis, axis_from=known)
    return _alike_copies(settled, before)


def _alike_copies(models: Sequence[FoundModel], before: Set[int]) -> list[FoundModel]:
    """The models, guessed copies of one content with one axis: what is given, else what was settled before, else what
    most of them are guessed to have."""
    axes: dict[tuple[int, ...], set[str]] = {}
    for item in models:
        axes.setdefault(tuple(item.mark[::2]), set()).add(item.up_axis)  # by sizes of files
    copies: dict[str, list[int]] = {}
    for number, item in enumerate(models):
        if len(axes[tuple(item.mark[::2])]) > 1 and item.axis_from != STATED:
            with contextlib.suppress(DataError):  # said where it is embedded
                copies.setdefault(file_checksum(_whole(item.file)[1]), []).append(number)
    result = list(models)
    for numbers in copies.values():
        guessed = [number for number in numbers if models[number].axis_from in (GUESSED, DEFAULT)]
        groups = (
            {*numbers} - {*guessed},
            before & {*numbers},
            {number for number in numbers if models[number].axis_from == GUESSED},
            {*numbers},
        )
        speaking = sorted(next(filter(None, groups)))
        ((axis, _),) = Counter(models[number].up_axis for number in speaking).most_common(1)
        for number in guessed:
            if models[number].up_axis != axis:
                result[number] = replace(models[number], up_axis=axis, axis_from=GUESSED)
    return result


def _axes(
    wholes: Mapping[str, Sequence[int]], models: Sequence[FoundModel], *, processes: int | None, progress: bool
) -> dict[str, str | None]:
    """The axis of each file of a folder, as far as anything tells; the parts of an assembly lie in its axes.

    Args:
      wholes: ids of the files, each with the numbers of its models.
      models: of all folders.
      processes, progress: as for `settle_axes`.
    """
    guesses = {
        name: (models[number].up_axis, 1.0)
        for name, numbers in wholes.items()
        for number in numbers
        if models[number].axis_from == GUESSED
    }
    waiting = [
        name
        for name, numbers in wholes.items()
        if name not in guesses and any(not models[number].axis_from for number in numbers)
    ]
    guess = partial(_guesses, models, wholes, processes=processes, progress=progress)
    sample = waiting[:: -(-len(waiting) // _SAMPLE) or 1]
    guesses |= guess(sample)
    if agreed_axis(guesses.values()) is None:
        guesses |= guess(sorted({*waiting} - {*sample}))
    return dict(zip(wholes, folder_axes(list(wholes), [guesses.get(name) for name in wholes]), strict=True))


def _whole(file: ModelFile) -> tuple[str, Path]:
    """Id and path of the file, or the member of an archive, that a model is or is a part of."""
    part = locate(file.path).part
    return (file.id[: -len(part) - 1], Path(str(file.path)[: -len(part) - 1])) if part else (file.id, file.path)


def _as_before(found: Sequence[FoundModel], rows: Sequence[ShapeRow], *, textured: bool) -> list[FoundModel]:
    """The models, those that are the same as before with their axis."""
    before = {(row.source, row.id): row for row in rows}

    def kept(item: FoundModel) -> FoundModel:
        row = before.get((item.source, item.file.id))
        if row is None or not _stays(item, row) or not _same(item, row, textured=textured):
            return item
        return replace(item, up_axis=row.up_axis, axis_from=row.axis_from)

    return [kept(item) for item in found]


def _stays(item: FoundModel, row: ShapeRow) -> bool:
    """Whether a model that is the same keeps its axis: guessed before and open now; or as an earlier version had it."""
    if not item.axis_from:
        return row.axis_from in (GUESSED, DEFAULT)
    return (item.axis_from, row.axis_from) == (STATED, BEFORE)


def _same(item: FoundModel, row: ShapeRow, *, textured: bool) -> bool:
    """Whether a model's file has the content that it had."""
    if item.mark and item.mark == row.mark:
        return True
    try:
        return file_checksum(item.file.path, textured=textured) == row.checksum
    except DataError:  # said where it is embedded
        return False


def _guesses(
    models: Sequence[FoundModel],
    wholes: Mapping[str, Sequence[int]],
    names: Sequence[str],
    *,
    processes: int | None,
    progress: bool,
) -> dict[str, Guess]:
    """Guesses of some of the files; none of those that cannot be read, which is said where they are embedded."""
    results = map_parallel(
        guess_file_axis,
        [_whole(models[wholes[name][0]].file)[1] for name in names],
        processes=processes,
        serial_below=1,  # a file that crashes, hangs or asks for all memory costs only itself
        memory=reading_memory(processes),
        progress='Guessing which axis points up' if progress else None,
    )
    return {names[place]: guess for place, guess in results if not isinstance(guess, DataError)}


def how_known(row: ShapeRow) -> str:
    """How the axis of a model is known, in words."""
    return _TOLD[row.axis_from]


def told_axes(rows: Iterable[ShapeRow]) -> str:
    """Up axes in words: '12 y by format, 180 z guessed'."""
    counts = Counter((row.up_axis, how_known(row)) for row in rows)
    return ', '.join(f'{count} {axis} {how}' for (axis, how), count in sorted(counts.items()))
