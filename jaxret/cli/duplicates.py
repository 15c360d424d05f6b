"""The command `jaxret duplicates`: what it prints and writes."""

import argparse
import csv
import io
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from jaxret.cli.next_step import quoted, tell_next
from jaxret.errors import DataError, JaxretError, Problem, StorageError
from jaxret.files import printable, printable_lines, storage_errors, write_atomically
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import render_views
from jaxret.index.duplicate_groups import Evidence, Group
from jaxret.index.duplicates import Duplicates, ModelEntry, find_duplicates, folder_models, index_models
from jaxret.preprocessing.shape_pairs import CLASSES, MIRRORED, NEAR
from jaxret.preprocessing.shapes import THUMBNAIL
from jaxret.reports.cards import Card, Shown, Thumbnails
from jaxret.reports.duplicates import write_duplicates
from jaxret.reports.page import check_report_folder, report_folder

COLUMNS = (
    'group', 'class', 'id', 'like', 'like_class', 'distance', 'mean', 'factor', 'units', 'mirrored', 'mm', 'like_mm',
    'keep',
)  # fmt: skip
_INSIDE_OUT = 'inside out: its triangles look inwards'
_SHOWN_GROUPS, _SHOWN_MEMBERS, _PRINTED = 500, 8, 20


def run_duplicates(options: argparse.Namespace) -> int:
    """Finds duplicates and tells of them; returns the exit status.

    Raises:
      DataError: no models, or none of them usable, or a damaged index.
      StorageError: a file cannot be written.
    """
    _check_outputs(options)
    if options.index:
        models, problems = index_models(options.index), []
    else:
        models, problems = folder_models(options.models, up_axis=options.up_axis)
    found = find_duplicates(models, processes=options.processes, keep=options.keep)
    problems += found.problems
    if problems:
        print(printable_lines(f'warning: {DataError(problems)}'), file=sys.stderr)
    _print(found, options.keep)
    if options.json:
        content = {'groups': [group.to_json() for group in found.groups]}
        write_atomically(Path(options.json), json.dumps(content, indent=1, allow_nan=False) + '\n')
    if options.csv:
        write_atomically(Path(options.csv), _csv(found.groups).encode(errors='backslashreplace'))
    if options.out:
        page = _write_page(Path(options.out), found, problems, options.index or options.models)
        print(f'{page}: the groups in pictures')
    elif found.groups:
        named = f'--index {quoted(options.index)}' if options.index else f'--models {quoted(options.models)}'
        tell_next(f'jaxret duplicates {named} --out duplicates')
    return 0


def _check_outputs(options: argparse.Namespace) -> None:
    if options.out:
        check_report_folder(Path(options.out))
    for name in ('csv', 'json'):
        if (path := getattr(options, name)) and not Path(path).absolute().parent.is_dir():
            raise StorageError(f'--{name} {path}: no folder {Path(path).parent}; make it, or name another')


def told(one: Evidence) -> str:
    """How a member is like another, in words."""
    like = one.likeness
    parts = [like.kind]
    if like.kind == NEAR:
        parts[0] += f', largest distance {like.distance:.2%} of the size' + (', mirrored' if like.mirrored else '')
    if like.millimetres is not None and abs(like.millimetres[0] - like.millimetres[1]) > 1e-3 * like.millimetres[0]:
        parts.append(f'{like.millimetres[1]:.4g} mm, not {like.millimetres[0]:.4g} mm')
    elif like.millimetres is None and abs(like.factor - 1) > 1e-3:
        parts.append(f'{like.factor:.5g} times as large' + (f' ({one.units})' if one.units else ''))
    return '; '.join(parts + [_INSIDE_OUT] * one.inside_out)


