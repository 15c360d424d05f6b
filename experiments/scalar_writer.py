"""TensorBoard scalars of a run."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboard.summary import Writer

from jaxret.errors import StorageError


class ScalarWriter:
    """Writes event files below a folder, which is made.

    Raises:
      StorageError: from every method, where the folder cannot be written or the disk is full.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        with self._storage_errors():
            self._writer = Writer(str(folder))

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds a point to each curve."""
        with self._storage_errors():
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def close(self) -> None:
        """Writes what is left."""
        with self._storage_errors():
            self._writer.close()

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # TensorBoard writes through TensorFlow where that is installed, with its own errors
            reason = str(getattr(error, 'message', error)).splitlines()[0][:300]
            raise StorageError(
                f'{self._folder}: cannot be written ({reason}); free some space, make it a writable '
                f'folder, or name another --workdir'
            ) from error
