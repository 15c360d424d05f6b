"""Makes an index of folders of models, or brings one up to date: only what is new or changed is read and embedded.

A file that has the size and time of change that it had is taken as unchanged; else its SHA-256 decides. What has the
same content as a shape that is already embedded, a moved file for example, is not embedded again. Shapes of a shard
that is missing or damaged are.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from jaxret.errors import CheckpointError, DataError, Problem
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
from jaxret.index.shards import (
    SHARD_SHAPES,
    SHARDS,
    ShapeRow,
    Shard,
    check_shard,
    content_key,
    embedding_key,
    shard_shapes,
    without_gaps,
    write_projection,
    write_shard,
)
from jaxret.index.sources import FoundModel, below, check_ids, find_files, resolve_sources, write_failed
from jaxret.inference.model import Model
from jaxret.preprocessing.shapes import ShapeRecord, file_checksum, shape_record_of
from jaxret.workers import map_parallel

SOFTWARE = ('jaxret', 'jax', 'flax', 'numpy', 'trimesh', 'embreex')
_SERIAL_BELOW = 16
_MANY_SHARDS = 256
Place = tuple[str, int]  # shard and row
Result = tuple[str, Place] | DataError  # checksum and place, or why the file cannot be used


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
      shapes: in the index now.
      embedded: read and embedded.
      kept: taken as they were (also from a run that was killed).
      removed: no longer in the index.
      failed: files that cannot be used, with the reasons.
      without_file: lines of the CSV files of categories that name no model.
    """

    shapes: int
    embedded: int
    kept: int
    removed: int
    failed: tuple[Problem, ...]
    without_file: int


def update_index(
    folder: Path | str,
    model: Model,
    models: Path | str | None = None,
    *,
    up_axis: str | None = None,
    categories: Path | str | None = None,
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
      up_axis: axis that points up in its mesh files, 'y' or 'z'; None: as before, or as in training.
      categories: CSV file with columns path and category; other models have their first folder as category. None: as
        before.
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
    key = embedding_key(model.fingerprint, model.shape_inputs)
    with writing(folder):
        manifest, rows = _current(folder, damaged_too=rebuild and models is not None)
        if manifest and not rebuild:
            _check_model(folder, manifest, model)
        sources, chosen = resolve_sources(
            manifest, folder, models, up_axis, categories, add=add, rebuild=rebuild, default=model.shape_inputs.up_axis
        )
        broken = (
            set() if rebuild else _broken(folder, {row.shard for row in rows}, processes=processes, progress=progress)
        )
        whole = [row for row in rows if row.shard not in broken]
        scanned = chosen | {row.source for row in rows if row.shard in broken}
        found, problems, without_file = find_files(sources, scanned, model.shape_inputs)
        closed = [problem.where for problem in problems]  # folders that cannot be listed: what is in them stays
        kept_rows = (
            []
            if rebuild
            else [
                row
                for row in whole
                if row.source not in scanned or closed and below(Path(sources[row.source].folder, row.id), closed)
            ]
        )
        check_ids(found, kept_rows, sources)
        known = {} if rebuild else _known(folder, key, whole, manifest)
        done = _match(found, rows, known, textured=model.shape_inputs.textured, processes=processes, progress=progress)
        waiting = [number for number in range(len(found)) if number not in done]
        items = [(found[number].file.path, found[number].up_axis) for number in waiting]
        for number, result in (embed or embed_files)(folder, model, key, items, processes=processes, progress=progress):
            if isinstance(result, DataError):
                problems += result.problems
            else:
                done[waiting[number]] = result
        table = [
            ShapeRow(item.file.id, item.file.category, item.source, done[number][0], item.mark, *done[number][1])
            for number, item in enumerate(found)
            if number in done
        ]
        table = sorted(without_gaps(folder, kept_rows + table, key), key=lambda row: row.id)
        write_failed(
            folder,
            problems,
            scanned=[sources[number].folder for number in scanned],
            others=[source.folder for number, source in enumerate(sources) if number not in scanned],
        )
        if not table:
            raise DataError(problems or Problem(str(folder), 'no models', 'name a folder with models'))
        commit(folder, model, sources, table, failed=len(problems))
        before = {row.id for row in rows}
        embedded = sum(number in done for number in waiting)
        return Summary(
            len(table),
            embedded,
            len(table) - embedded,
            len(before - {row.id for row in table}),
            tuple(problems),
            without_file,
        )


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
            f'{folder}: made with the checkpoint of step {manifest.step} of {manifest.workdir} (weights '
            f'{manifest.fingerprint[:12]}), not with that of step {model.step} of {model.workdir} (weights '
            f'{model.fingerprint[:12]}); add --rebuild to embed all its models anew, or name another --out'
        )
    if manifest.shape_inputs != model.shape_inputs:
        raise CheckpointError(
            f'{folder}: its shapes were made ready in another way (views, points, faces or '
            f'--gallery); add --rebuild to embed all its models anew, or name another --out'
        )


