"""Where a model is: a file, compressed or not, a member of a zip archive, or a part of an assembly in either.

A path goes on below the file: `lib/parts.zip/sub/bolt.stl`, `lib/toy.step/HEAD`.
"""

import functools
import gzip
import io
import os
import re
import stat
import zipfile
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from jaxret.errors import DataError, Problem
from jaxret.geometry.formats import ARCHIVE_SUFFIX, MESH_SUFFIXES, UnusableMesh, model_suffix
from jaxret.geometry.gltf_header import buffer_names

MAX_BYTES = 512 * 2**20
MOST_MEMBERS = 200_000
EXPORT_AGAIN = 'export the mesh again, or take it out of the data set'
_DAMAGED = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)
_DOCUMENT = re.compile(rb"DOCUMENT_FILE\s*\(\s*'((?:[^']|'')*)'")
_LARGEST_OF_NODES = 4 * 2**20  # bytes of a STEP file that only names others; larger ones hold their own geometry


@dataclass(frozen=True)
class Place:
    """Where a model is.

    Attributes:
      file: on the disk.
      member: its path in the archive that `file` is; '' where it is none.
      part: name of a part of the assembly; '' for the whole.
    """

    file: Path
    member: str = ''
    part: str = ''

    @property
    def suffix(self) -> str:
        """Of the format, in small letters."""
        return model_suffix(self.member or self.file.name)

    @property
    def packed(self) -> bool:
        """Whether the file must be unpacked for the model."""
        return bool(self.member) or self.file.suffix.lower() in ('.gz', '.stpz')

    def beside(self, name: str) -> 'Place':
        """Where a file is that this one names.

        Raises:
          UnusableMesh: outside the folder, or the archive, of this one.
        """
        if self.member:
            path = os.path.normpath(PurePosixPath(self.member).parent / unquote(name).replace('\\', '/'))
            if path.startswith(('../', '/')):
                raise UnusableMesh(f'it names a file outside its archive: {name[:200]!r}')
            return Place(self.file, path)
        path = Path(os.path.normpath(self.file.parent / unquote(name).replace('\\', '/')))
        if not path.resolve().is_relative_to(self.file.parent.resolve()):
            raise UnusableMesh(f'it names a file outside its folder: {name[:200]!r}')
        return Place(path)

    def exists(self) -> bool:
        """Whether there is such a file or member."""
        return self.member in members(self.file) if self.member else self.file.exists()

    def read(self, max_bytes: int = MAX_BYTES) -> bytes:
        """The model's content, unpacked: of a part, that of the whole assembly.

        Raises:
          DataError: it is not there, cannot be read, or has more than `max_bytes`.
        """
        return self._made(lambda data: _unpacked(data, self.member or self.file.name, max_bytes), max_bytes)

    def content(self, max_bytes: int = MAX_BYTES) -> bytes:
        """The file's or member's content, compressed where its name says so. Raises DataError as `read`."""
        return self._made(lambda data: data, max_bytes)

    def _made(self, make: Callable[[bytes], bytes], max_bytes: int) -> bytes:
        where = self.file / self.member
        try:
            data = _member(self.file, self.member, max_bytes) if self.member else read_bytes(self.file, max_bytes)
            return make(data)
        except UnusableMesh as error:
            raise bad(where, str(error)) from None
        except _DAMAGED as error:
            raise bad(where, f'it cannot be unpacked ({type(error).__name__}: {str(error)[:200]})') from error


def bad(path: Path, found: str, action: str = EXPORT_AGAIN) -> DataError:
    """A DataError about one file."""
    return DataError(Problem(str(path), found, action))


def locate(path: Path) -> Place:
    """The file, member and part that a path names, by its form and by which file is there."""
    for file in reversed(path.parents):
        archive = file.suffix.lower() == ARCHIVE_SUFFIX
        if (archive or model_suffix(file) in MESH_SUFFIXES) and file.is_file():
            below = path.relative_to(file).parts
            if not archive:
                return Place(file, part='/'.join(below))
            ends = [end for end in range(1, len(below)) if model_suffix(below[end - 1]) in MESH_SUFFIXES]
            end = next((end for end in ends if _is_member(file, '/'.join(below[:end]))), len(below))
            return Place(file, '/'.join(below[:end]), '/'.join(below[end:]))
    return Place(path)


def _is_member(file: Path, name: str) -> bool:
    try:
        return name in members(file)
    except DataError:  # its reader says what is wrong
        return False


