"""The command `jaxret search`: what it prints and draws."""

import argparse
import contextlib
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxret.errors import ConfigError, DataError, Problem, StorageError
from jaxret.files import printable, printable_lines
from jaxret.index.files import read_manifest
from jaxret.inference.query_files import Box, QueryFile, find_masks, find_queries, parse_box
from jaxret.preprocessing.auto_mask import can_mask

FIELDS = ('rank', 'id', 'category', 'score', 'view', 'azimuth')


def run_search(options: argparse.Namespace, *, before_jax: Callable[[], None]) -> int:
    """Checks everything that needs no model, then embeds, searches, prints.

    Queries that turn out to be broken are listed on stderr, and the others are answered.

    Returns:
      the exit status: 1 if a query was broken.

    Raises:
      DataError: no query can be used, or some are not there.
      ConfigError: options that do not go together.
      CheckpointError: the run of the index is not there, or has other weights.
      StorageError: the sheet cannot be written.
    """
    manifest = read_manifest(Path(options.index))
    queries = find_queries(options.queries, kinds=manifest.query_kinds, system=manifest.system)
    masks = find_masks(options.mask, queries)
    box = parse_box(options.box) if options.box else None
    if box and not any(query.kind == 'photo' for query in queries):
        raise ConfigError(f'--box={options.box}: there is no photo among the queries')
    if options.mask == 'auto' and not can_mask():
        raise ConfigError("--mask auto needs OpenCV: pip install 'jaxret[mask]'; or give a mask file, a box or none")
    if options.sheet is not None:
        _check_sheet(options.sheet)
    if not options.database and (options.collection or options.candidates):
        raise ConfigError('--collection and --candidates go with --database')
    before_jax()
    from jaxret.index.index import Index, load_for_index

    with contextlib.ExitStack() as stack:
        database = None
        if options.database:
            from jaxret.index.milvus import COLLECTION
            from jaxret.index.milvus_search import DatabaseSearch

            database = stack.enter_context(
                DatabaseSearch(options.index, options.database, collection=options.collection or COLLECTION)
            )
        if options.sheet or not database:
            index = stack.enter_context(Index.open(options.index))
            manifest = index.manifest
            if options.category:
                index.check_categories(options.category)
        model = load_for_index(manifest, options.checkpoint)
        embeddings, problems = _embed(model, queries, masks, box, options.up_axis)
        if problems:
            print(printable_lines(f'error: {DataError(problems)}'), file=sys.stderr)
            queries, masks = [queries[number] for number in embeddings], [masks[number] for number in embeddings]
        embeddings = np.stack(list(embeddings.values()))
        complete = [True] * len(queries)
        if database:
            found = database.search(
                embeddings,
                top_k=options.top,
                categories=options.category,
                candidates=options.candidates or max(100, options.top),
            )
            answers, complete = [answer.hits for answer in found], [answer.complete for answer in found]
        else:
            answers = index.search(embeddings, top_k=options.top, categories=options.category)
        notes = [_mask_note(query, mask, box) for query, mask in zip(queries, masks, strict=True)]
        _print(options, queries, answers, notes, complete)
        if not (options.json or options.csv):
            for note in model.notes:
                print(printable(note))
        if options.sheet:
            _draw(Path(options.sheet), index, queries, answers, options.up_axis or model.shape_inputs.up_axis)
    return 1 if problems else 0


def _check_sheet(sheet: str) -> None:
    if not sheet:
        raise ConfigError('--sheet is empty: name a PNG file')
    if Path(sheet).is_dir():
        raise StorageError(f'--sheet={sheet}: a folder; name a PNG file')
    if not Path(sheet).absolute().parent.is_dir():
        raise StorageError(f'--sheet={sheet}: no such folder')


def _embed(
    model, queries: Sequence[QueryFile], masks: Sequence, box: Box | None, up_axis: str | None
) -> tuple[dict[int, np.ndarray], list[Problem]]:
    """Embeddings [D] by the number of the query, in order, and what is wrong with the other queries.

    Queries of one kind are embedded together. Raises DataError if none is left.
    """
    arrays, problems = {}, []
    for number, (query, mask) in enumerate(zip(queries, masks, strict=True)):
        try:
            arrays[number] = _arrays(query, mask, box, up_axis, model.query_inputs(query.kind))
        except DataError as error:
            problems += error.problems
    if not arrays:
        raise DataError(problems)
    embeddings = {}
    for kind in dict.fromkeys(queries[number].kind for number in arrays):
        numbers = [number for number in arrays if queries[number].kind == kind]
        rows = model.embed_query_arrays([arrays[number] for number in numbers], kind)
        embeddings |= dict(zip(numbers, rows, strict=True))
    return dict(sorted(embeddings.items())), problems


