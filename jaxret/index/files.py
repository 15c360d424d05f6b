"""The files of an index: what stands where, and how they change so that no reader ever sees half a change.

    <index>/index.json               which table is current, the checkpoint, versions, folders of models; replaced
                                     atomically, last
    <index>/tables/<table>.jsonl     one line a shape: id, category, checksum, where its embedding is; never changed
    <index>/shards/<key>.safetensors embeddings, thumbnails (PNG) and checksums of some shapes; never changed
    <index>/failed.csv               path,reason of the files that could not be used
    <index>/overview.html            pictures of the models, and which axis points up in each (`overview`)
    <index>/fit.safetensors          what `jaxret fit` learnt of them; replaced atomically
    <index>/references.sqlite        photos known to show models (`references`); changes by transactions of its own
    <index>/.lock                    held by the process that writes

A run writes shards first, then a table, then index.json. Killed at any moment it leaves the old index.json, and shards
that the next run takes up. A reader holds a shared lock on its table; tables that nobody reads and the shards that only
they name are removed after the switch. Nothing here is pickled, and nothing that is read can run code.
"""

import contextlib
import fcntl
import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxret.errors import ConfigError, DataError, Problem, StorageError
from jaxret.files import check_regular, exclusive, read_json, remove_temporaries, same_file, write_atomically
from jaxret.geometry.up_axis import AUTO
from jaxret.index.references import REFERENCES
from jaxret.index.shards import BEFORE, FORMAT, SHARDS, ShapeRow, unreadable
from jaxret.preprocessing.shapes import ShapeInputs
from jaxret.search.parts import Parts
from jaxret.search.references import Fusion

MANIFEST, TABLES, FAILED, LOCK = 'index.json', 'tables', 'failed.csv', '.lock'
FIT, OVERVIEW = 'fit.safetensors', 'overview.html'
# Files beside the folders, and files in each of these.
_BESIDE = '|'.join(map(re.escape, (MANIFEST, FAILED, FIT, OVERVIEW)))
_DATABASE = rf'{re.escape(REFERENCES)}(?:-journal)?'  # which SQLite itself rolls back and removes
_NAMES = {TABLES: r'[0-9a-f]{16}\.jsonl', SHARDS: r'[0-9a-f]{32}\.safetensors'}
_TEMPORARY = r'\.(?:{0})\.[0-9a-f]{{16}}'
_FAMILY = 'jaxret-index-'  # with which FORMAT begins, in every version
_REBUILD = 'make it again with `jaxret index --rebuild --models DIR ...`'


@dataclass(frozen=True)
class Source:
    """A folder of models.

    Attributes:
      folder: absolute path.
      up_axis: that points up in its files, 'y' or 'z'; `AUTO` where it is guessed.
      categories: CSV file of categories; '' for none.
      parts: whether the parts of an assembly are shapes of their own.
    """

    folder: str
    up_axis: str
    categories: str
    parts: bool = False  # in indexes that do not say