def _broken(folder: Path, shards: Set[str], *, processes: int | None, progress: bool) -> set[str]:
    """Those of the shards that are missing or damaged."""
    names = sorted(shards)
    checks = map_parallel(
        check_shard,
        [folder / SHARDS / name for name in names],
        processes=processes,
        serial_below=_MANY_SHARDS,
        progress='Checking the index' if progress and len(names) >= _MANY_SHARDS else None,
    )
    return {names[number] for number, result in checks if isinstance(result, DataError)}


def _known(folder: Path, key: str, rows: Sequence[ShapeRow], manifest: Manifest | None) -> dict[str, Place]:
    """Where content is already embedded: in rows of the index, and in shards of a run that was killed."""
    known = {content_key(row.checksum, manifest.sources[row.source].up_axis): (row.shard, row.row) for row in rows}
    used = set(manifest.shards) if manifest else set()
    for path in sorted((folder / SHARDS).glob('*.safetensors')):
        if path.name not in used and path.name not in _broken(folder, {path.name}, processes=1, progress=False):
            for row, content in enumerate(shard_shapes(path, key=key) or ()):
                known.setdefault(content, (path.name, row))
    return known


def _match(
    found: Sequence[FoundModel],
    rows: Sequence[ShapeRow],
    known: dict[str, Place],
    *,
    textured: bool,
    processes: int | None,
    progress: bool,
) -> dict[int, tuple[str, Place]]:
    """Checksum and place of the files that are already embedded, by their number."""
    before = {(row.source, row.id): row for row in rows}
    done: dict[int, tuple[str, Place]] = {}
    unsure = []
    for number, item in enumerate(found):
        row = before.get((item.source, item.file.id))
        content = content_key(row.checksum, item.up_axis) if row else ''
        if row and item.mark and row.mark == item.mark and content in known:
            done[number] = row.checksum, known[content]
        elif known:
            unsure.append(number)
    checksums = map_parallel(
        partial(file_checksum, textured=textured),
        [found[number].file.path for number in unsure],
        processes=processes,
        serial_below=64,
        progress='Comparing files' if progress else None,
    )
    for place, checksum in checksums:
        item = found[unsure[place]]
        if not isinstance(checksum, DataError) and (content := content_key(checksum, item.up_axis)) in known:
            done[unsure[place]] = checksum, known[content]
    return done


def embed_files(
    folder: Path, model: Model, key: str, items: Sequence[tuple[Path, str]], *, processes: int | None, progress: bool
) -> Iterator[tuple[int, Result]]:
    """Reads and embeds files; every 128 of them are a shard, less those that cannot be used.

    Args:
      folder: of the index.
      model: that embeds.
      key: of the model and inputs (`embedding_key`).
      items: files, each with the axis that points up in it.
      processes: that read them; None takes one a core.
      progress: show a progress bar.

    Yields:
      index into `items`, result.
    """
    function = partial(shape_record_of, inputs=model.shape_inputs)
    results = map_parallel(
        function,
        items,
        processes=processes,
        serial_below=_SERIAL_BELOW,
        ordered=True,
        progress='Indexing' if progress else None,
    )
    waiting: list[tuple[int, ShapeRecord]] = []
    for number, result in results:
        if isinstance(result, DataError):
            yield number, result
        else:
            waiting.append((number, result))
        if waiting and ((number + 1) % SHARD_SHAPES == 0 or number + 1 == len(items)):
            embeddings = model.embed_shape_arrays([record.arrays for _, record in waiting])
            keys = [content_key(record.checksum, items[place][1]) for place, record in waiting]
            shard = write_shard(folder, Shard(embeddings, [record.thumbnail for _, record in waiting], keys), key=key)
            for row, (place, record) in enumerate(waiting):
                yield place, (record.checksum, (shard, row))
            waiting.clear()


def commit(folder: Path, model: Model, sources: Sequence[Source], table: Sequence[ShapeRow], *, failed: int) -> None:
    """Makes the table the current one and removes what nobody needs any more."""
    projection = None if model.projection is None else write_projection(folder, model.projection)
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
    )
    write_manifest(folder, manifest)
    remove_unused(folder, manifest)


def versions() -> dict[str, str]:
    """Of the software that decides what an embedding is."""
    return {package: version(package) for package in SOFTWARE}
