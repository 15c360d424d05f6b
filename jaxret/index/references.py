"""Photos known to show models of an index: one SQLite file in its folder, which is also the log of who taught what.

Every change is one transaction (rollback journal), so that any number of processes and threads may teach at once.
Teaching removes no row: one that no longer counts has a time of removal. A row whose model the index does not have, or
that has no embedding of the index's model yet, does not count either, until they are there.

Letters: R references, D embedding.
"""

import contextlib
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxret.errors import DataError, StorageError
from jaxret.files import check_regular
from jaxret.index.reference_file import ORIGINS, Photo, Reference, check_schema, connect, faults, marks, now, parts
from jaxret.preprocessing.reference_pictures import ReferencePicture

REFERENCES = 'references.sqlite'
_COLUMNS = 'number, model, photo, origin, added, removed'


class References:
    """The references of an index. Safe to use from several threads and processes.

    Args:
      folder: of the index; without the file there are no references, and the first `add` makes it.
    """

    def __init__(self, folder: Path):
        self.path = folder / REFERENCES
        self._lock = threading.Lock()
        self._reader: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None  # device and inode that the reader has open

    def close(self) -> None:
        """Closes the file, which the next call opens again."""
        with self._lock:
            self._close()

    def add(self, photos: Sequence[tuple[str | None, Photo]], *, key: str, origin: str, session: str = '') -> list[int]:
        """Teaches photos, all or none.

        The same photo taught for the same model counts once. For another model, or for none, the newer teaching takes
        the place of the older one.

        Args:
          photos: each with the id of its model, or None: it shows none of the models, which is only noted.
          key: fingerprint of the model that embedded them.
          origin: one of `ORIGINS`.
          session: of whom `undo` is to take it back.

        Returns:
          numbers of the new rows.

        Raises:
          StorageError: the file cannot be written.
          DataError: it is damaged.
        """
        if origin not in ORIGINS:
            raise ValueError(f'origin={origin!r}')
        added, numbers = now(), []
        with self._writing() as database:
            (teaching,) = database.execute('SELECT coalesce(max(teaching), 0) + 1 FROM reference').fetchone()
            (number,) = database.execute('SELECT coalesce(max(number), 0) FROM reference').fetchone()
            for model, photo in photos:
                same = 'sha256 = ? AND removed IS NULL AND model IS NOT NULL'
                before = database.execute(
                    f'SELECT number, model FROM reference WHERE {same}', (photo.sha256,)
                ).fetchone()
                if model is not None and before and before[1] == model:
                    continue
                number += 1
                if before:
                    database.execute(
                        'UPDATE reference SET removed = ?, replaced_by = ? WHERE number = ?', (added, number, before[0])
                    )
                kept = photo.picture
                box = None if kept.box is None else ','.join(map(repr, map(float, kept.box)))
                row = (number, model, photo.name, photo.sha256, kept.picture, kept.mask, box, origin, session)
                database.execute(
                    f'INSERT INTO reference VALUES ({", ".join("?" * 11)}, NULL, NULL)', (*row, teaching, added)
                )
                _embed(database, number, key, photo.embedding)
                numbers.append(number)
        return numbers

    def remove(self, numbers: Iterable[int]) -> int:
        """References that are not to count any more; returns how many did. Raises as `add`."""
        numbers, done = sorted(set(numbers)), 0
        if not numbers or not self._exists():
            return 0
        with self._writing() as database:
            for part in parts(numbers):
                done += database.execute(
                    f'UPDATE reference SET removed = ? WHERE removed IS NULL AND number IN ({marks(part)})',
                    (now(), *part),
                ).rowcount
        return done

    def undo(self, session: str | None = None) -> list[Reference]:
        """Takes back the newest teaching that still counts; what it corrected counts again.

        Args:
          session: whose; None for anyone's.

        Returns:
          what was taken back; [] where there is nothing.

        Raises:
          StorageError, DataError: as `add`.
        """
        if not self._exists():
            return []
        with self._writing() as database:
            (teaching,) = database.execute(
                'SELECT max(teaching) FROM reference WHERE removed IS NULL AND session = coalesce(?, session)',
                (session,),
            ).fetchone()
            rows = database.execute(
                f'SELECT {_COLUMNS} FROM reference WHERE removed IS NULL AND teaching IS ? ORDER BY number', (teaching,)
            ).fetchall()
            for number, *_ in rows:
                database.execute('UPDATE reference SET removed = ? WHERE number = ?', (now(), number))
                database.execute(
                    'UPDATE reference SET removed = NULL, replaced_by = NULL WHERE replaced_by = ? AND teaching < ?',
                    (number, teaching),
                )
        return [Reference(*row) for row in rows]

    def rename(self, names: Mapping[str, str]) -> None:
        """Gives the references of models to others: old id -> new one. Raises as `add`."""
        if names and self._exists():
            with self._writing() as database:
                rows = database.execute('SELECT number, model FROM reference').fetchall()
                moved = [(names[model], number) for number, model in rows if model in names]  # all at once: names swap
                database.executemany('UPDATE reference SET model = ? WHERE number = ?', moved)

    def rows(self, model: str | None = None) -> list[Reference]:
        """References that are not removed, oldest first; of one model, or all, with those of no model.

        Raises:
          DataError: the file is damaged or cannot be read.
        """
        with self._reading() as database:
            rows = database.execute(
                f'SELECT {_COLUMNS} FROM reference '
                'WHERE removed IS NULL AND model IS coalesce(?, model) ORDER BY number',
                (model,),
            ).fetchall()
        return [Reference(*row) for row in rows]

    def picture(self, number: int) -> ReferencePicture:
        """What is kept of the photo of a reference. Raises KeyError: none, or removed; DataError: as `rows`."""
        with self._reading() as database:
            row = database.execute(
                'SELECT picture, mask, box FROM reference WHERE removed IS NULL AND number = ?', (number,)
            ).fetchone()
            kept = row and ReferencePicture(*row[:2], row[2] and tuple(float(side) for side in row[2].split(',')))
        if kept is None:
            raise KeyError(number)
        return kept

    def count(self) -> int:
        """Rows, with those that do not count any more. Raises DataError as `rows`."""
        with self._reading() as database:
            return database.execute('SELECT count(*) FROM reference').fetchone()[0]

    def active(self, key: str, places: Mapping[str, int]) -> tuple[np.ndarray, np.ndarray]:
        """What counts in a search.

        Args:
          key: fingerprint of the index's model.
          places: id of each of its models -> row.

        Returns:
          embeddings float32 [R, D], [0, 0] without any; rows int64 [R].

        Raises:
          DataError: as `rows`.
        """
        with self._reading() as database:
            rows = database.execute(
                'SELECT model, vector FROM reference JOIN embedding USING (number) '
                'WHERE removed IS NULL AND model IS NOT NULL AND key = ? ORDER BY number',
                (key,),
            ).fetchall()
            known = [(places[model], np.frombuffer(vector, '<f4')) for model, vector in rows if model in places]
            vectors = np.stack([vector for _, vector in known]) if known else np.zeros((0, 0), np.float32)
            if not np.isfinite(vectors).all():
                raise ValueError('embeddings that are not finite')
        return vectors.astype(np.float32), np.array([row for row, _ in known], np.int64)

    def state(self) -> tuple | None:
        """A value that changes when anyone has changed the file; None without one. Raises DataError as `rows`."""
        if not self._exists(DataError):
            return None
        with self._reading() as database:
            (version,) = database.execute('PRAGMA data_version').fetchone()
            return self._file, version

    def without_embedding(self, key: str) -> list[int]:
        """Numbers of references that no model of this fingerprint has embedded. Raises DataError as `rows`."""
        with self._reading() as database:
            rows = database.execute(
                'SELECT number FROM reference WHERE removed IS NULL AND number NOT IN '
                '(SELECT number FROM embedding WHERE key = ?) ORDER BY number',
                (key,),
            ).fetchall()
        return [number for (number,) in rows]

    def embed(self, key: str, embeddings: Mapping[int, np.ndarray]) -> None:
        """Adds embeddings [D] by a model of this fingerprint. Raises as `add`."""
        with self._writing() as database:
            for number, embedding in embeddings.items():
                _embed(database, number, key, embedding)

    def forget_embeddings(self, but: Sequence[str]) -> None:
        """Removes embeddings by models of other fingerprints than these. Raises as `add`."""
        with self._writing() as database:
            database.execute(f'DELETE FROM embedding WHERE key NOT IN ({marks(but)})', but)

    def _exists(self, otherwise: type[DataError] | type[StorageError] = StorageError) -> bool:
        """Whether there is a file. Raises `otherwise` for what is none."""
        with faults(self.path, otherwise):
            if self.path.is_symlink():
                raise OSError('a link')
            try:
                check_regular(self.path)
            except FileNotFoundError:
                return False
        return True

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own in a transaction, which holds at the end of the `with` block."""
        mode = 'rw' if self._exists() else 'rwc'
        with faults(self.path, StorageError), contextlib.closing(connect(self.path, mode)) as database:
            database.execute('BEGIN IMMEDIATE')
            try:
                check_schema(database, make=True)
                yield database
                database.execute('COMMIT')
            except BaseException:
                if database.in_transaction:
                    database.execute('ROLLBACK')
                raise

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for reading, to one thread at a time; an empty database where there is no file."""
        with self._lock, faults(self.path, DataError):
            exists = self._exists(DataError)
            state = os.stat(self.path) if exists else None
            if self._file != (state and (state.st_dev, state.st_ino)):
                self._close()
            try:
                if self._reader is None and exists:
                    self._reader, self._file = connect(self.path, 'rw'), (state.st_dev, state.st_ino)
                if exists and check_schema(self._reader, make=False):
                    yield self._reader
                    return
                # No teacher yet, or the first one was killed before its end.
                with contextlib.closing(sqlite3.connect(':memory:')) as empty:
                    check_schema(empty, make=True)
                    yield empty
            except BaseException:
                self._close()
                raise

    def _close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = self._file = None


def new_session() -> str:
    """A name that nobody else has, for `References.add` and `undo`."""
    return secrets.token_hex(8)


def _embed(database: sqlite3.Connection, number: int, key: str, embedding: np.ndarray) -> None:
    vector = np.ascontiguousarray(embedding, '<f4').tobytes()
    database.execute('INSERT OR REPLACE INTO embedding VALUES (?, ?, ?)', (number, key, vector))