def named_files(place: Place) -> list[Place]:
    """The files in which a model's geometry goes on: buffers of a .gltf file, parts of a STEP assembly, in turn.

    Nothing for other formats, embedded buffers, or damaged files; those that are missing are among them.
    """
    found: dict[Place, None] = {}
    left = deque([replace(place, part='')])
    while left and len(found) < MOST_MEMBERS:
        for name in other_names(left.popleft()):
            try:
                other = place.beside(name)
            except UnusableMesh:  # the reader says so
                continue
            if other != place and other not in found:
                found[other] = None
                left.append(other)
    return list(found)


def model_files(path: Path) -> list[Path]:
    """The files on the disk that a model is made of: its own, or that which holds it, then those that it names."""
    place = locate(path)
    return list(dict.fromkeys(each.file for each in (place, *named_files(place))))


def other_names(place: Place) -> list[str]:
    """Names that a model gives of files in which its geometry goes on, wherever they lead; [] for damaged ones."""
    if place.suffix not in ('.gltf', '.stp', '.step'):
        return []
    try:
        if place.suffix == '.gltf':
            return buffer_names(place.read())
        size = members(place.file)[place.member].file_size if place.member else place.file.stat().st_size
        return external_names(place.read()) if size <= _LARGEST_OF_NODES else []
    except (
        DataError,
        OSError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ):  # load_mesh says what is wrong
        return []


def external_names(data: bytes) -> list[str]:
    """Names of the files in which a STEP file says that its parts are."""
    names = [name.decode('utf-8', 'replace').strip() for name in _DOCUMENT.findall(data)]
    return [name for name in dict.fromkeys(names) if model_suffix(name) in ('.stp', '.step')]


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file.

    Raises:
      DataError: missing, empty, no regular file, too large, or not readable.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise bad(path, 'not a regular file', 'name a mesh file')
        if status.st_size == 0:
            raise bad(path, 'the file is empty')
        if status.st_size > max_bytes:
            raise bad(path, f'the file has {status.st_size:,} bytes, the limit is {max_bytes:,}', 'simplify the mesh')
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise bad(path, 'the file does not exist', 'restore the file, or remove the entry that names it') from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise bad(path, f'the file cannot be read ({error})', 'check its permissions and the disk') from error


def members(file: Path) -> dict[str, zipfile.ZipInfo]:
    """The files in a zip archive by their paths; directories left out.

    Raises:
      DataError: damaged, or too many.
    """
    return _opened(file)[1]


def safe_member(name: str) -> bool:
    """Whether a member's path can go on below that of its archive and stay below it."""
    path = PurePosixPath(name)
    return path.as_posix() == name and not path.is_absolute() and '..' not in path.parts and '\\' not in name


def _opened(file: Path) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise bad(file, 'not a regular file', 'name an archive')
        return _archive(file, status.st_size, status.st_mtime_ns)
    except _DAMAGED as error:
        reason = str(error)[:200]
        raise bad(file, f'not a readable zip archive ({type(error).__name__}: {reason})', 'pack it again') from error


@functools.lru_cache(maxsize=4)  # whose directory is read once, not once a member
def _archive(file: Path, size: int, changed: int) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    archive = zipfile.ZipFile(file)
    names = [info for info in archive.infolist() if not info.is_dir()]
    if len(names) > MOST_MEMBERS:
        raise ValueError(f'{len(names):,} members, the limit is {MOST_MEMBERS:,}')
    return archive, {info.filename: info for info in names}


def _member(file: Path, name: str, max_bytes: int) -> bytes:
    archive, found = _opened(file)
    info = found.get(name)
    if info is None:
        raise UnusableMesh('there is no such member in the archive')
    if info.flag_bits & 1:
        raise UnusableMesh('it is encrypted')
    if info.file_size == 0:
        raise UnusableMesh('the file is empty')
    if info.file_size > max_bytes:
        raise UnusableMesh(f'it has {info.file_size:,} bytes unpacked, the limit is {max_bytes:,}')
    return archive.read(info)  # never more than the size that was just checked


def _unpacked(data: bytes, name: str, max_bytes: int) -> bytes:
    """The content of a compressed file; that of another as it is."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == '.stpz' and data[:2] == b'PK':
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) != 1 or infos[0].file_size > max_bytes:
                raise UnusableMesh(f'{len(infos)} files in it, not one of at most {max_bytes:,} bytes')
            return archive.read(infos[0])
    if suffix not in ('.gz', '.stpz'):
        return data
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise UnusableMesh(f'it has more than {max_bytes:,} bytes unpacked')
    return content
