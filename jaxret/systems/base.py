"""What training, evaluation and search expect of a system."""

from collections.abc import Mapping
from typing import Any, Protocol

import jax

Batch = Mapping[str, jax.Array]
Variables = Mapping[str, Any]


class System(Protocol):
    """Modules and losses of one paper, as pure functions over variables.

    Variables are Flax's: {'params': ..., 'batch_stats': ..., ...}; every collection but 'params' is state that the
    loss returns anew.
    """

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables for batches like this one."""
        ...

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        *,
        rng: jax.Array,
        step: jax.Array,
        train: bool,
        axis_name: str | None = None,
    ) -> tuple[jax.Array, tuple[dict[str, Any], dict[str, jax.Array]]]:
        """Scalar loss, (collections after the step, report of float32 scalars).

        With `axis_name` the batch is one device's share; loss and report are then those of the whole batch.
        """
        ...

    def embed(self, variables: Variables, inputs: Batch, modality: str) -> jax.Array:
        """Embeddings of one modality's inputs, in evaluation mode."""
        ...

    def score(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Similarity [Q, G] of query embeddings and gallery embeddings; higher is closer."""
        ...
