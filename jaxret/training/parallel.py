"""Data-parallel compilation of a train step: `jit` over a device mesh, or `pmap`.

Under `jit` arrays are global, so negatives, colour styles and batch statistics see the whole batch and the compiler
inserts the communication. Under `pmap` each device has a replica and a share of the batch; the system gathers
embeddings in rank order and synchronises its batch norm. Both give the same numbers as one device.
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

    def place_replicated(self, tree: Any) -> Any:
        """Puts a copy of every array on every device of a `jit` mesh (used for state and evaluation variables)."""
        return jax.device_put(tree, NamedSharding(self._mesh, PartitionSpec()))

    def place_sharded(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Splits arrays along their first axis over a `jit` mesh."""
        sharding = NamedSharding(self._mesh, PartitionSpec(AXIS))
        return {name: jax.device_put(value, sharding) for name, value in batch.items()}

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

    def place_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """A batch as the compiled step takes it: split along its first axis over the devices."""
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
        return jax.jit(step, in_shardings=(replicated, sharded), out_shardings=(replicated, replicated),
                       donate_argnums=0)


def make_parallel(mode: str, *, devices: int, batch_size: int, chunk: int = 0,
                  available: Sequence[jax.Device] | None = None) -> Parallel:
    """Checks and resolves the config's choice.

    Args:
      mode: 'jit' or 'pmap'.
      devices: how many to use; 0 for all that divide into the batch.
      batch_size: global batch, split evenly.
      chunk: part of it that is encoded at once (`model.chunk` of systems that have it), split evenly; 0 is all.
      available: defaults to `jax.devices()`.

    Raises:
      ConfigError: unknown mode, more devices than there are, or a batch or chunk that does not divide.
    """
    if mode not in MODES:
        raise ConfigError(f'config.parallel.mode: {mode!r} is not one of {", ".join(MODES)}')
    if chunk < 0 or chunk and batch_size % chunk:
        raise ConfigError(f'config.model.chunk: {chunk} does not divide config.batch_size, {batch_size}; choose a '
                          f'divisor, or 0')
    available = list(available or jax.devices())
    if devices == 0:
        devices = max(n for n in range(1, len(available) + 1) if (chunk or batch_size) % n == 0)
    if not 1 <= devices <= len(available):
        raise ConfigError(f'config.parallel.devices: {devices}, but there are {len(available)} devices here')
    if batch_size % devices:
        raise ConfigError(f'config.batch_size: {batch_size} does not divide over {devices} devices; set '
                          f'--config.batch_size to a multiple or --config.parallel.devices to a divisor')
    if chunk % devices:
        raise ConfigError(f'config.model.chunk: {chunk} does not divide over {devices} devices; set '
                          f'--config.model.chunk to a multiple or --config.parallel.devices to a divisor')
    return Parallel(mode, tuple(available[:devices]))
