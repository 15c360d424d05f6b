"""Known photos of an index's models on the command line: `jaxret index --add-photos` and `jaxret photos`."""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxret.cli.next_step import quoted, tell_next
from jaxret.errors import ConfigError, DataError, Problem
from jaxret.files import printable
from jaxret.index.files import FIT, held_table, read_manifest
from jaxret.index.photo_lists import PhotoLine, read_photo_list
from jaxret.index.references import Photo, Reference, References, new_session

_FIELDS = ('number', 'model', 'photo', 'origin', 'added', 'state')


def added_alone(options: argparse.Namespace, *, before_jax: Callable[[], None]) -> bool:
    """Adds the photos of --add-photos where `jaxret index` is to do nothing else; else only reads their list.

    Raises:
      ConfigError: with options that would have no effect.
      DataError: with everything that is wrong with the list.
      CheckpointError: the model of the index is not there.
    """
    alone = options.models is None and not options.rebuild
    if not alone:
        read_photo_list(Path(options.add_photos))
        return False
    others = {'--add': options.add, '--up-axis': options.up_axis, '--categories': options.categories}
    others |= {'--model': options.model, '--gallery': options.gallery, '--cluster': options.cluster}
    others |= {'--parts or --no-parts': options.parts is not None}
    if given := [name for name, value in others.items() if value]:
        raise ConfigError(f'{", ".join(given)} with --add-photos but without --models: name the folder of models too')
    lines = _checked_list(options)
    before_jax()
    from jaxret.index.loading import load_for_index

    add_photos(options, load_for_index(read_manifest(Path(options.out)), options.checkpoint), lines)
    return True


def _checked_list(options: argparse.Namespace) -> list[PhotoLine]:
    with held_table(Path(options.out)) as (_, rows):
        return read_photo_list(Path(options.add_photos), models={row.id for row in rows})


def add_photos(options: argparse.Namespace, model: Any, lines: Sequence[PhotoLine] | None = None) -> None:
    """Adds the photos of --add-photos to the index --out, all or none; says how many.

    Args:
      options: of `jaxret index`.
      model: of the index.
      lines: of the list; None to read it, with errors as `added_alone`.
    """
    from jaxret.index.teaching import prepare_photos

    lines = lines or _checked_list(options)
    photos = prepare_photos(
        model,
        [(line.photo, line.mask, line.box) for line in lines],
        [line.name for line in lines],
        processes=options.processes,
        progress=True,
    )
    taught = [(line.model, photo) for line, photo in zip(lines, photos, strict=True)]
    _check_no_two_models(taught)
    references = References(Path(options.out))
    new = references.add(taught, key=model.fingerprint, origin='csv', session=new_session())
    references.close()
    before = f'; {len(lines) - len(new)} were known before' if len(new) < len(lines) else ''
    print(f'{options.out}: {len(new)} photos of {len({line.model for line in lines})} models added{before}')


def _check_no_two_models(taught: Sequence[tuple[str, Photo]]) -> None:
    """Raises DataError for photos that a list has under several names, for several models."""
    problems, first = [], {}
    for model, photo in taught:
        before, name = first.setdefault(photo.sha256, (model, photo.name))
        if before != model:
            found = f'the same photo as {name!r}, which shows {before!r}; here {model!r}'
            problems.append(Problem(f'photo {photo.name!r}', found, 'leave one out'))
    if problems:
        raise DataError(problems)


def run_photos(options: argparse.Namespace) -> int:
    """The command `jaxret photos`: lists the known photos of an index, removes some, or takes back the last ones."""
    folder = Path(options.index)
    with held_table(folder) as (manifest, rows):
        ids = {row.id for row in rows}
    references = References(folder)
    if options.remove:
        count = references.remove(_chosen(options.remove, references.rows()))
        print(f'{options.index}: {count} photos removed')
    elif options.undo:
        _print(options, [(row, 'taken back') for row in references.undo()])
    else:
        waiting = set(references.without_embedding(manifest.fingerprint))
        _print(options, [(row, _state(row, ids, waiting)) for row in references.rows()])
    references.close()
    tell_of_fit(folder)
    if not (options.json or options.csv):
        after_photos(folder)
    return 0


def after_photos(folder: Path) -> None:
    """Says what comes after known photos: an index of the built-in model can learn of them. Raises DataError: none."""
    learns = read_manifest(folder).parts is not None
    tell_next(f'jaxret fit --index {quoted(folder)}' if learns else f'jaxret search --index {quoted(folder)} QUERY')


def tell_of_fit(folder: Path) -> None:
    """Says on stderr where `jaxret fit` should be run again for an index. Raises DataError: something is damaged."""
    if not (folder / FIT).exists():
        return
    from jaxret.index.fit_file import outdated

    with held_table(folder) as (manifest, rows), contextlib.closing(References(folder)) as references:
        ids, waiting = {row.id for row in rows}, set(references.without_embedding(manifest.fingerprint))
        count = sum(not _state(row, ids, waiting) for row in references.rows())
    if told := outdated(folder, manifest, count):
        print(f'note: {told}', file=sys.stderr)


def _state(row: Reference, ids: set[str], waiting: set[int]) -> str:
    """Why a reference does not count; '' where it does."""
    if row.model is None:
        return 'shows none of the models'
    if row.model not in ids:
        return 'its model is gone'
    return 'not embedded by the model of the index' if row.number in waiting else ''


def _chosen(arguments: Sequence[str], rows: Sequence[Reference]) -> list[int]:
    """Numbers of the references that are named: by number, or by a CSV file as --add-photos takes it.

    Raises:
      DataError: with everything that names none.
    """
    known, chosen, problems = {row.number for row in rows}, [], []
    numbers: dict[tuple[str, str | None], list[int]] = {}
    for row in rows:
        numbers.setdefault((row.photo, row.model), []).append(row.number)
    for argument in arguments:
        if not argument.isdecimal():
            for line in read_photo_list(Path(argument), files=False):
                found = numbers.get((line.name, line.model), [])
                chosen += found
                if not found:
                    where = f'{argument}: photo {line.name!r} of {line.model!r}'
                    problems.append(Problem(where, 'not among the known photos', '`jaxret photos` lists them'))
        elif int(argument) in known:
            chosen.append(int(argument))
        else:
            problems.append(Problem(f'photo {argument}', 'no such number', '`jaxret photos` lists them'))
    if problems:
        raise DataError(problems)
    return chosen


def _print(options: argparse.Namespace, rows: Sequence[tuple[Reference, str]]) -> None:
    values = [asdict(row) | {'state': state} for row, state in rows]
    if options.json:
        print(json.dumps([{name: value[name] for name in _FIELDS} for value in values], indent=1))
        return
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator='\n')
        writer.writerows([_FIELDS, *([value[name] for name in _FIELDS] for value in values)])
        return
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:  # a log file has no width of its own
        console = Console(width=200, markup=False, emoji=False, highlight=False)
    table = Table(box=None, pad_edge=False)
    for name in _FIELDS:
        table.add_column(name, justify='right' if name == 'number' else 'left', overflow='fold')
    for value in values:
        table.add_row(*(printable(str(value[name] or '')) for name in _FIELDS))
    console.print(table if rows else 'no photos')
