"""Data-parallel compilation of a train step: `jit` over a device mesh, or `pmap`.

Under `jit` arrays are global, so negatives, colour styles and batch statistics see the whole batch and the compiler
inserts the communication. Under `pmap` each device has a replica and a share of the batch; the system gathers
embeddings in rank order and synchronises its batch norm. Both give the same numbers as one device.

Several processes (see `jaxret.training.processes`) work under `jit` only. Each has the same number of devices and
brings its share of every batch: of P processes the p-th has the p-th P-th of the rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxret.errors import ConfigError
from jaxret.training.state import TrainState
from jaxret.training.step import TrainStep

AXIS = 'data'
MODES = ('jit', 'pmap')


@dataclass(frozen=True)
class Parallel:
    """How arrays are placed and the step is compiled.

    Attributes:
      mode: 'jit' or 'pmap'.
      devices: devices in rank order.
    """

    mode: str
    devices: tuple[jax.Device, ...]

    @property
    def axis_name(self) -> str | None:
        """Name of the device axis that the step and its modules must use (None under `jit`)."""
        return AXIS if self.mode == 'pmap' else None

    @property
    def _mesh(self) -> Mesh:
        return Mesh(np.array(self.devices), (AXIS,), axis_types=(AxisType.Auto,))

    @property
    def own(self) -> 'Parallel':
        """This process's devices alone."""
        return Parallel(self.mode, tuple(x for x in self.devices if x.process_index == jax.process_index()))

    def place_replicated(self, tree: Any) -> Any:
        """Puts a copy of every array on every device of a `jit` mesh (used for state and evaluation variables)."""
        return jax.make_array_from_process_local_data(NamedSharding(self._mesh, PartitionSpec()), tree)

    def place_sharded(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Splits arrays, which are this process's share of global ones, along their first axis over a `jit` mesh."""
        return jax.make_array_from_process_local_data(NamedSharding(self._mesh, PartitionSpec(AXIS)), dict(batch))

    def place_state(self, state: TrainState) -> TrainState:
        """A state as the compiled step takes it."""
        if self.mode == 'jit':
            return self.place_replicated(state)
        count = len(self.devices)
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        copies = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x), (count, *x.shape)), state)
        return jax.device_put(copies, sharding)

    def single(self, tree: Any) -> Any:
        """One copy of a replicated state or of its metrics."""
        return tree if self.mode == 'jit' else jax.tree.map(lambda x: x[0], tree)

    def local(self, tree: Any) -> Any:
        """`single` on a device of this process, where work needs no other process."""
        tree = self.single(tree)
        return tree if jax.process_count() == 1 else jax.tree.map(lambda x: x.addressable_data(0), tree)

    def place_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """A batch (this process's share) as the compiled step takes it: split over devices along its first axis."""
        if self.mode == 'jit':
            return self.place_sharded(batch)
        count = len(self.devices)
        return self.place_sharded({name: value.reshape(count, -1, *value.shape[1:]) for name, value in batch.items()})

    def compile(self, step: TrainStep) -> Callable[[TrainState, Any], tuple[TrainState, Any]]:
        """The compiled step; its state argument is donated."""
        if self.mode == 'pmap':
            return jax.pmap(step, axis_name=AXIS, devices=list(self.devices), donate_argnums=0)
        replicated = NamedSharding(self._mesh, PartitionSpec())
        sharded = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return jax.jit(
            step, in_shardings=(replicated, sharded), out_shardings=(replicated, replicated), donate_argnums=0
        )


def make_parallel(
    mode: str, *, devices: int, divided: Mapping[str, int], available: Sequence[jax.Device] | None = None
) -> Parallel:
    """Checks and resolves the config's choice.

    Args:
      mode: 'jit' or 'pmap'.
      devices: how many to use, of all processes together; 0 for all that divide what is divided.
      divided: {key of the config: number of items that the devices divide evenly}; {} where nothing is.
      available: defaults to `jax.devices()`.

    Raises:
      ConfigError: unknown mode, more devices than there are, or a number that does not divide; several processes under
        `pmap`, or from which not the same number of devices can be taken.
    """
    available, processes = list(available or jax.devices()), jax.process_count()
    if mode not in MODES:
        raise ConfigError(f'config.parallel.mode: {mode!r} is not one of {", ".join(MODES)}')
    if mode == 'pmap' and processes > 1:
        raise ConfigError(f'config.parallel.mode: pmap is for one process, and this run has {processes}; use jit')
    if devices == 0:  # the most that divide, as many of every process
        counts = range(processes, len(available) + 1, processes)
        even = (n for n in counts if not any(value % n for value in divided.values()))
        devices = max(even, default=processes)
    if not 1 <= devices <= len(available):
        raise ConfigError(
            f'config.parallel.devices: {devices}, but there are {len(available)} devices here; set '
            f'--config.parallel.devices to at most that, or to 0 for as many as divide the batch'
        )
    for key, value in divided.items():
        if value % devices:
            raise ConfigError(
                f'config.{key}: {value} does not divide over {devices} devices; set '
                f'--config.{key} to a multiple or --config.parallel.devices to a divisor'
            )
    return Parallel(mode, _first_of_each(available, devices, processes))


def divided_batch(batch_size: int, chunk: int = 0) -> dict[str, int]:
    """What devices divide of a batch, of which a chunk is encoded at once (`model.chunk`; 0 is all).

    Raises:
      ConfigError: the chunk does not divide the batch.
    """
    if chunk < 0 or chunk and batch_size % chunk:
        raise ConfigError(
            f'config.model.chunk: {chunk} does not divide config.batch_size, {batch_size}; choose a divisor, or 0'
        )
    return {'batch_size': batch_size} | ({'model.chunk': chunk} if chunk else {})


def _first_of_each(available: Sequence[jax.Device], devices: int, processes: int) -> tuple[jax.Device, ...]:
    """As many devices of every process, in rank order. Raises ConfigError where one has not so many."""
    own = [[x for x in available if x.process_index == index] for index in range(processes)]
    if devices % processes or devices > processes * min(map(len, own)):
        raise ConfigError(
            f'config.parallel.devices: {devices}, but as many of each of {processes} processes are '
            f'needed, which have {", ".join(str(len(part)) for part in own)}'
        )
    return tuple(x for part in own for x in part[: devices // processes])