def _arrays(
    query: QueryFile, mask: str | Path | None, box: Box | None, up_axis: str | None, inputs
) -> Mapping[str, np.ndarray]:
    """What the model takes of one query."""
    from jaxret.preprocessing.photos import photo_arrays
    from jaxret.preprocessing.points import point_arrays
    from jaxret.preprocessing.shapes import shape_arrays

    if query.kind == 'photo':
        return photo_arrays(query.path, inputs=inputs, mask=mask, box=box)
    if query.kind == 'scan':
        return shape_arrays(query.path, inputs=inputs, up_axis='y')
    if query.kind == 'points':
        return point_arrays(query.path, count=inputs.points, up_axis=up_axis or inputs.up_axis)
    return shape_arrays(query.path, inputs=inputs, up_axis=up_axis or inputs.up_axis)


def _mask_note(query: QueryFile, mask: str | Path | None, box: Box | None) -> str:
    """What was taken as the object of a photo."""
    if query.kind != 'photo':
        return query.kind
    parts = [f'mask {mask}'] if mask else []
    parts += ['box ' + ','.join(f'{side:g}' for side in box)] if box else []
    return f'photo, {" in ".join(parts) or "whole frame"}'


def _print(
    options: argparse.Namespace,
    queries: Sequence[QueryFile],
    answers: Sequence,
    notes: Sequence[str],
    complete: Sequence[bool],
) -> None:
    if not all(complete):
        print(
            f'{len(complete) - sum(complete)} of {len(complete)} answers may miss shapes that the database did not '
            f'give; more --candidates help, unless it was written with --approximate',
            file=sys.stderr,
        )
    if options.json:
        print(
            json.dumps(
                [
                    {
                        'query': str(query.path),
                        'kind': query.kind,
                        'object': note,
                        'complete': whole,
                        'hits': [asdict(hit) for hit in hits],
                    }
                    for query, hits, note, whole in zip(queries, answers, notes, complete, strict=True)
                ],
                indent=1,
            )
        )
        return
    if options.csv:
        writer = csv.writer(sys.stdout, lineterminator='\n')
        writer.writerow(('query', *FIELDS))
        writer.writerows(
            (query.path, *('' if (value := getattr(hit, name)) is None else value for name in FIELDS))
            for query, hits in zip(queries, answers, strict=True)
            for hit in hits
        )
        return
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:  # a log file has no width of its own
        console = Console(width=200, markup=False, emoji=False, highlight=False)
    with_views = any(hit.view is not None for hits in answers for hit in hits)
    for query, hits, note in zip(queries, answers, notes, strict=True):
        console.print(Text(printable(f'{query.path} ({note})')), soft_wrap=True)
        table = Table(box=None, pad_edge=False)
        for column in ('rank', 'score', 'category', 'id', *(('view', 'azimuth') if with_views else ())):
            table.add_column(
                column,
                justify='left' if column in ('category', 'id') else 'right',
                overflow='fold' if column == 'id' else 'ellipsis',
            )
        for hit in hits:
            view = (str(hit.view), f'{hit.azimuth:g}\N{DEGREE SIGN}') if with_views else ()
            table.add_row(
                *map(Text, (str(hit.rank), f'{hit.score:.4f}', printable(hit.category), printable(hit.id), *view))
            )
        console.print(table)


def _draw(path: Path, index, queries: Sequence[QueryFile], answers: Sequence, up_axis: str) -> None:
    from jaxret.cli.answer_sheet import Answer, draw_answers, png_file, query_picture
    from jaxret.files import write_atomically

    rows = [
        Answer(str(query.path), query_picture(query, up_axis=up_axis), hits, [index.thumbnail(hit.id) for hit in hits])
        for query, hits in zip(queries, answers, strict=True)
    ]
    write_atomically(path, png_file(draw_answers(rows, title=f'{index.folder.name}: {len(index)} shapes')))
