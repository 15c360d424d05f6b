"""What need not be embedded again: files whose content an index holds, or a run that was killed left behind."""

from collections.abc import Sequence, Set
from functools import partial
from pathlib import Path

from jaxret.errors import DataError
from jaxret.index.files import Manifest
from jaxret.index.shards import SHARDS, Place, ShapeRow, check_shard, content_key, shard_shapes
from jaxret.index.sources import FoundModel
from jaxret.preprocessing.shapes import file_checksum
from jaxret.workers import map_parallel

_MANY_SHARDS = 256


def broken_shards(folder: Path, shards: Set[str], *, processes: int | None, progress: bool) -> set[str]:
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


def known_contents(folder: Path, key: str, rows: Sequence[ShapeRow], manifest: Manifest | None) -> dict[str, Place]:
    """Where content is already embedded: in rows of the index, and in shards of a run that was killed."""
    known = {content_key(row.checksum, row.up_axis): (row.shard, row.row) for row in rows}
    used = set(manifest.shards) if manifest else set()
    for path in sorted((folder / SHARDS).glob('*.safetensors')):
        if path.name not in used and path.name not in broken_shards(folder, {path.name}, processes=1, progress=False):
            for row, content in enumerate(shard_shapes(path, key=key) or ()):
                known.setdefault(content, (path.name, row))
    return known


def renamed(before: Sequence[ShapeRow], after: Sequence[ShapeRow]) -> dict[str, str]:
    """Ids under which the content of a model no longer stands, each with the one where it newly does, of several the
    first. Models that change their names among themselves are among them."""
    old, new = ({row.id: row.checksum for row in rows} for rows in (before, after))
    came = {row.checksum: row.id for row in reversed(after) if old.get(row.id) != row.checksum}
    return {id_: came[content] for id_, content in old.items() if new.get(id_) != content and content in came}


def match_files(
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
