"""The long part of `update_index`, reading and embedding models, on many machines: workers of a Dask cluster.

The files are cut into groups, one a shard. A worker embeds a group, writes its shard and returns its results. All see
the models, the work directory of the run and the index under the same paths, on a shared file system. A group whose
worker is lost goes to another one; embedded twice, it is the same shard. What a killed run embedded is taken up by the
next one, with or without a cluster.

The shards are those of one machine, byte by byte, where processors and versions are alike: both call `embed_files` with
the same files. Workers with other weights or versions are refused.
"""

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxret.errors import CheckpointError, ConfigError, JaxretError, StorageError
from jaxret.files import read_json
from jaxret.index.embed import Result, embed_files, versions
from jaxret.index.files import LOCK
from jaxret.index.shards import SHARD_SHAPES, SHARDS, embedding_key
from jaxret.inference.model import Model
from jaxret.inference.pretrained_model import load_model
from jaxret.optional_packages import need
from jaxret.workers import progress_bar

_READERS = 2  # processes a worker: a mesh that crashes or hangs must not take the worker with it
_SECONDS = 30.0  # for a scheduler to answer


@dataclass(frozen=True)
class _Job:
    """What every worker must know; small and plain, as it travels."""

    index: str
    system: str
    workdir: str
    gallery: str
    fingerprint: str
    key: str
    processes: int
    versions: tuple[tuple[str, str], ...]


class ClusterEmbedding:
    """Takes the place of `embed_files` in `update_index`.

    Args:
      scheduler: address of a Dask scheduler, such as 'tcp://host:8786', or the file (.json) that one wrote.

    Raises:
      ConfigError: the extra is not installed, or no scheduler can be there.
    """

    def __init__(self, scheduler: str):
        need('distributed', extra='cluster', purpose='--cluster')
        self._scheduler = scheduler
        self._connected().close()

    def __call__(
        self,
        folder: Path,
        model: Model,
        key: str,
        items: Sequence[tuple[Path, str]],
        *,
        processes: int | None,
        progress: bool,
    ) -> Iterator[tuple[int, Result]]:
        """As `embed_files`; `processes` are those that read models for each worker (default 2).

        Raises:
          CheckpointError: workers that have other weights or versions.
          StorageError: workers that do not see the models or the index.
          JaxretError: the cluster failed.
        """
        if not items:
            return
        from distributed import as_completed

        job = _Job(
            str(folder),
            model.system,
            str(model.workdir),
            model.shape_inputs.representation,
            model.fingerprint,
            key,
            processes or _READERS,
            tuple(versions().items()),
        )
        starts, results = range(0, len(items), SHARD_SHAPES), {}
        bar = progress_bar('Embedding shards' if progress else None, len(starts))
        with _cluster_errors(), self._connected() as client, client.as_current(), bar as advance:
            if progress and not client.nthreads():
                print(f'{self._scheduler}: no worker yet; waiting for one', file=sys.stderr)
            groups = [list(items[start : start + SHARD_SHAPES]) for start in starts]
            futures = [client.submit(embed_group, group, job=job, pure=False) for group in groups]
            for future in as_completed(futures):
                results[future] = future.result()
                _check_written(folder, results[future])
                advance()
        for start, future in zip(starts, futures, strict=True):
            yield from ((start + place, result) for place, result in enumerate(results[future]))

    def _connected(self) -> Any:
        """A Dask client."""
        from distributed import Client

        for name in ('distributed', 'distributed.client'):  # the error that is raised says it
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:  # Dask itself would wait for a file that is not there, without end
            address = self._scheduler
            address = read_json(Path(address))['address'] if address.endswith('.json') else address
            return Client(address, timeout=_SECONDS, set_as_default=False)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f'--cluster={self._scheduler}: no Dask scheduler there ({error}); start one with `dask scheduler`'
            ) from error


@contextlib.contextmanager
def _cluster_errors() -> Iterator[None]:
    try:
        yield
    except JaxretError:
        raise
    except Exception as error:
        raise JaxretError(
            f'the cluster failed ({type(error).__name__}: {str(error)[:500]}); what it embedded is kept: the same '
            f'command goes on from there'
        ) from error


def embed_group(items: Sequence[tuple[Path, str]], *, job: _Job) -> list[Result]:
    """Embeds the files of a group, in a worker; writes its shard and returns its results.

    Raises:
      CheckpointError: this worker has other weights or versions.
      StorageError: it does not see the models or the index.
    """
    if dict(job.versions) != versions():
        raise CheckpointError(
            f'a worker has other versions ({versions()}) than where the command was started '
            f'({dict(job.versions)}); install the same'
        )
    # A model may be a member of an archive: one of its parents is the file.
    seen = any(place.is_file() for path, _ in items for place in (path, *path.parents))
    for path, there in ((Path(job.index), Path(job.index, LOCK).exists()), (items[0][0], seen)):
        if not there:
            raise StorageError(f'{path}: a worker does not see it; give all machines the same files under one path')
    model = _model(job.system, job.workdir, job.gallery)
    if model.fingerprint != job.fingerprint:
        raise CheckpointError(
            f'{job.workdir}: a worker found other weights there ({model.fingerprint[:12]}, not '
            f'{job.fingerprint[:12]}); give all machines the same work directory'
        )
    if embedding_key(model.fingerprint, model.shape_inputs) != job.key:
        raise CheckpointError(
            f'{job.workdir}: a worker makes other views, points or silhouettes of models than this run does; index '
            f'with settings of your own without a cluster'
        )
    results = dict(embed_files(Path(job.index), model, job.key, items, processes=job.processes, progress=False))
    return [results[place] for place in range(len(items))]


@functools.cache
def _model(system: str, workdir: str, gallery: str) -> Model:
    """One a process."""
    return load_model(system, workdir, default=gallery)


def _check_written(folder: Path, results: Sequence[Result]) -> None:
    for result in results:
        if isinstance(result, tuple) and not (folder / SHARDS / result[1][0]).exists():
            raise StorageError(
                f'{folder / SHARDS / result[1][0]}: missing though a worker wrote it; put the index where all machines '
                f'see it under one path'
            )
