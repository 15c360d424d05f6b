"""Embeddings and scores of whole data sets: every item is encoded once, however many queries ask for it."""

from collections.abc import Iterable, Mapping

import jax
import numpy as np

from jaxret.systems.base import System, Variables
from jaxret.training.parallel import Parallel


class Embedder:
    """Compiled `embed` and `score` of a system, for whole data sets.

    Args:
      system: the system.
      parallel: where batches are placed; they are split over its devices (of this process) where they divide evenly.
    """

    def __init__(self, system: System, parallel: Parallel):
        self._parallel = parallel.own
        self._embed = jax.jit(system.embed, static_argnums=2)
        self._score = jax.jit(system.score)
        self._features = jax.jit(system.features, static_argnums=2) if hasattr(system, 'features') else None

    def embed(
        self, variables: Variables, batches: Iterable[Mapping[str, np.ndarray]], modality: str, *, valid: str
    ) -> np.ndarray:
        """Embeddings of every valid item, in order, float32 [N, ...]; padding changes no number.

        Args:
          variables: to embed with.
          batches: all of one size; the last one padded.
          modality: passed on to `System.embed`.
          valid: name of the boolean array [B] that tells real items from padding.
        """
        variables = self._parallel.place_replicated(variables)
        results = [(self._embed(variables, self._placed(batch, valid), modality), batch[valid]) for batch in batches]
        return np.concatenate([np.asarray(embedding)[mask] for embedding, mask in results])

    def features(
        self,
        variables: Variables,
        batches: Iterable[Mapping[str, np.ndarray]],
        modality: str,
        *,
        valid: str,
        seed: int | None = None,
    ) -> np.ndarray:
        """What frozen parts make of every valid item, in order, [N, ...] of the network's type; see `System.features`.

        Args:
          variables, batches, modality, valid: as for `embed`.
          seed: for changes of the pictures within the system; None for none.
        """
        variables = self._parallel.place_replicated(variables)
        results = []
        for number, batch in enumerate(batches):
            rng = None if seed is None else jax.random.fold_in(jax.random.key(seed), number)
            values = self._features(variables, self._placed(batch, valid), modality, rng=rng)
            results.append(np.asarray(values)[batch[valid]])  # fetched one by one: maps are large
        return np.concatenate(results)

    def _placed(self, batch: Mapping[str, np.ndarray], valid: str) -> Mapping[str, jax.Array]:
        inputs = {name: value for name, value in batch.items() if name != valid}
        divides = len(batch[valid]) % len(self._parallel.devices) == 0
        return (self._parallel.place_sharded if divides else self._parallel.place_replicated)(inputs)

    def score(self, variables: Variables, queries: np.ndarray, gallery: np.ndarray, *, block: int = 256) -> np.ndarray:
        """Similarity [Q, G] of all pairs, computed for `block` queries at a time."""
        variables, gallery = self._parallel.place_replicated((variables, gallery))
        rows = []
        for start in range(0, len(queries), block):
            part = queries[start : start + block]
            padded = np.pad(part, [(0, min(block, len(queries)) - len(part))] + [(0, 0)] * (part.ndim - 1))
            scores = self._score(variables, self._parallel.place_replicated(padded), gallery)
            rows.append(np.asarray(scores)[: len(part)])
        return np.concatenate(rows)
