"""What the outline of an object tells, and the light and dark within it: descriptors that nothing was trained for.

An object, cut to its box, is resampled to R x R cells. 'outline' is the signed distance of each cell to the border of
the silhouette, cut at `reach`; 'shading' the grey values inside, less their mean nearby and over their spread nearby
(local contrast), which edges and the slopes of faces share between photos and renderings, colours and lights do not.

Letters: N pictures, S their side in pixels, R cells a side.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class OutlineOptions:
    """How outlines are described; lengths in cells.

    Attributes:
      resolution: R.
      border: cells that stay free around the object's box.
      reach: distances beyond it count as it.
      blur: standard deviation of the Gaussian neighbourhood of the local contrast.
      floor: spread of grey, in [0, 1], below which contrast is not raised to 1.
    """

    resolution: int = 32
    border: int = 2
    reach: float = 6.0
    blur: float = 3.0
    floor: float = 0.05


def describe_outlines(images: jax.Array, masks: jax.Array, options: OutlineOptions) -> tuple[jax.Array, jax.Array]:
    """Outline and shading of objects.

    Args:
      images: float [N, S, S, 3] in [0, 1].
      masks: float [N, S, S], 1 on the object, 0 elsewhere; without an object where it is not known.
      options: how.

    Returns:
      two float32 [N, R R], neither of unit length; 0 for a picture without an object. The outline has mean 0.
    """
    grey = jnp.einsum('nijc,c->nij', images.astype(jnp.float32), jnp.array(_LUMA, jnp.float32))
    both = jnp.stack([masks, masks * grey], axis=1)
    found, small = jax.vmap(lambda pair: _resampled(pair, options))(both)
    cover, light = small[:, 0], small[:, 1] / jnp.maximum(small[:, 0], 1e-3)
    inside = cover > 0.5
    known = (found & inside.any(axis=(1, 2)))[:, None, None]
    outline = signed_distances(inside, reach=options.reach)
    outline = outline - outline.mean(axis=(1, 2), keepdims=True)
    shading = _local_contrast(light, inside.astype(jnp.float32), options)
    return tuple(jnp.where(known, cells, 0.0).reshape(images.shape[0], -1) for cells in (outline, shading))


def signed_distances(inside: jax.Array, *, reach: float) -> jax.Array:
    """Distance of every cell to the nearest one of the other kind, positive inside: float32 in [-1, 1].

    Args:
      inside: bool [N, R, R]; what is beyond is outside.
      reach: in cells; distances are cut at it and divided by it.
    """
    outside = ~jnp.pad(inside, ((0, 0), (1, 1), (1, 1)))
    to_object, to_ground = _distances(~outside), _distances(outside)
    distance = jnp.where(outside, -to_object, to_ground)[:, 1:-1, 1:-1]
    return jnp.clip(distance, -reach, reach) / reach


def _distances(targets: jax.Array) -> jax.Array:
    """Euclidean distance of every cell to the nearest target [N, R, R]: along rows, then along columns."""
    side = targets.shape[-1]
    far = jnp.float32(4 * side * side)
    steps = jnp.arange(side, dtype=jnp.float32)
    squares = jnp.square(steps[:, None] - steps[None, :])  # [to, from]
    squared = jnp.where(targets, 0.0, far)
    squared = jnp.min(squared[:, :, None, :] + squares[None, None], axis=-1)
    squared = jnp.min(squared[:, :, None, :].swapaxes(1, 3) + squares[None, None], axis=-1).swapaxes(1, 2)
    return jnp.sqrt(squared)


def _resampled(pair: jax.Array, options: OutlineOptions) -> tuple[jax.Array, jax.Array]:
    """Mask and another channel [2, S, S], cut to the mask's box and resampled to [2, R, R]; whether there is an object.

    The box keeps its aspect ratio and is in the middle.
    """
    side, cells = pair.shape[-1], options.resolution
    places = jnp.arange(side, dtype=jnp.float32)
    centres, lengths, found = [], [], True
    for axis in (1, 0):  # of rows, then of columns
        seen = (pair[0] > 0.5).any(axis=axis)
        first = jnp.min(jnp.where(seen, places, jnp.float32(side)))
        last = jnp.max(jnp.where(seen, places, jnp.float32(-1))) + 1
        centres.append((first + last) / 2)
        lengths.append(last - first)
        found = seen.any()
    scale = (cells - 2 * options.border) / jnp.maximum(jnp.maximum(*lengths), 1.0)
    shift = cells / 2 - scale * jnp.stack(centres)
    scales = jnp.stack([scale, scale])
    small = jax.image.scale_and_translate(pair, (2, cells, cells), (1, 2), scales, shift, 'linear')
    return found, small


def _local_contrast(light: jax.Array, inside: jax.Array, options: OutlineOptions) -> jax.Array:
    """Grey [N, R, R] less its mean nearby and over its spread nearby, inside alone; 0 elsewhere."""
    steps = jnp.arange(options.resolution, dtype=jnp.float32)
    kernel = jnp.exp(-jnp.square(steps[:, None] - steps[None, :]) / (2 * options.blur**2))

    def nearby(values: jax.Array) -> jax.Array:
        return jnp.einsum('ik,nkl,jl->nij', kernel, values * inside, kernel, precision=jax.lax.Precision.HIGHEST)

    weight = jnp.maximum(nearby(inside), 1e-6)
    mean = nearby(light) / weight
    spread = jnp.sqrt(jnp.maximum(nearby(jnp.square(light)) / weight - jnp.square(mean), 0.0) + options.floor**2)
    return inside * (light - mean) / spread
