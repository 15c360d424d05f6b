"""Orbax checkpoints of a train state: asynchronous, atomic, the newest and the best kept."""

import json
import math
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from jaxret.errors import CheckpointError, StorageError
from jaxret.training.state import PyTree, TrainState


class Checkpoints:
    """The checkpoints of one work directory; use it as a context manager.

    A checkpoint appears under its step number only once it is complete; a killed save leaves a temporary folder that
    the next start removes. Several processes share the folder and must all make the same calls. What is stored does not
    depend on their number, nor on that of devices; what is restored lies on one device of each process.

    Args:
      folder: where they are; made where missing.
      metric: name of the evaluation metric (higher is better) that decides which one is best.
      read_only: only restore.

    Raises:
      CheckpointError: metrics of a checkpoint that cannot be read, such as half a file.
    """

    def __init__(self, folder: Path, *, metric: str, read_only: bool = False):
        self.folder = folder.absolute()
        self._metric = metric

        def quality(metrics: dict[str, float]) -> float:
            return metrics.get(metric, -math.inf)

        newest_and_best = AnyPreservationPolicy([LatestN(1), BestN(get_metric_fn=quality, n=1)])
        options = ocp.CheckpointManagerOptions(
            best_fn=quality,
            best_mode='max',
            preservation_policy=newest_and_best,
            create=not read_only,
            read_only=read_only,
            cleanup_tmp_directories=not read_only,
        )
        try:
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except json.JSONDecodeError as error:
            raise CheckpointError(
                f'{_damaged_metrics(self.folder)}: metrics that cannot be read ({error}), so it is '
                f'not known which checkpoint is best; delete the folder of that step'
            ) from error

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the newest complete checkpoint."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the highest metric (the later one of equals); None where none has metrics."""
        return self._manager.best_step()

    def save(self, state: TrainState, metrics: dict[str, float]) -> None:
        """Starts to save in the background; waits for the save before it. Without its metric it is never the best.

        Raises:
          StorageError: this or the previous save failed (full disk, folder not writable).
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        try:
            self._manager.save(step, args=ocp.args.StandardSave(state), metrics=metrics)
        except Exception as error:
            _raise_if_of_another_process(error)
            raise self._storage_error(step, error) from error

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises:
          StorageError: it failed.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            _raise_if_of_another_process(error)
            raise self._storage_error(None, error) from error

    def restore(self, like: TrainState, *, step: int) -> TrainState:
        """The state saved at a step.

        Args:
          like: a state (or its `jax.eval_shape`) of the same structure.
          step: one of the saved steps.

        Raises:
          CheckpointError: unreadable, or of another structure or other sizes.
        """
        self._check_sizes(like, step)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except Exception as error:
            _raise_if_of_another_process(error)
            raise CheckpointError(
                f'{self.folder / str(step)}: cannot be restored ({_first_line(error)}); it may be '
                f'damaged or of another model; delete that folder to go on from the one before, or '
                f'name another --workdir'
            ) from error

    def _check_sizes(self, like: TrainState, step: int) -> None:
        """Raises CheckpointError where the parameters of a checkpoint have other shapes; not where it is damaged."""
        try:
            stored = ocp.StandardCheckpointer().metadata(self.folder / str(step) / 'default').item_metadata['params']
        except Exception:  # restoring says what is wrong
            return
        there, here = (
            {jax.tree_util.keystr(path, simple=True, separator='/'): x.shape for path, x in found}
            for found in map(jax.tree_util.tree_leaves_with_path, (stored, like.params))
        )
        for name in sorted(there.keys() & here.keys()):
            if tuple(there[name]) != tuple(here[name]):
                raise CheckpointError(
                    f'{self.folder / str(step)}: {name} has the shape {tuple(there[name])} there and '
                    f'{tuple(here[name])} here; leave out the keys that change the network or its input'
                )

    def stored_variables(self, *, step: int) -> dict[str, PyTree]:
        """The variables to evaluate of the state saved at a step, whatever their structure and number of devices.

        Raises:
          CheckpointError: unreadable.
        """
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        folder = self.folder / str(step) / 'default'
        try:
            metadata = ocp.StandardCheckpointer().metadata(folder).item_metadata
            # the optimizer's state stays on disk
            wanted = {name: metadata[name] for name in ('params', 'collections', 'average')}
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), wanted)
            places = jax.tree.map(lambda x: ocp.ArrayRestoreArgs(sharding=device, dtype=x.dtype), like)
            stored = ocp.PyTreeCheckpointer().restore(
                folder, args=ocp.args.PyTreeRestore(like, restore_args=places, partial_restore=True)
            )
            params, collections = stored['average'] or (stored['params'], stored['collections'])
            return {'params': params, **stored['collections'], **collections}  # an average holds what moves
        except Exception as error:
            _raise_if_of_another_process(error)
            raise CheckpointError(
                f'{self.folder / str(step)}: cannot be read ({_first_line(error)}); it may be damaged'
            ) from error

    def _storage_error(self, step: int | None, error: Exception) -> StorageError:
        good = [s for s in self._manager.all_steps(read=True) if s != step]
        kept = f'the last good checkpoint is {self.folder / str(max(good))}' if good else 'there is no checkpoint yet'
        return StorageError(
            f'{self.folder}: checkpoint could not be written ({_first_line(error)}); {kept}; free some '
            f'space or make the folder writable, then run the same command again'
        )


def _raise_if_of_another_process(error: Exception) -> None:
    """Processes wait for each other here; where one is lost nothing is wrong with the folder. `processes` names it."""
    if jax.process_count() > 1 and isinstance(error, jax.errors.JaxRuntimeError):
        raise error


def _damaged_metrics(folder: Path) -> Path:
    """The file of metrics that is no JSON; the folder if none is found."""
    for path in sorted(folder.glob('*/metrics/metrics')):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            return path
    return folder


def _first_line(error: Exception) -> str:
    return f'{type(error).__name__}: {(str(error).strip() or "no details").splitlines()[0][:300]}'
