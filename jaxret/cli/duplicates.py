"""The command `jaxret duplicates`: what it prints and writes."""

import argparse
import csv
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from jaxret.errors import DataError, JaxretError, Problem
from jaxret.files import printable, printable_lines, storage_errors, write_atomically
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import render_views
from jaxret.index.duplicates import (
    Duplicates,
    Evidence,
    Group,
    ModelEntry,
    find_duplicates,
    folder_models,
    index_models,
)
from jaxret.preprocessing.shape_pairs import CLASSES, MIRRORED, NEAR
from jaxret.preprocessing.shapes import THUMBNAIL
from jaxret.reports.cards import Card, Shown, Thumbnails
from jaxret.reports.duplicates import write_duplicates
from jaxret.reports.page import report_folder

COLUMNS = (
    'group', 'class', 'id', 'like', 'like_class', 'distance', 'mean', 'factor', 'units', 'mirrored', 'mm', 'like_mm',
    'keep',
)  # fmt: skip
_SHOWN_GROUPS, _SHOWN_MEMBERS, _PRINTED = 500, 8, 20


def run_duplicates(options: argparse.Namespace) -> int:
    """Finds duplicates and tells of them; returns the exit status.

    Raises:
      DataError: no models, or none of them usable, or a damaged index.
      StorageError: a file cannot be written.
    """
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
    return 0


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
    return '; '.join(parts)


def _print(found: Duplicates, keep: bool) -> None:
    counts = Counter(group.kind for group in found.groups)
    members = Counter({kind: sum(len(g.members) for g in found.groups if g.kind == kind) for kind in counts})
    table = Table('class', 'groups', 'models')
    for kind in CLASSES:
        table.add_row(kind, str(counts[kind]), str(members[kind]))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(f'{len(found.models)} models compared', highlight=False)
    console.print(table)
    for group in found.groups[:_PRINTED]:
        print(f'\n{group.kind}: {printable(group.members[0])}')
        for one in group.evidence[:_PRINTED]:
            like = '' if one.like == group.members[0] else f' as {printable(one.like)}'
            print(f'  {printable(one.id)}  ({told(one)}{like})')
        if left := len(group.evidence) - _PRINTED:
            print(f'  ... and {left} more' if left > 0 else '', end='\n' if left > 0 else '')
        if keep and group.keep:
            print(f'  keep {printable(group.keep)}')
    if left := max(0, len(found.groups) - _PRINTED):
        print(f'\n... and {left} more groups; --csv, --json and --out give all')


def _csv(groups: Sequence[Group]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator='\n')
    writer.writerow(COLUMNS)
    for number, group in enumerate(groups, start=1):
        kept = [('keep' if id == group.keep else '') for id in group.members]
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
        counts = [(kind, f'{sum(g.kind == kind for g in found.groups)} groups') for kind in CLASSES]
        return write_duplicates(
            folder,
            sheet,
            counts=[('models', str(len(found.models))), *counts],
            groups_left=max(0, len(found.groups) - _SHOWN_GROUPS),
            skipped=[str(problem) for problem in problems],
            provenance={'models': where},
        )


def _card(group: Group, entries: dict[str, ModelEntry], thumbnails: Thumbnails) -> Card:
    def shown(id: str, caption: str) -> Shown:
        kept = 'keep: ' if id == group.keep else ''
        return Shown(_picture(entries[id], thumbnails), id, kept + caption)

    first = group.members[0]
    answers = [shown(one.id, told(one)) for one in group.evidence[:_SHOWN_MEMBERS]]
    return Card('unjudged', _verdict(group), ', '.join(group.members), [shown(first, first)], answers)


def _verdict(group: Group) -> str:
    if group.kind in (MIRRORED, NEAR):
        return f'{group.kind}: {len(group.members) - 1}'
    return f'{len(group.members)} {"keep " + group.keep if group.keep else "equal"}'


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
