"""The built-in model with a tiny vision transformer of random weights, which compiles in a moment."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxret.encoders.vit import STATISTICS, VisionTransformer
from jaxret.inference.pretrained_model import Settings, network_model

SIDE = 32
NETWORK = VisionTransformer(patch=8, width=8, blocks=3, heads=2, mlp_width=16, grid=(4, 4))
RINGS = ((10.0, 4, 0.0), (40.0, 2, 45.0))
OUTLINE_RINGS = ((0.0, 3, 20.0), *RINGS)


def small_settings(**changes) -> Settings:
    """With maps of 3 x 3 cells, of the first two blocks."""
    small = {'size': SIDE, 'segments': (1, 2), 'cells': 3, 'rings': RINGS, 'outline_rings': OUTLINE_RINGS}
    return Settings(**(small | {'outline_size': 64} | changes))


def small_pretrained(*, place: str = 'efficientnet-lite0', **changes):
    """A `Model`."""
    return network_model(NETWORK, STATISTICS['half'], _variables(), Path(place), settings=small_settings(**changes))


@functools.cache
def _variables():
    return jax.jit(NETWORK.init)(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))
