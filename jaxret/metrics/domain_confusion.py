"""How far two domains, such as scans and CAD models, are mixed in an embedding space."""

import numpy as np
from scipy.spatial.distance import cdist

from jaxret.errors import refused

_BLOCK = 2_000_000  # distances held at a time


def domain_confusion(scans: np.ndarray, cads: np.ndarray, *, neighbors: int = 10) -> dict[str, float | int]:
    """Share of an embedding's nearest neighbours, scans and CADs together, that come from the other domain.

    Euclidean; the item itself is left out, and among equal distances its own domain comes first. 0 says that scans and
    CADs lie apart; where they cannot be told apart it is about the expected value.

    Args:
      scans, cads: [Q, D], [G, D].
      neighbors: k; at most Q + G - 1 are used.

    Returns:
      domain_confusion (all items), domain_confusion_scans, domain_confusion_cads, each with _expected (a random order),
      and domain_confusion_neighbors (k).

    Raises:
      DataError: empty or unfit arrays, values that are not finite, k < 1.

    Source: Dahnert et al. (ICCV 2019), section 6.
    """
    scans, cads = checked_embeddings('scans', scans), checked_embeddings('cads', cads)
    if neighbors < 1:
        raise refused('neighbors', f'{neighbors}', 'ask for at least one')
    pooled = np.concatenate([scans, cads])
    is_cad = np.arange(len(pooled)) >= len(scans)
    k = min(neighbors, len(pooled) - 1)
    other = np.empty(len(pooled))
    for start in range(0, len(pooled), step := max(1, _BLOCK // len(pooled))):
        rows = np.arange(start, min(start + step, len(pooled)))
        distances = cdist(pooled[rows], pooled)
        distances[np.arange(len(rows)), rows] = np.inf  # itself comes last
        foreign = is_cad[rows, None] != is_cad[None, :]
        order = np.lexsort((foreign, distances), axis=-1)[:, :k]
        other[rows] = np.take_along_axis(foreign, order, axis=1).mean(axis=1)
    expected = np.where(is_cad, len(scans), len(cads)) / (len(pooled) - 1)
    result: dict[str, float | int] = {'domain_confusion_neighbors': k}
    for suffix, rows in (('', slice(None)), ('_scans', ~is_cad), ('_cads', is_cad)):
        result[f'domain_confusion{suffix}'] = float(other[rows].mean())
        result[f'domain_confusion{suffix}_expected'] = float(expected[rows].mean())
    return result


def checked_embeddings(name: str, values: np.ndarray) -> np.ndarray:
    """Embeddings [N, D] as float64, or a DataError if they are empty or not finite."""
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not len(values):
        raise refused(name, f'shape {values.shape}', 'give embeddings [N, D] of at least one item')
    if not np.isfinite(values).all():
        raise refused(
            name,
            f'{np.count_nonzero(~np.isfinite(values))} values that are not finite',
            'train again with a lower learning rate',
        )
    return values
