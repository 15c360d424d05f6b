"""A linear map learnt of vectors with owners: what differs among vectors of one owner is made to count less.

Principal axes of all vectors, then the inverse square root of the covariance within owners, with shrinkage: the closed
form of linear discriminant analysis, and 'learned whitening' in image retrieval (Mikolajczyk and Matas, ICCV 2007;
Radenovic et al., TPAMI 2018, section 3.3). No JAX.

Letters: R vectors, D and K numbers before and after.
"""

from dataclasses import dataclass

import numpy as np

from jaxret.search.parts import unit

AXES = 256
SHRINKAGE = 0.3
_MOST_VECTORS = 4000  # of which the axes are found


@dataclass(frozen=True, eq=False)
class Whitening:
    """x -> (x - mean) projection, of unit length.

    Attributes:
      mean: float32 [D].
      projection: float32 [D, K].
    """

    mean: np.ndarray
    projection: np.ndarray

    def __call__(self, vectors: np.ndarray) -> np.ndarray:
        """[..., D] -> [..., K]."""
        return unit((vectors - self.mean) @ self.projection)


def learn_whitening(
    vectors: np.ndarray, owner: np.ndarray, *, axes: int = AXES, shrinkage: float = SHRINKAGE
) -> Whitening:
    """The map for vectors float [R, D] of owners int [R].

    Args:
      vectors, owner: at least one owner has two.
      axes: K at most; also at most R - 1.
      shrinkage: share of the mean variance that is added along every axis.

    Raises:
      ValueError: no owner has two vectors that differ.
    """
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    sample = centred[:: -(-len(centred) // _MOST_VECTORS)].astype(np.float64)
    # The axes are those of the products among vectors, which are fewer than the numbers of each as a rule. In float32
    # the rounding of these products would look like axes.
    values, combinations = np.linalg.eigh(sample @ sample.T)
    kept = np.argsort(-values)[: min(axes, len(sample) - 1)]
    kept = kept[values[kept] > 1e-9 * max(values.max(), 1e-12)]
    basis = sample.T @ (combinations[:, kept] / np.sqrt(values[kept]))
    low = centred @ basis
    _, rows, counts = np.unique(owner, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), low.shape[1]))
    np.add.at(means, rows, low)
    apart = low - (means / counts[:, None])[rows]
    free = len(owner) - len(counts)
    within = apart.T @ apart / max(free, 1)
    scale = np.trace(within) / max(len(within), 1)
    if not scale > 0:
        raise ValueError('no owner has two vectors that differ')
    variances, directions = np.linalg.eigh(within + shrinkage * scale * np.eye(len(within)))
    projection = basis @ (directions / np.sqrt(variances))
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))