@dataclass(frozen=True)
class Manifest:
    """index.json: what the index is.

    Attributes:
      system, similarity, fingerprint, step: of the model that embedded, as in `Model`.
      workdir: of its run.
      inputs: what was made of a model file (`ShapeInputs.to_json`).
      query_kinds: what the system can embed as a query.
      projection: file below shards/ with the matrix of CMIC's attention; None without.
      table, table_sha256: the current table, and its checksum.
      shards: names, each the first half of the file's SHA-256.
      shapes, failed: how many.
      sources: folders of models.
      versions: of the software that wrote it.
      fusion: how references and views are pooled (values of `jaxret.search.references.Fusion`).
      parts: of embeddings (`jaxret.search.parts.Parts.to_json`); None where they have none.
      centre: file below shards/ with what photos are taken to have in common with views; None without parts.
      codebook: {'file': below shards/, 'layout'} of the embeddings' codes (`jaxret.search.codes`); None where shards
        hold embeddings as they are.
      axes: that point up in the models' files, of formats that do not say.
    """

    system: str
    similarity: str
    fingerprint: str
    step: int
    workdir: str
    inputs: dict[str, Any]
    query_kinds: list[str]
    projection: str | None
    table: str
    table_sha256: str
    shards: list[str]
    shapes: int
    failed: int
    sources: list[Source]
    versions: dict[str, str]
    fusion: dict[str, Any] = field(default_factory=dict)  # of indexes that do not say
    parts: dict[str, Any] | None = None
    centre: str | None = None
    codebook: dict[str, Any] | None = None
    axes: list[str] = field(default_factory=list)  # of indexes of one axis a folder

    @property
    def shape_inputs(self) -> ShapeInputs:
        """What was made of a model file."""
        return ShapeInputs.from_json(self.inputs)

    @property
    def query_up_axis(self) -> str:
        """The axis that points up in meshes and clouds as queries: that of the models, `AUTO` where they have both."""
        axes = self.axes or {source.up_axis for source in self.sources}
        return min(axes) if len(axes) == 1 else AUTO


def read_manifest(folder: Path) -> Manifest:
    """Reads index.json.

    Raises:
      DataError: no index there, damaged, or of another version.
    """
    path = folder / MANIFEST
    try:
        stored = read_json(path)
        if not isinstance(stored, dict):
            raise ValueError(f'a JSON {type(stored).__name__}, not an object')
        if stored.pop('format', None) != FORMAT:
            raise DataError(Problem(str(path), 'not an index of this version', _REBUILD))
        manifest = Manifest(**(stored | {'sources': [Source(**source) for source in stored['sources']]}))
        ShapeInputs.from_json(manifest.inputs)
        Fusion(**manifest.fusion)
        if manifest.parts is not None:
            Parts.from_json(manifest.parts)
        return manifest
    except FileNotFoundError:
        raise DataError(Problem(str(path), 'no such file', 'make an index with `jaxret index`')) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
        raise unreadable(path, error, _REBUILD) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Makes a finished table the current one, atomically."""
    write_atomically(folder / MANIFEST, json.dumps({'format': FORMAT, **asdict(manifest)}, indent=1) + '\n')


def write_table(folder: Path, rows: Iterable[ShapeRow]) -> tuple[str, str]:
    """Writes a new table; returns its name and checksum."""
    content = ''.join(json.dumps(asdict(row), ensure_ascii=False) + '\n' for row in rows).encode()
    name = f'{secrets.token_hex(8)}.jsonl'
    write_atomically(folder / TABLES / name, content)
    return name, hashlib.sha256(content).hexdigest()


def table_rows(content: bytes, manifest: Manifest) -> list[ShapeRow]:
    """Rows of a table whose checksum was compared."""
    rows = [ShapeRow(**json.loads(line)) for line in content.decode().splitlines()]
    axes = [source.up_axis for source in manifest.sources]
    return [row if row.up_axis else replace(row, up_axis=axes[row.source], axis_from=BEFORE) for row in rows]


@contextlib.contextmanager
def held_table(folder: Path) -> Iterator[tuple[Manifest, list[ShapeRow]]]:
    """The current manifest and its rows, whose shards stay until the end of the `with` block.

    Raises:
      DataError: no index there, or damaged.
    """
    with held_content(folder) as (manifest, content):
        yield manifest, table_rows(content, manifest)


@contextlib.contextmanager
def held_content(folder: Path) -> Iterator[tuple[Manifest, bytes]]:
    """As `held_table`, with the table as it is in its file, whose checksum was compared."""
    while True:
        manifest = read_manifest(folder)
        path = folder / TABLES / manifest.table
        try:
            check_regular(path)
            file = path.open('rb')
        except FileNotFoundError:
            if read_manifest(folder).table != manifest.table:  # replaced and removed meanwhile
                continue
            raise DataError(Problem(str(path), 'missing', _REBUILD)) from None
        except OSError as error:
            raise unreadable(path, error, _REBUILD) from error
        with file:
            with contextlib.suppress(OSError):  # a file system without locks: there nothing old is removed
                fcntl.flock(file, fcntl.LOCK_SH)
            if not same_file(file.fileno(), path):
                continue
            content = file.read()
            if hashlib.sha256(content).hexdigest() != manifest.table_sha256:
                raise DataError(Problem(str(path), 'damaged: another checksum', _REBUILD))
            yield manifest, content
            return


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Only one process writes to an index; makes its folder, and removes temporary files of killed processes.

    Raises:
      StorageError: another process writes, or the folder cannot be written, or is no index and not empty.
    """
    check_writable(folder)
    held = StorageError(f'{folder}: another process is writing this index; wait until it ends')
    with exclusive(folder / LOCK, refuse=lambda _: held):
        remove_temporaries(folder, _BESIDE)
        for part, names in _NAMES.items():
            remove_temporaries(folder / part, names)
        yield


