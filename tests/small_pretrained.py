"""The built-in model with a tiny vision transformer of random weights, which compiles in a moment."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxret.encoders.outlines import OutlineOptions

from jaxret.encoders.vit import STATISTICS, VisionTransformer
from jaxret.inference.pretrained_model import Settings, network_model

SIDE = 32
NETWORK = VisionTransformer(patch=8, width=8, blocks=2, heads=2, mlp_width=16, grid=(4, 4))
RINGS = ((10.0, 4, 0.0), (40.0, 2, 45.0))


def small_settings(**changes) -> Settings:
    outlines = OutlineOptions(resolution=12, border=1, reach=3.0, blur=1.5)
    return Settings(**({'size': SIDE, 'segment': 1, 'cells': 3, 'rings': RINGS, 'outlines': outlines} | changes))


def small_pretrained(*, place: str = 'efficientnet-lite0', centres=None, **changes):
    """A `Model`."""
    return network_model(
        NETWORK, STATISTICS['half'], _variables(), Path(place), settings=small_settings(**changes), centres=centres
    )


@functools.cache
def _variables():
    return jax.jit(NETWORK.init)(jax.random.key(0), jnp.zeros((1, SIDE, SIDE, 3)))
