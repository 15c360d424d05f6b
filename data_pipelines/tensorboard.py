"""TensorBoard scalars (through TensorFlow, which is why this is here)."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf
from clu import metric_writers

from jaxret.errors import StorageError


class ScalarWriter:
    """Writes event files below a folder, which is made.

    Raises:
      StorageError: from every method, where the folder cannot be written or the disk is full.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        with self._storage_errors():
            self._writer = metric_writers.SummaryWriter(str(folder))

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        with self._storage_errors():
            self._writer.write_scalars(step, scalars)

    def close(self) -> None:
        """Writes what is left."""
        with self._storage_errors():
            self._writer.close()

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (tf.errors.OpError, OSError) as error:
            reason = str(getattr(error, 'message', error)).splitlines()[0][:300]
            raise StorageError(
                f'{self._folder}: cannot be written ({reason}); free some space, make it a writable '
                f'folder, or name another --workdir'
            ) from error
