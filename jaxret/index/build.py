"""Makes an index of folders of models, or brings one up to date: only what is new or changed is read and embedded.

A file that has the size and time of change that it had is taken as unchanged; else its SHA-256 decides. What has the
same content as a shape that is already embedded, a moved file for example, is not embedded again. Shapes of a shard
that is missing or damaged are.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jaxret.errors import CheckpointError, DataError, Problem
from jaxret.files import printable
from jaxret.index.assemblies import PartFinder
from jaxret.index.axes import settle_axes, told_axes
from jaxret.index.compression import coded_key, compressed
from jaxret.index.embed import Result, embed_files, versions
from jaxret.index.embeddings import gather_views
from jaxret.index.files import (
    MANIFEST,
    Manifest,
    Source,
    held_table,
    remove_unused,
    write_manifest,
    write_table,
    writing,
)
from jaxret.index.overview import write_overview
from jaxret.index.references import References
from jaxret.index.reuse import broken_shards, known_contents, match_files, renamed
from jaxret.index.shards import STATED, Place, ShapeRow, embedding_key, without_gaps, write_matrix
from jaxret.index.sources import FoundModel, below, check_ids, find_files, read_failed, resolve_sources, write_failed
from jaxret.index.summary import Summary
from jaxret.index.teaching import embed_anew
from jaxret.inference.model import Model
from jaxret.inference.pretrained_model import PRETRAINED
from jaxret.search.parts import views_centre

_CENTRE_SHAPES = 1000  # whose views' mean is taken, evenly spaced


def update_index(
    folder: Path | str,
    model: Model,
    models: Path | str | None = None,
    *,
    up_axis: str | None = None,
    categories: Path | str | None = None,
    parts: bool | None = None,
    add: bool = False,
    rebuild: bool = False,
    processes: int | None = None,
    progress: bool = True,
    embed: Callable[..., Iterator[tuple[int, Result]]] | None = None,
) -> Summary:
    """Makes or updates an index.

    Args:
      folder: of the index; made where missing.
      model: that embeds; an index is of one model.
      models: folder of models; None updates all folders of the index.
      up_axis: axis that points up in its files, 'y' or 'z', or 'auto' to guess (`settle_axes`); None: as before, 'auto'
        for a new folder. Formats that say their axis are as they say.
      categories: CSV file with columns path, category, and perhaps up_axis (of this model, y or z); other models have
        their first folder as category. None: as before.
      parts: the parts of an assembly are shapes of their own, with ids like toy.step/HEAD; None: as before.
      add: `models` may be a further folder of the index.
      rebuild: embed everything anew, with another model than before for example; of `models` alone where it is given
        (without `add`).
      processes: that read models; None takes one a core.
      progress: show progress bars.
      embed: reads and embeds files; None takes `embed_files`.

    Raises:
      CheckpointError: the index is of another model.
      ConfigError: `models` is missing, or a further folder without `add`.
      DataError: no models, none of them usable, or two of one id.
      StorageError: the index cannot be written, or another process writes it.
    """
    folder = Path(folder).absolute()
    key, inputs = embedding_key(model.fingerprint, model.shape_inputs), model.shape_inputs
    workers = {'processes': processes, 'progress': progress}
    with writing(folder):
        manifest, rows = _current(folder, damaged_too=rebuild and models is not None)
        if manifest and not rebuild:
            _check_model(folder, manifest, model)
        sources, chosen = resolve_sources(
            manifest, folder, models, up_axis, categories, parts, add=add, rebuild=rebuild
        )
        whole, torn = ([], set()) if rebuild else _whole(folder, manifest, rows, **workers)
        scanned = chosen | torn
        finder = _part_finder(folder, manifest, whole, textured=inputs.textured, **workers)
        tell = _tell if progress else _keep_quiet
        found, problems, without_file = find_files(sources, scanned, inputs, finder, tell=tell)
        kept = _unread(whole, sources, scanned, closed=[problem.where for problem in problems])
        check_ids(found, kept, sources)
        found = settle_axes(found, [] if rebuild else rows, inputs, **workers)
        known = {} if rebuild else known_contents(folder, key, whole, manifest)
        done = match_files(found, rows, known, textured=inputs.textured, **workers)
        matched, started = len(done), time.monotonic()
        problems += _embed_rest(found, done, partial(embed or embed_files, folder, model, key, **workers))
        embedded, seconds = len(done) - matched, time.monotonic() - started
        write_failed(folder, problems, sources, scanned)
        table = kept + _rows(found, done)
        if not table:
            raise DataError(problems or Problem(str(folder), 'no models', 'name a folder with models'))
        table, codebook = compressed(folder, table, key, model.parts, manifest.codebook if whole else None)
        table = sorted(without_gaps(folder, table, coded_key(key, codebook)), key=lambda row: row.id)
        weights = manifest.fingerprint if manifest else None
        with contextlib.closing(References(folder)) as references:
            embed_anew(references, model, before=weights, progress=progress)
            references.rename(renamed(rows, table))
            commit(folder, model, sources, table, failed=len(problems), codebook=codebook)
            embed_anew(references, model, before=weights, progress=False)  # taught meanwhile
            taught = [reference.model for reference in references.rows() if reference.model is not None]
        ids = {row.id for row in table}
        return Summary(
            shapes=len(table),
            embedded=embedded,
            kept=len(table) - embedded,
            removed=len({row.id for row in rows} - ids),
            failed=tuple(problems),
            without_file=without_file,
            references=sum(shape in ids for shape in taught),
            without_model=sum(shape not in ids for shape in taught),
            axes=told_axes(table),
            doubtful=write_overview(folder, table, sources),
            rate=embedded / seconds if embedded else None,
        )


def _part_finder(folder: Path, manifest: Manifest | None, rows: Sequence[ShapeRow], **options: Any) -> PartFinder:
    looked = {number for number, source in enumerate(manifest.sources if manifest else ()) if source.parts}
    return PartFinder(rows, looked, [path for path, _ in read_failed(folder)], **options)


def _tell(line: str) -> None:
    print(printable(line), file=sys.stderr)


def _keep_quiet(line: str) -> None:
    pass


def _whole(
    folder: Path, manifest: Manifest | None, rows: Sequence[ShapeRow], *, processes: int | None, progress: bool
) -> tuple[list[ShapeRow], set[int]]:
    """Rows whose shards are whole, and the folders of the others; codes are nothing without their codebook."""
    shards, book = {row.shard for row in rows}, (manifest.codebook or {}).get('file') if manifest else None
    broken = broken_shards(folder, shards | ({book} - {None}), processes=processes, progress=progress)
    broken = shards if book in broken else broken
    return [row for row in rows if row.shard not in broken], {row.source for row in rows if row.shard in broken}


def _unread(
    rows: Sequence[ShapeRow], sources: Sequence[Source], scanned: Set[int], *, closed: Sequence[str]
) -> list[ShapeRow]:
    """Rows that stay as they are: of folders that are not looked through, or that cannot be listed (`closed`)."""
    return [row for row in rows if row.source not in scanned or below(Path(sources[row.source].folder, row.id), closed)]


def _embed_rest(
    found: Sequence[FoundModel],
    done: dict[int, tuple[str, Place]],
    embed: Callable[[list[tuple[Path, str]]], Iterator[tuple[int, Result]]],
) -> list[Problem]:
    """Embeds the files that are not done, and adds them there; returns what is wrong with those that cannot be used."""
    waiting = [number for number in range(len(found)) if number not in done]
    problems: list[Problem] = []
    for number, result in embed([(found[number].file.path, found[number].up_axis) for number in waiting]):
        if isinstance(result, DataError):
            problems += result.problems
        else:
            done[waiting[number]] = result
    return problems


def _rows(found: Sequence[FoundModel], done: Mapping[int, tuple[str, Place]]) -> list[ShapeRow]:
    return [
        ShapeRow(
            item.file.id,
            item.file.category,
            item.source,
            done[number][0],
            item.mark,
            *done[number][1],
            item.up_axis,
            item.axis_from,
        )
        for number, item in enumerate(found)
        if number in done
    ]


def _current(folder: Path, *, damaged_too: bool) -> tuple[Manifest | None, list[ShapeRow]]:
    """Manifest and rows of the index that is there; (None, []) without, or for a damaged one where that is allowed."""
    if not (folder / MANIFEST).exists():
        return None, []
    try:
        with held_table(folder) as (manifest, rows):
            return manifest, rows
    except DataError:
        if damaged_too:
            return None, []
        raise


def _check_model(folder: Path, manifest: Manifest, model: Model) -> None:
    if manifest.fingerprint != model.fingerprint:
        raise CheckpointError(
            f'{folder}: made with {_named(manifest)}, not with {_named(model)}; add --rebuild to embed all its models '
            f'anew, or name another --out'
        )
    if manifest.shape_inputs != model.shape_inputs:
        raise CheckpointError(
            f'{folder}: its shapes were made ready in another way (views, points, faces or '
            f'--gallery); add --rebuild to embed all its models anew, or name another --out'
        )


def _named(embedded: Manifest | Model) -> str:
    """What embeds, in words."""
    weights = f'weights {embedded.fingerprint[:12]}'
    if embedded.system == PRETRAINED:
        return f'the built-in model of {embedded.workdir} ({weights}, and settings)'
    return f'the checkpoint of step {embedded.step} of {embedded.workdir} ({weights})'


def commit(
    folder: Path,
    model: Model,
    sources: Sequence[Source],
    table: Sequence[ShapeRow],
    *,
    failed: int,
    codebook: dict[str, Any] | None = None,
) -> None:
    """Makes the table the current one and removes what nobody needs any more."""
    projection = None if model.projection is None else write_matrix(folder, model.projection)
    centre = None
    if model.parts is not None:
        sample = table[:: -(-len(table) // _CENTRE_SHAPES)]
        centre = write_matrix(folder, views_centre(gather_views(folder, sample, codebook)[:]))
    name, checksum = write_table(folder, table)
    manifest = Manifest(
        system=model.system,
        similarity=model.similarity,
        fingerprint=model.fingerprint,
        step=model.step,
        workdir=str(model.workdir),
        inputs=model.shape_inputs.to_json(),
        query_kinds=list(model.query_kinds),
        projection=projection,
        table=name,
        table_sha256=checksum,
        shards=sorted({row.shard for row in table}),
        shapes=len(table),
        failed=failed,
        sources=list(sources),
        versions=versions(),
        fusion=asdict(model.fusion),
        parts=None if model.parts is None else model.parts.to_json(),
        centre=centre,
        codebook=codebook,
        axes=sorted({row.up_axis for row in table if row.up_axis and row.axis_from != STATED}),
    )
    write_manifest(folder, manifest)
    remove_unused(folder, manifest)