def check_writable(folder: Path) -> None:
    """Refuses a folder that may not become, or be, an index: what is there belongs to someone else.

    Raises:
      StorageError: neither missing, nor empty, nor an index, finished or not; or one whose folders are links.
    """
    for part in _NAMES:
        place = folder / part
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            found = 'a link' if place.is_symlink() else 'not a folder'
            raise StorageError(f'{place}: {found}; an index is written only to folders of its own; name another --out')
    if (folder / REFERENCES).is_symlink():
        raise StorageError(f'{folder / REFERENCES}: a link; an index is written only to files of its own; remove it')
    if foreign := _foreign(folder):
        raise StorageError(f'{folder}: not an index, and not empty ({foreign}); name a new or an empty folder as --out')


def _foreign(folder: Path) -> str:
    """Name of an entry that shows that a folder is no index; '' for one that is, even unfinished or damaged."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return ''
    except OSError as error:
        raise StorageError(f'{folder}: cannot be listed ({error.strerror}); name another folder') from error
    if _of_our_family(folder / MANIFEST):
        return ''
    needed = {LOCK, *_NAMES} if MANIFEST in names else {LOCK}
    if not needed <= set(names):
        return next((name for name in names if name != LOCK), '')
    ours = rf'{re.escape(LOCK)}|{"|".join(_NAMES)}|{_BESIDE}|{_DATABASE}|{_TEMPORARY.format(_BESIDE)}'
    places = [(Path(name), ours) for name in names]
    for part, inside in _NAMES.items():
        inside = f'{inside}|{_TEMPORARY.format(inside)}'
        places += [(path.relative_to(folder), inside) for path in sorted((folder / part).glob('*'))]
    return next((str(path) for path, pattern in places if not re.fullmatch(pattern, path.name)), '')


def _of_our_family(manifest: Path) -> bool:
    try:
        return str(read_json(manifest)['format']).startswith(_FAMILY)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def remove_unused(folder: Path, manifest: Manifest) -> None:
    """Removes tables that are neither current nor read, and shards that no remaining table names.

    Files of other names, folders and links are someone else's, and stay.
    """
    used = {*manifest.shards, manifest.projection, manifest.centre, (manifest.codebook or {}).get('file')}
    for path in _own_files(folder, TABLES):
        if path.name == manifest.table:
            continue
        with contextlib.suppress(FileNotFoundError), path.open('rb') as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            except OSError:  # someone reads it, or the file system has no locks
                with contextlib.suppress(ValueError, KeyError, TypeError):  # damaged: nobody can have it open
                    used |= {json.loads(line)['shard'] for line in file}
    for path in _own_files(folder, SHARDS):
        if path.name not in used:
            path.unlink(missing_ok=True)


def _own_files(folder: Path, part: str) -> list[Path]:
    """Files of an index in one of its folders, by their names."""
    return [
        path
        for path in (folder / part).iterdir()
        if re.fullmatch(_NAMES[part], path.name) and path.is_file() and not path.is_symlink()
    ]
