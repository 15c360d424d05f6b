"""A data set prepared once: TFDS datasets in a folder keyed by its content, whole or not at all, read back by name.

    <cache_dir>/<name>-<key>/<dataset>/<version>/   records
    <cache_dir>/<name>-<key>/prepared.json          written last

TFDS itself knows a dataset by name and version only; the key hashes the data set's fingerprint (folder, files, splits),
every option and the code that makes the records.
"""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.atomic_folder import complete_folder
from data_pipelines.dataset import SPLITS, Dataset, all_problems
from data_pipelines.file_checks import SERIAL_BELOW, source_hash
from jaxret.errors import DataError, Problem, StorageError
from jaxret.workers import map_parallel

tfds.disable_progress_bar()

VERSION = '1.0.0'
DatasetType = TypeVar('DatasetType', bound=Dataset)


class RecordWriter:
    """Writes the datasets of one preparation; an item that fails is left out of them and kept in `failed`.

    Attributes:
      failed: what is wrong, by the item's name.
    """

    def __init__(self, folder: Path, *, processes: int, progress: bool):
        self._folder, self._processes, self._progress = folder, processes, progress
        self.failed: dict[str, tuple[Problem, ...]] = {}

    def write(
        self,
        name: str,
        description: str,
        features: dict[str, Any],
        splits: Mapping[str, Sequence[Any]],
        make: Callable[[Any], Any],
        record: Callable[[Any, Any], dict[str, Any]],
        *,
        title: str,
        argument: Callable[[Any], Any] = lambda item: item,
        key: str = 'name',
        serial_below: int | None = None,
    ) -> None:
        """Writes one dataset.

        Args:
          name: of the dataset.
          description: of the dataset.
          features: TFDS features of a record, less `name`.
          splits: items by split; one without items is not written.
          make: makes the content of an item, in worker processes (which import its module: not this one).
          record: of an item and its content, less `name`.
          title: of the progress bar.
          argument: what `make` takes of an item.
          key: the attribute of an item that is its name.
          serial_below: fewer items are made in this process, sooner than others start; None takes the usual number.

        Raises:
          DataError: no item of a split can be used; with what is wrong with any.
        """
        splits = {split: items for split, items in splits.items() if items}  # TFDS has no empty splits
        if not splits:
            return
        ordered = [item for items in splits.values() for item in items]
        results = map_parallel(
            make,
            [argument(item) for item in ordered],
            processes=self._processes,
            serial_below=SERIAL_BELOW if serial_below is None else serial_below,
            ordered=True,
            progress=title if self._progress else None,
        )

        def take(item: Any, result: Any) -> bool:
            if isinstance(result, DataError):
                self.failed[getattr(item, key)] = result.problems
            return not isinstance(result, DataError)

        def records(count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            for _ in range(count):  # TFDS asks for one split after the other
                index, result = next(results)
                item = ordered[index]
                if take(item, result):
                    yield index, record(item, result) | {'name': getattr(item, key)}

        builder = _Builder(
            dataset=name,
            description=description,
            features=features | {'name': tfds.features.Text()},
            generators={split: records(len(items)) for split, items in splits.items()},
            data_dir=self._folder,
        )
        downloads = self._folder / 'downloads'
        try:
            builder.download_and_prepare(download_dir=downloads)
        except Exception:  # TFDS gives up where every example of a split failed
            for index, result in results if self.failed else ():  # what is wrong with the others belongs to the report
                take(ordered[index], result)
            if self.failed:
                raise DataError(all_problems(self.failed)) from None
            raise
        finally:
            results.close()
            shutil.rmtree(downloads, ignore_errors=True)

    def outcome(self, dataset: Dataset, *, skip: bool) -> dict[str, Any]:
        """Content of prepared.json: what was left out, and why. Raises DataError where that is refused."""
        problems = all_problems(self.failed)
        if problems and not skip:
            raise DataError(problems)
        if problems:
            dataset.without(set(self.failed), problems)  # raises where too little is left
        return {'dropped': list(self.failed), 'problems': [dataclasses.astuple(problem) for problem in problems]}


def prepare_records(
    dataset: DatasetType,
    write: Callable[[RecordWriter], None],
    *,
    name: str,
    options: Mapping[str, Any],
    code: Sequence[str],
    cache_dir: Path | str,
    on_bad_file: str = 'error',
    processes: int = 2,
    progress: bool = True,
) -> tuple[Path, DatasetType]:
    """Prepares a data set once, or finds that this was done before.

    Args:
      dataset: what to prepare.
      write: writes its TFDS datasets.
      name: first part of the folder's name.
      options: all that decides the records besides the files (JSON).
      code: files with code that makes them, as `source_hash` takes them.
      cache_dir: where prepared data sets are kept.
      on_bad_file: 'error', or 'skip' to leave out what fails only now (a mesh that loads but cannot be rendered, a file
        that changed since it was checked) and list it in `skipped` of the result.
      processes: worker processes.
      progress: show progress bars.

    Returns:
      the folder, and the data set less what was left out.

    Raises:
      DataError: files that cannot be prepared.
      StorageError: cache_dir cannot be written, or the disk is full.
    """
    folder = Path(cache_dir) / f'{name}-{record_key(dataset, dict(options) | {"on_bad_file": on_bad_file}, code)}'

    def fill(draft: Path) -> dict[str, Any]:
        writer = RecordWriter(draft, processes=processes, progress=progress)
        write(writer)
        return writer.outcome(dataset, skip=on_bad_file == 'skip')

    done = complete_folder(folder, fill)
    if done['dropped']:
        dataset = dataset.without(set(done['dropped']), [Problem(*problem) for problem in done['problems']])
    return folder, dataset


def record_key(dataset: Dataset, options: Mapping[str, Any], code: Sequence[str]) -> str:
    """What tells a prepared folder from others."""
    version = [source_hash(__file__, *code), VERSION]
    content = json.dumps([dataset.fingerprint, dataset.categories, options, *version], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_records(
    folder: Path, name: str, split: str, wanted: Iterable[str], decoders: dict[str, Any] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Records of a split, each with its row.

    Args:
      folder: from `prepare_records`.
      name: of the dataset.
      split: of the dataset.
      wanted: names of the records, each in its row; others are passed over.
      decoders: as TFDS takes them.

    Raises:
      StorageError: the records are damaged, or of other items.
    """
    rows, found = {text: row for row, text in enumerate(wanted)}, 0
    for record in _all_records(folder / name / VERSION, split, decoders) if rows else ():
        text = record['name']
        row = rows.get(text.decode() if isinstance(text, bytes) else str(text))
        if row is not None:
            found += 1
            yield row, record
    if found != len(rows):
        raise StorageError(f'{folder}: holds other items; delete the folder to prepare it again')


def check_split(split: str, splits: Sequence[str] = SPLITS, *, key: str = 'split') -> None:
    """Raises ValueError for a split that does not exist."""
    if split not in splits:
        raise ValueError(f'{key}={split!r}: use one of {", ".join(splits)}')


def png_features(size: int, channels: int) -> tfds.features.Image:
    """A square picture, stored as PNG."""
    return tfds.features.Image(shape=(size, size, channels), encoding_format='png')


def array_features(*shape: int, dtype: type = np.uint8) -> tfds.features.Tensor:
    """A compressed array."""
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='zlib')


class _KeepEncoded(tfds.decode.SkipDecoding):
    """Leaves the pictures of a sequence encoded, which TFDS 4.9.10's own decoder does for single pictures only."""

    def decode_batch_example_np(self, example: np.ndarray) -> np.ndarray:
        return example


KEEP_VIEWS = {'views': _KeepEncoded()}  # decoders for `read_records`


def _all_records(directory: Path, split: str, decoders: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """Records in the order in which they were written; none for a split that was not."""
    if not directory.is_dir():
        return
    try:
        builder = tfds.builder_from_directory(directory)
        if split in builder.info.splits:
            yield from builder.as_data_source(split=split, decoders=decoders)
    except Exception as error:
        again = f'delete {directory.parents[1]} to prepare it again'
        raise StorageError(f'{directory}: damaged ({error}); {again}') from error


class _Info(tfds.core.DatasetInfo):
    def initialize_from_bucket(self) -> None:
        """There is no published dataset of this name to ask a server for."""


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes records from generators, in their order, and says nothing while doing so."""

    VERSION = tfds.core.Version(VERSION)
    # Nothing is downloaded, so there are no checksums beside the code; looking for them needs a package
    # (importlib_resources) that TFDS 4.9.10 does not declare.
    code_path = None

    def __init__(self, *, dataset: str, description: str, features: dict, generators: dict, data_dir: Path):
        self.name = dataset
        self._description, self._features, self._generators = description, features, generators
        super().__init__(file_format='array_record', data_dir=data_dir)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(self._features)
        return _Info(builder=self, description=self._description, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager) -> dict[str, Any]:
        return self._generators

    def _generate_examples(self):
        raise NotImplementedError  # each split has its generator

    def _log_download_bytes(self) -> None:
        pass

    def _log_download_done(self) -> None:
        pass
