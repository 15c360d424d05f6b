"""From a partial scan to its CAD model by how likely the model is to be seen as the scan saw it, cell by cell.

A cell of a scan is surface, was seen to be free, near the surface or not, or was not seen; a cell of a CAD model lies
at some distance of its surface. The score of a pair adds a weight for every cell, of what the scan saw there and how
far the model is: a naive Bayes model of cells, whose few weights are learned by the likelihood of the own model among
those of a batch (Ng and Jordan, "On Discriminative vs. Generative Classifiers", NIPS 2001). So surface where the model
has none, or free space where it has some, counts against it, and what was not seen counts hardly at all; clutter counts
alike against all.

The score is an inner product: of what the scan saw, and of the weights of the model's cells. So models are indexed as
embeddings are, and a scan of unknown heading is one query in several turns about the vertical.

Letters: B pairs, N cells a side, M = N / 2, K kinds of cells of a model by their distance, D = 3 M^3 + 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxret.geometry.distance_grids import FREE, NEAR, SURFACE
from jaxret.losses.contrastive import masked_mean
from jaxret.systems.base import Backbone, Batch, LossAndState, Variables

SEEN = (SURFACE, NEAR, FREE)
# Squares of the largest distances, in cells, of a kind; what is farther from the model is the last kind.
SQUARED_DISTANCES = (0, 1, 2, 4, 9, 25)
_REACH = 5  # cells, root of the last
_POOL = 2  # cells along a side that are counted together
_UNIT = 1000.0  # cells that count as one, so that weights are about 1


@dataclass(frozen=True, eq=False)
class ScanCells:
    """Weights 'seen' [3, K] of surface and free space (`SEEN`), and 'models' [K], of every cell of a model.

    What was not seen has no weight of its own: kinds of a scan's cell add up to 1.
    """

    BACKBONES: ClassVar[Mapping[str, Backbone]] = {}
    similarity: ClassVar[str] = 'dot'
    completes: ClassVar[bool] = False

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """All weights 0: the loss is convex, so that a start decides nothing."""
        del rng, batch
        kinds = len(SQUARED_DISTANCES) + 1
        return {'params': {'seen': jnp.zeros((len(SEEN), kinds)), 'models': jnp.zeros((kinds,))}}

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        *,
        rng: jax.Array,
        step: jax.Array,
        train: bool,
        axis_name: str | None = None,
    ) -> LossAndState:
        """Mean negative log-likelihood of a scan's own model among the batch's others; see `System.loss`.

        Report: metric_loss, active_share (of the scans, those to which another model is nearer).
        """
        del rng, step, train
        scans, cads = (self.embed(variables, batch, modality) for modality in ('scan', 'cad'))
        gathered = (scans, cads, batch['instance'], batch['valid'])
        if axis_name is not None:
            gathered = jax.lax.all_gather(gathered, axis_name, tiled=True)
        loss, wrong = own_model_loss(*gathered)
        return loss, ({}, {'metric_loss': loss, 'active_share': wrong})

    def embed(self, variables: Variables, inputs: Batch, modality: str) -> jax.Array:
        """Embeddings float32 [B, D].

        Args:
          variables: of `init` or training.
          inputs: 'scan' or 'cad' uint8 [B, N, N, N]: what a scan saw (`DistanceGrid.seen`), `SURFACE` of a model.
          modality: 'scan' or 'cad'.
        """
        if modality not in ('scan', 'cad'):
            raise ValueError(f"embeds 'scan' and 'cad', not {modality!r}")
        grids = inputs[modality]
        chex.assert_rank(grids, 4)
        if modality == 'scan':
            counts = pooled_counts(jnp.stack([grids == state for state in SEEN], axis=1)) / _UNIT
            return jnp.concatenate([counts.reshape(grids.shape[0], -1), jnp.ones((grids.shape[0], 1))], axis=1)
        weights = variables['params']
        kinds = distance_kinds(grids == SURFACE)
        cells = jnp.moveaxis(weights['seen'][:, kinds], 0, 1)  # [B, 3, N, N, N]
        means = pooled_counts(cells) / _POOL**3
        whole = weights['models'][kinds].sum(axis=(1, 2, 3)) / _UNIT
        return jnp.concatenate([means.reshape(grids.shape[0], -1), whole[:, None]], axis=1)

    def score(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Logits [Q, G] of embeddings [Q, D] and [G, D]."""
        del variables
        return queries @ gallery.T


def own_model_loss(
    scans: jax.Array, cads: jax.Array, instance: jax.Array, valid: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Mean over scans of -log softmax of the own model, and the share of them to which another model is nearer.

    Args:
      scans, cads: embeddings [B, D], row by row of one pair.
      instance: int [B]; the same model in another row is left out.
      valid: bool [B], rows that count.
    """
    logits = scans @ cads.T
    own = jnp.eye(len(valid), dtype=bool)
    others = (instance[:, None] != instance[None]) & valid[None]
    logits = jnp.where(own | others, logits, -jnp.inf)
    right = jnp.diagonal(logits)
    nearest = jnp.max(jnp.where(own, -jnp.inf, logits), axis=1)
    return masked_mean(jax.nn.logsumexp(logits, axis=1) - right, valid), masked_mean(1.0 * (nearest > right), valid)


def distance_kinds(occupied: jax.Array) -> jax.Array:
    """How far every cell is from the nearest occupied one: int32 of 0 .. K - 1, for bool [B, N, N, N].

    Squared distances are minima along one axis after the other (Felzenszwalb and Huttenlocher, "Distance Transforms of
    Sampled Functions", 2012), of which those up to the last kind are exact.
    """
    far = np.int32(3 * (_REACH + 1) ** 2)
    squared = jnp.where(occupied, 0, far).astype(jnp.int32)
    for axis in (1, 2, 3):
        side = squared.shape[axis]
        padding = [(_REACH, _REACH) if place == axis else (0, 0) for place in range(4)]
        padded = jnp.pad(squared, padding, constant_values=far)
        shifted = [
            jax.lax.slice_in_dim(padded, _REACH + step, _REACH + step + side, axis=axis) + step**2
            for step in range(-_REACH, _REACH + 1)
        ]
        squared = jnp.minimum(far, jnp.stack(shifted).min(axis=0))
    return sum((squared > limit).astype(jnp.int32) for limit in SQUARED_DISTANCES)


def pooled_counts(values: jax.Array) -> jax.Array:
    """Sums over cubes of cells: float32 [..., M, M, M] of [..., N, N, N], N even."""
    *rest, side, _, _ = values.shape
    parts = (side // _POOL, _POOL)
    return values.astype(jnp.float32).reshape(*rest, *parts, *parts, *parts).sum(axis=(-5, -3, -1))
