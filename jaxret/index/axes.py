"""Which axis points up in the models of an index, where neither the user nor their format says so.

What the models of a folder agree on (`jaxret.geometry.up_axis`) holds for all of them; where nothing tells, it is that
of the training. What is once settled stays while the file is the same; `jaxret index --rebuild` guesses anew.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from jaxret.errors import DataError
from jaxret.geometry.up_axis import Guess, agreed_axis, folder_axes, guess_file_axis
from jaxret.index.shards import DEFAULT, GIVEN, GUESSED, STATED, ShapeRow
from jaxret.index.sources import FoundModel
from jaxret.preprocessing.shapes import ShapeInputs, file_checksum
from jaxret.workers import map_parallel, reading_memory

_SAMPLE = 256  # models that speak for a folder; where they do not agree, all are asked
_TOLD = {GIVEN: 'as given', STATED: 'by format', GUESSED: 'guessed', DEFAULT: 'by default', '': 'as given'}


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
    guess = partial(_guesses, processes=processes, progress=progress)
    for source in sorted({item.source for item in settled}):
        own, parts = _wholes([number for number, item in enumerate(settled) if item.source == source], settled)
        open_ones = [number for number in own if not settled[number].axis_from]
        guesses = {number: (settled[number].up_axis, 1.0) for number in own if settled[number].axis_from == GUESSED}
        sample = open_ones[:: -(-len(open_ones) // _SAMPLE) or 1]
        guesses |= guess(settled, sample)
        if agreed_axis(guesses.values()) is None and len(sample) < len(open_ones):
            guesses |= guess(settled, sorted({*open_ones} - {*sample}))
        axes = folder_axes([settled[number].file.id for number in own], [guesses.get(number) for number in own])
        for number, axis in zip(own, axes, strict=True):
            if not settled[number].axis_from:
                known = (axis, GUESSED) if axis else (inputs.up_axis, DEFAULT)
                settled[number] = replace(settled[number], up_axis=known[0], axis_from=known[1])
        for part, whole in parts.items():
            if not settled[part].axis_from:
                known = settled[whole].up_axis, settled[whole].axis_from
                settled[part] = replace(settled[part], up_axis=known[0], axis_from=known[1])
    return settled


def _wholes(numbers: Sequence[int], models: Sequence[FoundModel]) -> tuple[list[int], dict[int, int]]:
    """The numbers of models that are no parts of others, and of each part the whole in whose axes it lies."""
    number_of = {models[number].file.id: number for number in numbers}
    wholes, parts = [], {}
    for name, number in number_of.items():
        above = [number_of[str(place)] for place in PurePosixPath(name).parents if str(place) in number_of]
        if above:
            parts[number] = above[-1]
        else:
            wholes.append(number)
    return wholes, parts


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
    return item.axis_from == STATED and not row.axis_from


def _same(item: FoundModel, row: ShapeRow, *, textured: bool) -> bool:
    """Whether a model's file has the content that it had."""
    if item.mark and item.mark == row.mark:
        return True
    try:
        return file_checksum(item.file.path, textured=textured) == row.checksum
    except DataError:  # said where it is embedded
        return False


def _guesses(
    found: Sequence[FoundModel], numbers: Sequence[int], *, processes: int | None, progress: bool
) -> dict[int, Guess]:
    """Guesses of some models; none of those that cannot be read, which is said where they are embedded."""
    results = map_parallel(
        guess_file_axis,
        [found[number].file.path for number in numbers],
        processes=processes,
        serial_below=1,  # a file that crashes, hangs or asks for all memory costs only itself
        memory=reading_memory(processes),
        progress='Guessing which axis points up' if progress else None,
    )
    return {numbers[place]: guess for place, guess in results if not isinstance(guess, DataError)}


def how_known(row: ShapeRow) -> str:
    """How the axis of a model is known, in words."""
    return _TOLD[row.axis_from]


def told_axes(rows: Iterable[ShapeRow]) -> str:
    """Up axes in words: '12 y by format, 180 z guessed'."""
    counts = Counter((row.up_axis, how_known(row)) for row in rows)
    return ', '.join(f'{count} {axis} {how}' for (axis, how), count in sorted(counts.items()))