def _print(found: Duplicates, keep: bool) -> None:
    table = Table('class', 'groups with it', 'models')
    for kind, groups, models in _counts(found.groups):
        table.add_row(kind, str(groups), str(models))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(f'{_number(len(found.models), "model")} compared', highlight=False)
    console.print(table)
    for group in found.groups[:_PRINTED]:
        print(f'\n{group.kind}: {printable(group.members[0])}' + f'  ({_INSIDE_OUT})' * group.inside_out)
        for one in group.evidence[:_PRINTED]:
            like = '' if one.like == group.members[0] else f' as {printable(one.like)}'
            print(f'  {printable(one.id)}  ({told(one)}{like})')
        if left := len(group.evidence) - _PRINTED:
            print(f'  ... and {left} more' if left > 0 else '', end='\n' if left > 0 else '')
        if keep and group.keep:
            print(f'  keep {printable(", ".join(group.keep))}' + ' (one of each size)' * (len(group.keep) > 1))
    if left := max(0, len(found.groups) - _PRINTED):
        print(f'\n... and {_number(left, "more group")}; --csv, --json and --out give all')


def _counts(groups: Sequence[Group]) -> list[tuple[str, int, int]]:
    """Of each class how many groups have a member that is so to another, and how many models are so."""
    counts = []
    for kind in CLASSES:
        having = [[one for one in group.evidence if one.likeness.kind == kind] for group in groups]
        models = {id for some in having for one in some for id in (one.id, one.like)}
        counts.append((kind, sum(map(bool, having)), len(models)))
    return counts


def _csv(groups: Sequence[Group]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(COLUMNS)
    for number, group in enumerate(groups, start=1):
        kept = [('keep' if id in group.keep else '') for id in group.members]
        writer.writerow([number, group.kind, group.members[0], *[''] * (len(COLUMNS) - 4), kept[0]])
        for one, keep in zip(group.evidence, kept[1:], strict=True):
            like = one.likeness
            sizes = ['', ''] if like.millimetres is None else [f'{x:.6g}' for x in like.millimetres[::-1]]
            numbers = [f'{like.distance:.6f}', f'{like.mean:.6f}', f'{like.factor:.6g}']
            mirrored = 'yes' if like.mirrored else ''
            writer.writerow(
                [number, group.kind, one.id, one.like, like.kind, *numbers, one.units, mirrored, *sizes, keep]
            )
    return buffer.getvalue()


def _write_page(folder: Path, found: Duplicates, problems: Sequence[Problem], where: str) -> Path:
    entries = {model.id: model for model in found.models}
    with report_folder(folder) as thumbnails, storage_errors(folder):
        sheet: dict[str, list[Card]] = defaultdict(list)
        for group in found.groups[:_SHOWN_GROUPS]:
            sheet[group.kind].append(_card(group, entries, thumbnails))
        counts = [
            (kind, f'{_number(models, "model")} in {_number(groups, "group")}')
            for kind, groups, models in _counts(found.groups)
        ]
        return write_duplicates(
            folder,
            sheet,
            counts=[('models', str(len(found.models))), *counts],
            groups_left=max(0, len(found.groups) - _SHOWN_GROUPS),
            skipped=[str(problem) for problem in problems],
            provenance={'models': where},
        )


def _number(count: int, name: str) -> str:
    return f'{count} {name}' + 's' * (count != 1)


def _card(group: Group, entries: dict[str, ModelEntry], thumbnails: Thumbnails) -> Card:
    def shown(id: str, caption: str) -> Shown:
        kept = 'keep: ' if id in group.keep else ''
        return Shown(_picture(entries[id], thumbnails), id, kept + id + caption)

    first = group.members[0]
    answers = [shown(one.id, f': {told(one)}') for one in group.evidence[:_SHOWN_MEMBERS]]
    return Card(
        'unjudged',
        _verdict(group),
        ', '.join(group.members),
        [shown(first, f': {_INSIDE_OUT}' * group.inside_out)],
        answers,
    )


def _verdict(group: Group) -> str:
    if group.kind in (MIRRORED, NEAR):
        return f'{group.kind}: {len(group.members) - 1}'
    return f'{len(group.members)} equal'


def _picture(model: ModelEntry, thumbnails: Thumbnails) -> str:
    """Of an index the one that is there, else made now; grey where the file cannot be read any more."""
    try:
        stored = model.thumbnail()
        if stored is not None:
            array = np.asarray(Image.open(io.BytesIO(stored)).convert('L'))
        else:
            array = render_views(load_mesh(model.path, up_axis=model.up_axis), THUMBNAIL)[0]
    except (JaxretError, OSError, ValueError):
        array = np.full((THUMBNAIL.size, THUMBNAIL.size), 128, np.uint8)
    return thumbnails.store(array, 'view')
