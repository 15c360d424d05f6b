"""The hourglasses of scan-CAD: what a scan's object is, and how it goes on where the scan did not see it.

They are trained with the embedding, or stay as another run left them: then their weights are in the collection 'frozen'
and a scan is completed once.

Letters: B scans, N cells along each side.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxret.geometry.distance_grids import SURFACE
from jaxret.systems.base import Variables
from jaxret.systems.image_towers import FROZEN, unit

NETWORKS = ('separation', 'completion')
STEPS = 255  # of a completed cell's likelihood


def with_frozen(variables: Variables) -> Variables:
    """Variables {collection: {network: tree}} of a run that trains all, the hourglasses' under 'frozen'."""
    kept = {name: {key: tree[key] for key in NETWORKS} for name, tree in variables.items()}
    others = {name: {key: tree[key] for key in tree if key not in NETWORKS} for name, tree in variables.items()}
    return {**others, FROZEN: kept}


def without_frozen(variables: Variables) -> Variables:
    """The opposite of `with_frozen`."""
    return {name: {**tree, **variables[FROZEN][name]} for name, tree in variables.items() if name != FROZEN}


def occupancy(grids: jax.Array) -> jax.Array:
    """The surface of [B, N, N, N] of any type as float32 [B, N, N, N, 1], 0 or 1."""
    return (grids == SURFACE).astype(jnp.float32)[..., None]


def completion_logits(
    apply: Callable[..., Any], grids: jax.Array, valid: jax.Array | None = None
) -> dict[str, jax.Array]:
    """Logits [B, N, N, N]: of 'foreground' and 'background' among what was scanned, and of the whole object.

    Args:
      apply: (name of a network, grids, valid=valid) -> its outputs.
      grids: float [B, N, N, N, 1].
      valid: [B] bool, scans that batch norm counts. None: all.
    """
    foreground, background = apply('separation', grids, valid=valid)
    (completion,) = apply('completion', jax.nn.sigmoid(foreground)[..., None], valid=valid)
    return {'foreground': foreground, 'background': background, 'completion': completion}


def as_likelihoods(completed: jax.Array) -> jax.Array:
    """Stored completed scans, uint8 [B, N, N, N], as float32 [B, N, N, N, 1] in [0, 1]."""
    return unit(completed)[..., None]


def stored_likelihoods(logits: jax.Array) -> jax.Array:
    """Logits [B, N, N, N] of occupied cells as likelihoods in steps of 1 / 255: uint8, 255 is surely occupied."""
    return jnp.round(STEPS * jax.nn.sigmoid(logits)).astype(jnp.uint8)
