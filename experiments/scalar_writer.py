"""TensorBoard events of a run: grouped scalars, and the hyper-parameters."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from jaxret.errors import StorageError
from jaxret.files import storage_advice

_BESIDE = ('_low', '_high', '_chance', '_chance_self_first', '_expected', '_prior', '_neighbors')  # what goes with one


class ScalarWriter:
    """Writes event files below a folder, which is made.

    Args:
      folder: of TensorBoard.
      config: flattened: the hyper-parameters; None writes none. What is no number, text or truth value is written as
        text.

    Raises:
      StorageError: from every method, where the folder cannot be written or the disk is full.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any] | None = None):
        self._folder = folder
        with self._storage_errors():
            self._writer = EventFileWriter(str(folder))
            if config is not None:
                values = {key: value if isinstance(value, int | float) else str(value) for key, value in config.items()}
                self._writer.add_event(Event(wall_time=time.time(), summary=hparams_pb(values)))

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds a point to each curve: 'loss' to train/loss, 'val_top1' to eval/top1."""
        self._write(step, {_tag(name): value for name, value in scalars.items()})

    def write_results(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Adds the rates of metrics.json to retrieval/..., without their intervals and chances."""
        rates = {name: value for name, value in metrics.items() if isinstance(value, float)}
        self._write(step, {f'retrieval/{name}': value for name, value in rates.items() if not name.endswith(_BESIDE)})

    def close(self) -> None:
        """Writes what is left."""
        with self._storage_errors():
            self._writer.close()

    def _write(self, step: int, scalars: Mapping[str, float]) -> None:
        with self._storage_errors():
            for tag, value in scalars.items():
                event = Event(wall_time=time.time(), step=step, summary=scalar_pb(tag, value))
                self._writer.add_event(event)
            self._writer.flush()

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # TensorBoard writes through TensorFlow where that is installed, with its own errors
            reason = str(getattr(error, 'message', error)).splitlines()[0][:300]
            raise StorageError(
                f'{self._folder}: cannot be written ({reason}); {storage_advice(reason)} with --workdir'
            ) from error


def _tag(name: str) -> str:
    if name.startswith(('val_', 'test_')):
        return f'eval/{name.removeprefix("val_")}'
    return f'train/{name}'
