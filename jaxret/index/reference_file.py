"""The SQLite file of an index's references: how it is opened, what it holds, and what may be wrong with it."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np

from jaxret.errors import DataError, Problem, StorageError
from jaxret.preprocessing.reference_pictures import ReferencePicture

ORIGINS = ('csv', 'page', 'python')
_APPLICATION, _VERSION = 0x4A585246, 1  # of PRAGMA application_id and user_version
_MOST_AT_ONCE = 500  # parameters of a statement
_BUSY_SECONDS = 60.0  # in which others end their transactions, each of some milliseconds
_SCHEMA = (
    # model: NULL where none of the index's models is shown; photo: its name; sha256: of photo, mask and box; box:
    # left,top,right,bottom in the picture; teaching: number of the call of `add`; replaced_by: the row that corrected
    # this one; times are UTC, ISO 8601.
    'CREATE TABLE reference (number INTEGER PRIMARY KEY, model TEXT, photo TEXT NOT NULL, sha256 TEXT NOT NULL, '
    'picture BLOB NOT NULL, mask BLOB, box TEXT, origin TEXT NOT NULL, session TEXT NOT NULL, '
    'teaching INTEGER NOT NULL, added TEXT NOT NULL, removed TEXT, replaced_by INTEGER)',
    'CREATE UNIQUE INDEX counted_once ON reference (sha256) WHERE removed IS NULL AND model IS NOT NULL',
    'CREATE TABLE embedding (number INTEGER NOT NULL, key TEXT NOT NULL, vector BLOB NOT NULL, '
    'PRIMARY KEY (number, key)) WITHOUT ROWID',
)


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo to be taught.

    Attributes:
      name: that people know it by.
      sha256: of the photo, its mask and box: what makes two photos the same.
      picture: what was embedded.
      embedding: float32 [D].
    """

    name: str
    sha256: str
    picture: ReferencePicture
    embedding: np.ndarray


@dataclass(frozen=True)
class Reference:
    """A row, without its picture.

    Attributes:
      number: of the row.
      model: id of the model that the photo shows; None: of none of the index's models.
      photo: its name.
      origin: who taught it, one of `ORIGINS`.
      added: when (UTC, ISO 8601).
      removed: since when it does not count any more; None where it may.
    """

    number: int
    model: str | None
    photo: str
    origin: str
    added: str
    removed: str | None


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in which transactions are begun by hand, and no statement of the file itself is trusted."""
    database = sqlite3.connect(
        f'file:{quote(os.fsencode(path.absolute()))}?mode={mode}',
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_BUSY_SECONDS,
    )
    database.execute('PRAGMA trusted_schema = OFF')
    return database


def check_schema(database: sqlite3.Connection, *, make: bool) -> bool:
    """Whether the tables are there, and nothing else; an empty database gets them where `make` is set.

    Raises:
      ValueError: other tables, or of another version.
    """
    found = {sql for (sql,) in database.execute('SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL')}
    if not found and make:
        for statement in _SCHEMA:
            database.execute(statement)
        database.execute(f'PRAGMA application_id = {_APPLICATION}')
        database.execute(f'PRAGMA user_version = {_VERSION}')
        return True
    if found and found != set(_SCHEMA):
        raise ValueError('other tables than those of this version')
    return bool(found)


def now() -> str:
    """The time, as it is stored."""
    return datetime.now(UTC).isoformat(timespec='milliseconds')


def marks(values: Sequence) -> str:
    """Places of values in a statement."""
    return ', '.join('?' * len(values))


def parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Numbers, as many at a time as a statement takes."""
    for start in range(0, len(numbers), _MOST_AT_ONCE):
        yield numbers[start : start + _MOST_AT_ONCE]


@contextlib.contextmanager
def faults(path: Path, otherwise: type[DataError] | type[StorageError]) -> Iterator[None]:
    """What SQLite says, as one error: damage as a DataError, all else as `otherwise`."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, 'sqlite_errorcode', 0) & 0xFF
        if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(path, error) from error
        raise _refused(path, str(error), otherwise) from error
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise _damaged(path, error) from error
    except OSError as error:
        raise _refused(path, error.strerror or str(error), otherwise) from error


def _damaged(path: Path, error: Exception) -> DataError:
    action = 'restore it from a copy, or remove it and add its photos again'
    return DataError(Problem(str(path), f'damaged, or not the references of an index ({error})', action))


def _refused(path: Path, found: str, kind: type[DataError] | type[StorageError]) -> Exception:
    if kind is StorageError:
        return StorageError(f'{path}: cannot be written ({found}); check its permissions and the space of its disk')
    return DataError(Problem(str(path), f'cannot be read ({found})', 'check its permissions'))
