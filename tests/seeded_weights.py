"""Weights of whole networks from a seed, the same with every version of numpy: only what they give is stored."""

import math
from collections.abc import Mapping, Sequence

import numpy as np


class Numbers:
    """Numbers in [-1, 1), float32, from the raw bits of a generator (whose stream numpy keeps)."""

    def __init__(self, seed: int):
        self._bits = np.random.Philox(seed)

    def array(self, *shape: int) -> np.ndarray:
        raw = self._bits.random_raw(math.prod(shape)) >> np.uint64(40)
        return (raw.astype(np.float32) / np.float32(2**23) - 1).reshape(shape)


def seeded_weights(shapes: Mapping[str, Sequence[int]], *, seed: int) -> dict[str, np.ndarray]:
    """float32 arrays (counters: int64) by PyTorch's names, of sizes with which the signal neither dies nor explodes."""
    numbers, weights = Numbers(seed), {}
    for name, shape in shapes.items():
        leaf = name.rsplit('.', 1)[1]
        if leaf == 'num_batches_tracked':
            weights[name] = np.array(7)
            continue
        values = numbers.array(*shape)
        if len(shape) > 1:
            values *= np.float32(math.sqrt(3 / math.prod(shape[1:])))
        elif leaf in ('weight', 'running_var'):
            values = np.float32(0.7) + np.float32(0.3) * values
        else:
            values *= np.float32(0.1)
        weights[name] = values
    return weights


def seeded_images(count: int, height: int, width: int, *, seed: int, channels: int = 3) -> np.ndarray:
    """[count, height, width, channels] in [-1, 1)."""
    return Numbers(1000 + seed).array(count, height, width, channels)
