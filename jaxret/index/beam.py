"""The long part of `update_index`, reading and embedding models, on many machines: an Apache Beam pipeline.

The files are cut into groups, one a shard. The machine that started it writes the files of every group to
INDEX/beam/<run>/, workers embed a group each and write its shard and its results beside it, and the machine that
started it collects these. All see the models, the work directory of the run and the index under the same paths, on a
shared file system. A group that is embedded twice, as Beam may do, gives the same files; what a killed run embedded is
taken up by the next one, with or without Beam.

The shards are those of a run without Beam, byte by byte, where processors and versions are alike: both call
`embed_files` with the same files. Workers with other weights or versions are refused.
"""

import contextlib
import functools
import json
import re
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxret.errors import CheckpointError, ConfigError, DataError, JaxretError, Problem
from jaxret.files import write_atomically
from jaxret.index.embed import Result, embed_files, versions
from jaxret.index.files import BEAM
from jaxret.index.shards import SHARD_SHAPES, embedding_key
from jaxret.inference.model import Model
from jaxret.inference.pretrained_model import load_model
from jaxret.optional_packages import need
from jaxret.workers import default_processes, progress_bar

_READERS = 2  # processes a worker: a mesh that crashes or hangs must not take the worker with it
_SECONDS = 1.0  # between looks at what is done


@dataclass(frozen=True)
class _Job:
    """What every worker must know; small and plain, as it travels."""

    index: str
    folder: str  # of the files of groups and their results
    system: str
    workdir: str
    gallery: str
    fingerprint: str
    key: str
    processes: int
    versions: tuple[tuple[str, str], ...]


