"""The part of every global batch that one of several processes reads."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf

Array = TypeVar('Array', np.ndarray, tf.Tensor)


@dataclass(frozen=True)
class Share:
    """The rows of process `index` of `count`: of B rows the index-th B / count.

    What is drawn at random is drawn for the whole batch and then cut, so that all processes together have the batch of
    one. Only what is cheap is drawn: files are read, decoded and augmented for a process's own rows.
    """

    index: int = 0
    count: int = 1

    def of(self, whole: Array) -> Array:
        """The own rows of an array [B, ...]; `count` divides B."""
        if self.count == 1:
            return whole
        rows = (tf.shape(whole)[0] if whole.shape[0] is None else whole.shape[0]) // self.count
        return whole[self.index * rows:(self.index + 1) * rows]


WHOLE = Share()
