"""A folder of TFDS datasets that is made once: keyed by its content, written whole or not at all, read back in order.

    <cache_dir>/<name>-<key>/<dataset>/<version>/   records
    <cache_dir>/<name>-<key>/prepared.json          written last

TFDS itself knows a dataset by name and version only; the key is the caller's hash of everything that decides the
records. A folder gets its name when it is complete; what a killed preparation leaves behind has another name and is
removed by the next one.
"""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.quiet import tfds
from jaxret.errors import DataError, JaxretError, Problem, StorageError
from jaxret.files import write_atomically

VERSION = '1.0.0'
MARKER = 'prepared.json'


def complete_folder(folder: Path, write: Callable[[Path], Any]) -> Any:
    """Makes a folder unless it is there. Several processes may ask for it at once.

    Args:
      folder: its path, below the cache folder.
      write: fills the draft folder that it is given; what it returns (JSON) is kept as prepared.json.

    Returns:
      the content of prepared.json.

    Raises:
      StorageError: the cache folder cannot be written, or the disk is full.
    """
    complete = folder / MARKER
    try:
        if not complete.is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with _locked(folder.parent / f'.{folder.name}.lock'):
                if not complete.is_file():  # nobody else did it meanwhile
                    _write_folder(folder, write)
        return json.loads(complete.read_text(encoding='utf-8'))
    except JaxretError:
        raise
    except Exception as error:
        raise _storage_error(folder.parent, error) from error


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """There is no published dataset of this name to ask a server for."""


class RecordBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes records from generators, in their order, and says nothing while doing so."""

    VERSION = tfds.core.Version(VERSION)
    DESCRIPTION = ''
    # Nothing is downloaded, so there are no checksums beside the code; looking for them needs a package
    # (importlib_resources) that TFDS 4.9.10 does not declare.
    code_path = None

    def __init__(self, *, generators: dict[str, Any], features: dict[str, Any], **kwargs):
        self._generators, self._features = generators, features
        super().__init__(file_format='array_record', **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(self._features)
        return _Info(builder=self, description=self.DESCRIPTION, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager) -> dict[str, Any]:
        return self._generators

    def _generate_examples(self):
        raise NotImplementedError  # each split has its generator

    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass


class KeepEncoded(tfds.decode.SkipDecoding):
    """Leaves the pictures of a sequence encoded, which TFDS 4.9.10's own decoder does for single pictures only."""

    def decode_batch_example_np(self, example: np.ndarray) -> np.ndarray:
        return example


def build_records(
    builder_class: type[RecordBuilder],
    folder: Path,
    generators: dict[str, Any],
    features: dict[str, Any],
    failed: Mapping[str, tuple[Problem, ...]],
) -> None:
    """Write one dataset.

    Args:
      builder_class: names the dataset.
      folder: where it goes.
      generators: (index, record) of every split, by the split's name; at least one.
      features: TFDS features of a record.
      failed: what the generators found wrong, filled while they run.

    Raises:
      DataError: with `failed`, where a split has no record.
    """
    builder = builder_class(data_dir=folder, generators=generators, features=features)
    try:
        builder.download_and_prepare(download_dir=folder / 'downloads')
    except Exception:
        if failed:  # TFDS gives up where every example of a split failed
            raise DataError([problem for wrong in failed.values() for problem in wrong]) from None
        raise
    finally:
        shutil.rmtree(folder / 'downloads', ignore_errors=True)


def read_records(folder: Path, name: str, split: str, decoders: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Records of a split in the order in which they were written; none for a split that was not.

    Args:
      folder: from `complete_folder`.
      name: of the dataset.
      split: of the dataset.
      decoders: as TFDS takes them.

    Raises:
      StorageError: the records are damaged.
    """
    directory = folder / name / VERSION
    if not directory.is_dir():
        return
    try:
        builder = tfds.builder_from_directory(directory)
        if split in builder.info.splits:
            yield from builder.as_data_source(split=split, decoders=decoders)
    except Exception as error:
        raise StorageError(f'{directory}: damaged ({error}); delete {folder} to prepare it again') from error


def as_text(value: bytes | str) -> str:
    """A text feature of a record."""
    return value.decode() if isinstance(value, bytes) else str(value)


def _write_folder(folder: Path, write: Callable[[Path], Any]) -> None:
    """Write below a draft folder that gets its name at the end."""
    _remove_leftovers(folder)
    draft = Path(tempfile.mkdtemp(prefix=f'.{folder.name}.', dir=folder.parent))
    try:
        draft.chmod(0o755)
        done = write(draft)
        write_atomically(draft / MARKER, json.dumps(done, indent=1))
        os.replace(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Only one process prepares a folder; another waits and finds it done. The lock ends with its process."""
    with path.open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _remove_leftovers(folder: Path) -> None:
    """Drafts of preparations that were killed: none is at work while the caller holds the lock."""
    for draft in folder.parent.glob(f'.{folder.name}.*'):
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _storage_error(folder: Path, error: Exception) -> Exception:
    """A StorageError if the disk is behind an error, else the error itself.

    TFDS wraps what it meets, and the record writer raises RuntimeError with the system's words in its message.
    """
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
    spoken = [os.strerror(code) for code in codes]
    cause: BaseException | None = error
    while cause is not None:
        reason = next((words for words in spoken if words in str(cause)), None)
        if reason is None and isinstance(cause, OSError):
            reason = cause.strerror or str(cause)
        if reason is not None:
            return StorageError(f'{folder}: cannot be written ({reason}); free space, or name another cache folder')
        cause = cause.__cause__ or cause.__context__
    return error
