"""A gallery in blocks of bounded memory, each split over the devices.

Letters: Q queries, G gallery shapes, N shapes of a block.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = 'shapes'
_BLOCK_BYTES = 2**28  # of a device's rows
_COPIED_BYTES = 2**24  # of a CPU's rows that must be copied
# Products of queries and views held at a time. On a CPU more is slower: larger arrays are given back to the system and
# cleared anew for every block.
_HOST_PRODUCTS, _DEVICE_PRODUCTS = 2**20, 2**25
_MOST_QUERIES = 64  # at a time, for which a block is made
_ALIGNMENT = 64  # bytes; JAX reads arrays on the CPU without a copy where they start at a multiple of it
_RESIDENT_SHARE = 0.6  # of the accelerators' memory that a gallery may take


class RowBlocks:
    """Blocks of an array with one row a shape; every device holds an equal part of a block.

    On accelerators blocks stay in memory for the next search where they fit; else each is read when it is needed.

    Args:
      rows: [G, ...].
      allowed: [G] bool, which shapes are searched; at least one.
      devices: to work on.
      size: shapes a block and device, rounded up to whole aligned rows; None chooses.
      queries: how many there are.
      resident: keeps the blocks that stay on accelerators.

    Attributes:
      mesh: the devices.
      size: shapes a block, of all devices together; the last may be smaller.
      queries: how many to take at a time.
    """

    def __init__(
        self,
        rows: np.ndarray,
        allowed: np.ndarray,
        devices: Sequence[jax.Device],
        size: int | None,
        queries: int,
        resident: dict,
    ):
        self._rows, self._allowed = rows, allowed
        self.mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
        host = on_host(devices)
        products = _HOST_PRODUCTS if host else _DEVICE_PRODUCTS
        views = rows.shape[1] if rows.ndim == 3 else 1
        if size is None:
            copied = host and (rows.ctypes.data % _ALIGNMENT or not rows.flags.c_contiguous)
            size = max(1, (_COPIED_BYTES if copied else _BLOCK_BYTES) // (4 * rows[:1].size))
            if host:  # resident blocks are the same for any number of queries
                size = min(size, max(1, products // (power_of_two(min(queries, _MOST_QUERIES)) * views)))
        fits = not host and rows.nbytes <= _RESIDENT_SHARE * sum(_memory(device) for device in devices)
        self._resident = resident if fits else None
        self._ids = np.flatnonzero(allowed) if self._resident is None else np.arange(len(rows))
        count = -(-len(self._ids) // (size * len(devices)))
        # Blocks of one size but the last, whose starts stay aligned; a last one of that size would have to be copied.
        size = -(-len(self._ids) // (count * len(devices)))
        whole = _ALIGNMENT // math.gcd(_ALIGNMENT, rows[:1].nbytes)
        self.size = (-(-size // whole) * whole if count > 1 else size) * len(devices)
        self.queries = max(1, min(_MOST_QUERIES, products * len(devices) // (self.size * views)))

    def __len__(self) -> int:
        return -(-len(self._ids) // self.size)

    def ids(self, block: int) -> np.ndarray:
        """Gallery indices of a block, [N, or fewer in the last]; not all are allowed where blocks are resident."""
        return self._ids[block * self.size : (block + 1) * self.size]

    def replicate(self, tree: Any) -> Any:
        """A copy of some arrays on every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def load(self, block: int) -> tuple[jax.Array, jax.Array]:
        """Rows of a block on the devices, and which of them count, bool; as long as `ids`, made to divide evenly."""
        ids, split = self.ids(block), NamedSharding(self.mesh, PartitionSpec(AXIS))
        missing = -len(ids) % self.mesh.size
        allowed = jax.device_put(np.pad(self._allowed[ids], (0, missing)), split)
        key = (block, self.size, self.mesh)
        if self._resident is not None and key in self._resident:
            return self._resident[key], allowed
        # A slice where the ids are neighbours, as it copies nothing.
        near = ids[-1] - ids[0] == len(ids) - 1
        rows = np.asarray(self._rows[ids[0] : ids[-1] + 1] if near else self._rows[ids])
        if missing:
            rows = np.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1))
        rows = jax.device_put(rows, split)
        if self._resident is not None:
            self._resident[key] = rows
        return rows, allowed

    def each(self, run: Callable[[int], tuple[jax.Array, ...]]) -> Iterator[tuple[np.ndarray, ...]]:
        """What `run(block)` computes, as numpy, in order; two blocks are under way at a time."""
        running = deque()
        for block in range(len(self)):
            running.append(run(block))
            if len(running) == 2:
                yield tuple(map(np.asarray, running.popleft()))
        while running:
            yield tuple(map(np.asarray, running.popleft()))


def aligned_empty(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """An array that JAX reads on the CPU without a copy: it starts at a multiple of 64 bytes, as a mapped .npy does."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(count + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    return raw[start : start + count].view(dtype).reshape(shape)


def on_host(devices: Sequence[jax.Device]) -> bool:
    """Whether devices compute in the memory that the gallery is in."""
    return devices[0].platform == 'cpu'


def _memory(device: jax.Device) -> int:
    """Bytes of an accelerator's memory, 0 where it does not say."""
    return (device.memory_stats() or {}).get('bytes_limit', 0)


def power_of_two(number: int) -> int:
    """The smallest that is not less: sizes are rounded up to it so that few are compiled."""
    return 1 << max(0, number - 1).bit_length()