class BeamEmbedding:
    """Takes the place of `embed_files` in `update_index`.

    Args:
      arguments: Beam's own options, as on its command lines ('--runner=FlinkRunner', ...). Without a runner, processes
        on this machine.

    Raises:
      ConfigError: the extra is not installed, or options that Beam does not know.
    """

    def __init__(self, arguments: Sequence[str] = ()):
        need('apache_beam', extra='beam', purpose='--beam')
        self._options = _options(arguments)

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
          JaxretError: the pipeline failed.
        """
        place = folder / BEAM
        _remove_jobs(place)  # of a run that was killed
        if not items:
            return
        job = _Job(
            str(folder),
            str(place / secrets.token_hex(4)),
            model.system,
            str(model.workdir),
            model.shape_inputs.representation,
            model.fingerprint,
            key,
            processes or _READERS,
            tuple(versions().items()),
        )
        groups = range(0, len(items), SHARD_SHAPES)
        for number, start in enumerate(groups):
            files = [[str(path), up_axis] for path, up_axis in items[start : start + SHARD_SHAPES]]
            write_atomically(_input(job, number), json.dumps(files))
        try:
            with _progress(job, len(groups) if progress else 0):
                self._run(job, len(groups))
            for number, start in enumerate(groups):
                for place_in_group, result in _results(job, number):
                    yield start + place_in_group, result
        finally:
            _remove_jobs(place)

    def _run(self, job: _Job, groups: int) -> None:
        import apache_beam as beam

        try:
            with beam.Pipeline(options=self._options) as pipeline:
                # pylint: disable=expression-not-assigned
                _ = (
                    pipeline
                    | 'groups' >> beam.Create(range(groups))
                    | 'one a worker' >> beam.Reshuffle()
                    | 'embed' >> beam.Map(functools.partial(embed_group, job=job))
                )
        except Exception as error:
            last = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise JaxretError(
                f'the Beam pipeline failed ({last[:500]}); what it embedded is kept: the same command '
                f'goes on from there'
            ) from error


def embed_group(number: int, *, job: _Job) -> None:
    """Embeds the files of a group, in a worker; writes its shard and its results."""
    try:
        if dict(job.versions) != versions():
            raise CheckpointError(
                f'a worker has other versions ({versions()}) than where the pipeline was started '
                f'({dict(job.versions)}); install the same'
            )
        model = _model(job.system, job.workdir, job.gallery)
        if model.fingerprint != job.fingerprint:
            raise CheckpointError(
                f'{job.workdir}: a worker found other weights there ({model.fingerprint[:12]}, not '
                f'{job.fingerprint[:12]}); give all machines the same work directory'
            )
        if embedding_key(model.fingerprint, model.shape_inputs) != job.key:
            raise CheckpointError(
                f'{job.workdir}: a worker makes other views, points or silhouettes of models than this run does; index '
                f'with settings of your own without Beam'
            )
        items = [(Path(path), up_axis) for path, up_axis in json.loads(_input(job, number).read_text())]
        results = [
            _to_json(result)
            for _, result in sorted(
                embed_files(Path(job.index), model, job.key, items, processes=job.processes, progress=False)
            )
        ]
        content: dict[str, Any] = {'results': results}
    except JaxretError as error:
        content = {'error': str(error)}
    write_atomically(_output(job, number), json.dumps(content))


@functools.cache
def _model(system: str, workdir: str, gallery: str) -> Model:
    """One a process."""
    return load_model(system, workdir, default=gallery)


def _remove_jobs(place: Path) -> None:
    """Removes the folders of runs, and nothing else that may be there."""
    for job in place.glob('*'):
        if re.fullmatch('[0-9a-f]{8}', job.name):
            shutil.rmtree(job, ignore_errors=True)
    with contextlib.suppress(OSError):
        place.rmdir()


def _input(job: _Job, number: int) -> Path:
    return Path(job.folder, f'{number:08d}.files.json')


def _output(job: _Job, number: int) -> Path:
    return Path(job.folder, f'{number:08d}.results.json')


def _to_json(result: Result) -> list:
    if isinstance(result, DataError):
        return [[problem.where, problem.found, problem.action] for problem in result.problems]
    checksum, (shard, row) = result
    return [checksum, shard, row]


def _results(job: _Job, number: int) -> Iterator[tuple[int, Result]]:
    try:
        stored = json.loads(_output(job, number).read_text())
    except FileNotFoundError:
        raise JaxretError(
            f'{_output(job, number)} is missing though the pipeline ended: its workers do not write to '
            f'this file system; put the index where all machines see it under one path'
        ) from None
    if 'error' in stored:
        raise CheckpointError(stored['error'])
    for place, result in enumerate(stored['results']):
        if result and isinstance(result[0], list):
            yield place, DataError([Problem(*problem) for problem in result])
        else:
            checksum, shard, row = result
            yield place, (checksum, (shard, row))


@contextlib.contextmanager
def _progress(job: _Job, total: int) -> Iterator[None]:
    """A bar of the groups that are done; without one for 0."""
    ended = threading.Event()
    with progress_bar('Embedding shards', total) as advance:

        def look() -> None:
            seen = 0
            while total and not ended.wait(_SECONDS):
                done = len(list(Path(job.folder).glob('*.results.json')))
                for _ in range(done - seen):
                    advance()
                seen = done

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _options(arguments: Sequence[str]) -> Any:
    """Beam's options; processes on this machine where no runner is named.

    DirectRunner would try to download another runner first; FnApiRunner is what it falls back to.
    """
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

    given = PipelineOptions(list(arguments)).view_as(StandardOptions)
    if not any(word.split('=')[0] == '--runner' for word in arguments):
        words = {word.split('=')[0] for word in arguments}
        workers = max(1, default_processes() // _READERS)
        local = {
            '--runner': 'FnApiRunner',
            '--direct_running_mode': 'multi_processing',
            '--direct_num_workers': str(workers),
        }
        arguments = [*(f'{name}={value}' for name, value in local.items() if name not in words), *arguments]
        given = PipelineOptions(arguments).view_as(StandardOptions)
    if given.runner.split('.')[-1] in StandardOptions.LOCAL_RUNNERS:  # others know more than Beam here does
        known = PipelineOptions([]).get_all_options()
        unknown = sorted(given.get_all_options(retain_unknown_options=True).keys() - known.keys())
        if unknown:
            raise ConfigError(f'--beam: Beam does not know --{unknown[0]}')
    return given
