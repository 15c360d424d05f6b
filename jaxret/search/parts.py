"""Embeddings of several parts, and how a query weighs them: what an index of the built-in model compares. No JAX.

Letters: D embedding, Q queries, R references, C cells of a silhouette.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from jaxret.errors import ConfigError

_SHARE = 0.5  # of the views' mean that photos lose: they have some of it, as grey renderings have other means
_PRIOR = 10  # references that this guess counts as much as
_TINY = 1e-12


@dataclass(frozen=True)
class Parts:
    """Parts of unit length, one after the other, [D]; in photos followed by the cells of a silhouette, 0 or 1, [C].

    Attributes:
      slices: first number and the one after the last of every part.
      weights: of the parts where photos are compared with views, by purpose; the default purpose first.
      references: of the parts where photos are compared with photos.
      cells: C, or 0.
      outline: weight of the silhouettes' intersection over union, beside the parts' weights, which add up to 1.
      places: of parts that are maps, how many places they have.
    """

    slices: Mapping[str, tuple[int, int]]
    weights: Mapping[str, Mapping[str, float]]
    references: Mapping[str, float]
    cells: int = 0
    outline: float = 0.0
    places: Mapping[str, int] = field(default_factory=dict)

    @property
    def purposes(self) -> tuple[str, ...]:
        """What can be searched for, the default first."""
        return tuple(self.weights)

    @property
    def width(self) -> int:
        """D."""
        return max(stop for _, stop in self.slices.values())

    @property
    def layout(self) -> list[tuple[int, int]]:
        """Of each part its places and its channels, as `codes.Codebook` takes them."""
        counts = [(self.places.get(name, 1), stop - start) for name, (start, stop) in self.slices.items()]
        return [(places, length // places) for places, length in counts]

    def check_purpose(self, purpose: str | None) -> str:
        """A purpose, or the default for None. Raises ConfigError for another one."""
        if purpose is not None and purpose not in self.weights:
            raise ConfigError(f'purpose {purpose!r}: choose one of {", ".join(self.purposes)}')
        return purpose or self.purposes[0]

    def view_queries(self, embeddings: np.ndarray, purpose: str | None, centre: np.ndarray | None) -> np.ndarray:
        """What is multiplied with embeddings of views: parts of unit length by the weights of those that a query has.

        Args:
          embeddings: float32 [..., D] or [..., D + C].
          purpose: one of `purposes`, or None.
          centre: [D], what photos have in common; None for queries that are views themselves. Queries that lack a part,
            as words do, have no centre either.

        Returns:
          float32 [..., D].

        Raises:
          ConfigError: another purpose, or one for which nothing that a query has counts.
        """
        purpose = self.check_purpose(purpose)
        weights = self.weights[purpose]
        queries = np.array(embeddings[..., : self.width], np.float32)
        parts = {name: slice(*self.slices[name]) for name in self.slices}
        has = {name: (queries[..., part] != 0).any(axis=-1) for name, part in parts.items()}
        total = sum(weights[name] * has[name] for name in parts)
        if (np.any(list(has.values()), axis=0) & (total == 0)).any():
            others = [name for name in self.purposes if name != purpose]
            raise ConfigError(f'purpose {purpose!r}: words say nothing of it; choose one of {", ".join(others)}')
        if centre is not None:
            queries -= np.where(np.all(list(has.values()), axis=0)[..., None], centre, np.float32(0))
        for name, part in parts.items():
            weight = (weights[name] / np.maximum(total, _TINY)).astype(np.float32)
            queries[..., part] = unit(queries[..., part]) * weight[..., None]
        return queries

    def photo_vectors(self, embeddings: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Vectors of unit length by which photos [..., D + C] are compared with photos: float32 [..., D'].

        Parts of no weight are left out.
        """
        vectors = []
        for name, weight in self.references.items():
            if weight:
                part = slice(*self.slices[name])
                vectors.append(np.float32(weight) * unit(embeddings[..., part] - centre[part]))
        return unit(np.concatenate(vectors, axis=-1))

    def outlines(self, embeddings: np.ndarray) -> np.ndarray | None:
        """Silhouettes of photos as bits, uint8 [..., C / 8]; None where none has one."""
        cells = embeddings[..., self.width :]
        return np.packbits(cells != 0, axis=-1) if self.cells and cells.any() else None

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> 'Parts':
        """Raises TypeError, KeyError or ValueError where it is not what `to_json` gave."""
        return cls(**(dict(stored) | {'slices': {name: (int(a), int(b)) for name, (a, b) in stored['slices'].items()}}))


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., D] over their lengths; 0 stays 0."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _TINY)


def views_centre(views: np.ndarray) -> np.ndarray:
    """What photos are taken to have in common while none is known: half of the mean of views, float32 [D].

    Args:
      views: [G, V, D].
    """
    return np.float32(_SHARE) * views.reshape(-1, views.shape[-1]).mean(axis=0, dtype=np.float64).astype(np.float32)


def photos_centre(before: np.ndarray, references: np.ndarray) -> np.ndarray:
    """What photos have in common, by `views_centre` and by known photos [R, D], the more so the more they are: [D]."""
    known = references[:, : len(before)]
    return ((_PRIOR * before + known.sum(axis=0)) / (_PRIOR + len(known))).astype(np.float32)
