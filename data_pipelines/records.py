"""A folder of TFDS datasets that is made once: keyed by its content, written whole or not at all, read back in order.

    <cache_dir>/<name>-<key>/<dataset>/<version>/   records
    <cache_dir>/<name>-<key>/prepared.json          written last

TFDS itself knows a dataset by name and version only; the key is the caller's hash of everything that decides the
records. A folder gets its name when it is complete; what a killed preparation leaves behind has another name and is
removed by the next one.
"""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jaxret.errors import DataError, Problem, StorageError

tfds.disable_progress_bar()

VERSION = '1.0.0'


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
