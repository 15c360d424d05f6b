"""The command `jaxret search`: what it prints and draws."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.cli.embedding import embed_queries
from jaxret.cli.next_step import quoted, tell_next
from jaxret.errors import ConfigError, DataError, StorageError
from jaxret.files import printable, printable_lines, unwritable
from jaxret.index.files import Manifest, read_manifest
from jaxret.index.references import References
from jaxret.index.where import parse_where
from jaxret.inference.query_files import QueryFile, find_masks, find_queries, parse_box
from jaxret.preprocessing.auto_mask import can_mask
from jaxret.preprocessing.headings import query_up_axis
from jaxret.preprocessing.photos import Box
from jaxret.search.parts import Parts

_NO_MESH = '--no-align: there is no mesh among the queries'


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
    _check_text(options, queries)
    questions = list(zip(queries, find_masks(options.mask, queries), strict=True))
    box = _checked_box(options.box, queries)
    _check_options(options)
    where = ' and '.join(options.where) if options.where else None
    if where is not None:
        parse_where(where)
    _check_purpose(options.purpose, manifest)
    if options.no_align and not any(query.kind in ('mesh', 'scan') for query in queries):
        raise ConfigError(_NO_MESH)
    if options.together and not all(query.kind == 'photo' for query in queries):
        raise ConfigError('--together: give photos alone')
    if options.database and References(Path(options.index)).rows():
        print('warning: known photos of the models do not count in a search of the database', file=sys.stderr)
    if options.database and options.mask and manifest.shape_inputs.outlines is not None:
        print('warning: silhouettes do not count in a search of the database', file=sys.stderr)
    before_jax()
    from jaxret.cli.aligning import FEWEST, align_answers, alike
    from jaxret.cli.answer_sheet import write_sheet
    from jaxret.cli.answers import Answer, print_csv, print_json, print_tables, seen_as
    from jaxret.index.index import Index
    from jaxret.index.loading import load_for_index

    with contextlib.ExitStack() as stack:
        database = _opened_database(options, stack) if options.database else None
        index = None
        if options.sheet or not database:
            index = stack.enter_context(Index.open(options.index))
            manifest = index.manifest
            index.check_categories(options.category or ())
            questions = [
                (query and replace(query, kind=index.kind_of_query(query.path, query.kind)), mask)
                for query, mask in questions
            ]
        meshes = any(query and query.kind == 'mesh' for query, _ in questions)
        if options.no_align and not meshes:
            raise ConfigError(_NO_MESH)
        aligns = meshes and not options.no_align and not options.database
        if where is not None:
            _tell_matching(index, where)
        model = load_for_index(manifest, options.checkpoint)
        known = index.axis_of_query if index else lambda _: manifest.query_up_axis
        shapes = [query for query, _ in questions if query.kind != 'photo']
        axes = {query: options.up_axis or known(query.path) for query in shapes}
        words = None if options.text is None else model.embed_texts([options.text])
        axis_of = partial(_axis_of, axes, model.shape_inputs)
        embeddings, problems = embed_queries(model, questions, box, axes) if questions else ({}, [])
        if problems:
            print(printable_lines(f'error: {DataError(problems)}'), file=sys.stderr)
        questions = [questions[number] for number in embeddings] or [(None, None)]
        photos = np.array([query is None or query.kind == 'photo' for query, _ in questions])
        asked = _asked(options, where, words if embeddings else None, database)
        asked['top_k'] = max(options.top, FEWEST) if aligns else options.top
        also = [alike(index, query) if aligns else [] for query, _ in questions]
        found = _found(options, list(embeddings.values()) or list(words), photos, asked, also, index, database)
        pictures = [{}] * len(questions)
        if aligns:
            files = [query for query, _ in questions]
            found, pictures = align_answers(
                index, files, found, also=also, axis_of=axis_of, pictures=bool(options.sheet)
            )
            found = [(hits[: options.top], complete) for hits, complete in found]
        facts = {hit.id: index.facts(hit.id) for hits, _ in found for hit in hits} if index else {}
        if options.together:
            (query, mask), also = questions[0], tuple(query for query, _ in questions[1:])
            answers = [Answer(query, seen_as(query, mask, box), *found[0], also, options.text, facts)]
        else:
            answers = [
                Answer(query, seen_as(query, mask, box), *one, (), options.text, facts)
                for (query, mask), one in zip(questions, found, strict=True)
            ]
        _warn_incomplete([answer.complete for answer in answers])
        if options.json:
            print_json(answers)
        elif options.csv:
            print_csv(answers)
        else:
            print_tables(answers)
            for note in model.notes:
                print(printable(note))
            tell_next(*_next_steps(options.index, photos=bool(queries) and bool(photos.all())))
        if options.sheet:
            write_sheet(Path(options.sheet), index, answers, pictures, axis_of)
    return 1 if problems else 0


def _next_steps(index: str, *, photos: bool) -> list[str]:
    teach = [f'jaxret index --out {quoted(index)} --add-photos PHOTOS.csv'] if photos else []
    return [f'jaxret serve --index {quoted(index)}', *teach]


def _checked_box(text: str | None, queries: Sequence[QueryFile]) -> Box | None:
    """Raises ConfigError for a box that is none, or without a photo."""
    box = parse_box(text) if text else None
    if box and not any(query.kind == 'photo' for query in queries):
        raise ConfigError(f'--box={text}: there is no photo among the queries')
    return box


def _check_text(options: argparse.Namespace, queries: Sequence[QueryFile]) -> None:
    """Raises ConfigError where there is nothing to search for, or words that do not go with the queries."""
    if not queries and options.text is None:
        raise ConfigError('nothing to search for: name a query, or say it with --text')
    if options.text_weight is not None and (options.text is None or not queries):
        raise ConfigError('--text-weight goes with --text and a photo')
    if options.text_weight is not None and not 0 <= options.text_weight <= 1:
        raise ConfigError(f'--text-weight={options.text_weight:g}: not from 0 to 1')
    if options.text is None or not queries:
        return
    other = next((query for query in queries if query.kind != 'photo'), None)
    if other is not None:
        raise ConfigError(f'--text goes alone or with photos; {other.path} is of kind {other.kind!r}')
    if options.database:
        raise ConfigError('--text with a photo is scored by the index itself: leave out --database')


def _asked(options: argparse.Namespace, where: str | None, words: np.ndarray | None, database: Any) -> dict[str, Any]:
    """Options of the search; with the words [1, D] that go with every photo, where there are any."""
    asked = {'categories': options.category, 'purpose': options.purpose}
    asked |= {} if where is None else {'where': where}
    if database is not None:
        asked['candidates'] = options.candidates or max(100, options.top)
    if words is not None:
        asked['texts'] = words
        asked |= {} if options.text_weight is None else {'text_weight': options.text_weight}
    return asked


def _check_options(options: argparse.Namespace) -> None:
    if options.mask == 'auto' and not can_mask():
        raise ConfigError("--mask auto needs OpenCV: pip install 'jaxret[mask]'; or give a mask file, a box or none")
    if options.sheet is not None:
        _check_sheet(options.sheet)
    if not options.database and (options.collection or options.candidates):
        raise ConfigError('--collection and --candidates go with --database')
    if options.database and options.where:
        raise ConfigError('--where does not go with --database, which does not hold what models measure')
    if options.database and options.together:
        raise ConfigError('--together does not go with --database')


def _check_purpose(purpose: str | None, manifest: Manifest) -> None:
    """Raises ConfigError for a purpose that the index does not have."""
    if purpose is not None and manifest.parts is None:
        raise ConfigError(f'--for={purpose}: the model of this index leaves no choice; leave it out')
    if manifest.parts is not None:
        Parts.from_json(manifest.parts).check_purpose(purpose)


def _tell_matching(index: Any, where: str) -> None:
    """Says where no model meets the conditions, and how many could not be asked for lack of a unit."""
    found = index.matching(where)
    told = [] if found.shapes.any() else ['no model meets it']
    told += [f'{found.left_out} models left out whose files have no unit'] if found.left_out else []
    if told:
        print(printable(f'--where {where!r}: {"; ".join(told)}'), file=sys.stderr)


def _check_sheet(sheet: str) -> None:
    if not sheet:
        raise ConfigError('--sheet is empty: name a PNG file')
    if Path(sheet).is_dir():
        raise StorageError(f'--sheet={sheet}: a folder; name a PNG file')
    if not Path(sheet).absolute().parent.is_dir():
        raise StorageError(f'--sheet={sheet}: no such folder')
    if reason := unwritable(Path(sheet).absolute().parent):
        raise StorageError(f'--sheet={sheet}: cannot be written ({reason})')


def _opened_database(options: argparse.Namespace, stack: contextlib.ExitStack) -> Any:
    """The `DatabaseSearch` of the options, which the stack closes."""
    from jaxret.index.milvus import COLLECTION
    from jaxret.index.milvus_search import DatabaseSearch

    collection = options.collection or COLLECTION
    return stack.enter_context(DatabaseSearch(options.index, options.database, collection=collection))


def _found(
    options: argparse.Namespace,
    embeddings: Sequence[np.ndarray],
    photos: np.ndarray,
    asked: Mapping[str, Any],
    also: Sequence[Sequence[str]],
    index: Any,
    database: Any,
) -> list[tuple[list, bool]]:
    """Of every query its hits, and whether they are surely those of the index; of photos of one object one answer.

    Args:
      options: of the command.
      embeddings: [D] or [V, D] of each query. Those of photos and of others are searched for apart.
      photos: bool [Q], which queries are photos: these are compared with known photos, too.
      asked: options of the search.
      also: of each query models that are found however they score.
      index, database: what is searched; the index is None where it is not opened.
    """
    if options.together:
        return [(index.search_together(np.stack(embeddings), **asked), True)]
    found: list[tuple[list, bool]] = [([], True)] * len(embeddings)
    for rank, known in {(embedding.ndim, photo) for embedding, photo in zip(embeddings, photos.tolist(), strict=True)}:
        numbers = [n for n, embedding in enumerate(embeddings) if embedding.ndim == rank and photos[n] == known]
        queries = np.stack([embeddings[number] for number in numbers])
        if database is None:
            words = {'texts': asked['texts'].repeat(len(queries), axis=0)} if 'texts' in asked else {}
            further = {'also': [also[number] for number in numbers]} if queries.ndim == 3 else {}
            hits = index.search(queries, **{**asked, **words, **further}, references=known)
            answers = [(one, True) for one in hits]
        else:
            answers = [(one.hits, one.complete) for one in database.search(queries, **asked)]
        for number, answer in zip(numbers, answers, strict=True):
            found[number] = answer
    return found


def _axis_of(axes: Mapping[QueryFile, str], inputs: Any, query: QueryFile) -> str:
    """The axis that points up in the picture of a query."""
    axis = axes.get(query)
    return (axis and query_up_axis(query.path, kind=query.kind, up_axis=axis, inputs=inputs)) or 'y'


def _warn_incomplete(complete: Sequence[bool]) -> None:
    if not all(complete):
        print(
            f'{len(complete) - sum(complete)} of {len(complete)} answers may miss shapes that the database did not '
            f'give; more --candidates help, unless it was written with --approximate',
            file=sys.stderr,
        )
