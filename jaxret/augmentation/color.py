"""Colour augmentation inside the compiled step: transfer of colour statistics between images, and HSV shifts.

Letters: B images, H height, W width. Images are RGB floats in [0, 1] as decoded from files (sRGB gamma). No gradient
flows through the augmentations. Colour transfer needs of another image only six numbers (`ColorStatistics`), so a batch
that is spread over devices exchanges [B, 3] arrays and never pixels.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from jaxret.augmentation.color_spaces import (
    hsv_to_rgb,
    lab_to_rgb,
    rgb_to_hsv,
    rgb_to_lab,
    rgb_to_ruderman,
    ruderman_to_rgb,
)
from jaxret.errors import ConfigError

SPACES = ('lab', 'ruderman')
RATIOS = ('style_over_content', 'content_over_style')

# In the units of the colour space: keeps the division defined for images of a single colour.
_STD_FLOOR = 1e-3


class ColorStatistics(NamedTuple):
    """Per image and channel, in the units of a colour space: mean [B, 3] and standard deviation [B, 3]."""

    mean: chex.Array
    std: chex.Array


class HsvShift(NamedTuple):
    """Per image: hue shift in turns [B], saturation factor [B], value factor [B]."""

    hue: chex.Array
    saturation: chex.Array
    value: chex.Array


def color_statistics(images: chex.Array, *, space: str = 'lab') -> ColorStatistics:
    """Mean and unbiased standard deviation of each image's pixels in a colour space.

    The deviation is at least 1e-3 in the units of the space (L*a*b* units, or log10 units), so that it may divide.

    Args:
      images: [B, H, W, 3], RGB in [0, 1].
      space: 'lab' (CIE L*a*b*) or 'ruderman' (log-LMS l-alpha-beta).

    Returns:
      ColorStatistics of two [B, 3].

    Raises:
      ConfigError: unknown space.
    """
    _check_images(images)
    pixels = jax.lax.stop_gradient(_to_space(images, space))
    count = images.shape[1] * images.shape[2]
    mean = jnp.mean(pixels, axis=(1, 2))
    variance = jnp.sum(jnp.square(pixels - mean[:, None, None, :]), axis=(1, 2)) / max(count - 1, 1)
    return ColorStatistics(mean, jnp.maximum(jnp.sqrt(variance), _STD_FLOOR))


def transfer_color(
    images: chex.Array,
    content: ColorStatistics,
    style: ColorStatistics,
    *,
    space: str = 'lab',
    ratio: str = 'style_over_content',
) -> chex.Array:
    """Gives images the colour statistics of others: c' = r (c - mu_content) + mu_style for each channel.

    r is sigma_style / sigma_content, after which the image has the style's deviation (CMIC's public code), or its
    inverse, as equation 1 of the paper is printed.

    Args:
      images: [B, H, W, 3], RGB in [0, 1].
      content: statistics of these images.
      style: statistics of the images whose colours they take.
      space: 'lab' or 'ruderman', the one that both statistics were taken in.
      ratio: 'style_over_content' or 'content_over_style'.

    Returns:
      [B, H, W, 3] float32 in [0, 1], without gradient.

    Raises:
      ConfigError: unknown space or ratio.

    Source: CMIC (ICCV 2021), equation 1; Reinhard et al. (IEEE CG&A 2001), equations 10 and 11.
    """
    _check_images(images)
    chex.assert_shape([*content, *style], (images.shape[0], 3))
    if ratio not in RATIOS:
        raise ConfigError(f'colour ratio {ratio!r} is unknown; choose one of {", ".join(RATIOS)}')
    scale = style.std / content.std if ratio == 'style_over_content' else content.std / style.std
    pixels = (_to_space(images, space) - content.mean[:, None, None, :]) * scale[:, None, None, :]
    moved = pixels + style.mean[:, None, None, :]
    rgb = lab_to_rgb(moved) if space == 'lab' else ruderman_to_rgb(moved)
    return jax.lax.stop_gradient(jnp.clip(rgb, 0.0, 1.0))


def random_hsv_shift(
    key: chex.PRNGKey,
    batch: int,
    *,
    hue: float = 0.1,
    saturation: float = 0.5,
    value: float = 0.5,
    probability: float = 0.5,
) -> HsvShift:
    """Draws what `shift_hsv` applies, for a whole batch (slice it where a device holds a part of the batch).

    Args:
      key: JAX random key.
      batch: B.
      hue: shifts are uniform in [-hue, hue] turns.
      saturation: factors are uniform in [1 - saturation, 1 + saturation], not below 0.
      value: the same for the value.
      probability: chance for an image to be changed at all.

    Returns:
      HsvShift of three [B].

    Source: CMIC (ICCV 2021), section 4.3: HSV "with 0.5 probability"; the ranges are not published.
    """
    keys = jax.random.split(key, 4)
    draws = [jax.random.uniform(k, (batch,), minval=-1.0, maxval=1.0) for k in keys[:3]]
    chosen = jax.random.uniform(keys[3], (batch,)) < probability
    draws = [jnp.where(chosen, draw, 0.0) for draw in draws]
    return HsvShift(
        hue * draws[0], jnp.maximum(1.0 + saturation * draws[1], 0.0), jnp.maximum(1.0 + value * draws[2], 0.0)
    )


def shift_hsv(images: chex.Array, shift: HsvShift) -> chex.Array:
    """Turns the hue and scales saturation and value of each image, each clipped to its range.

    Factors, not offsets, for saturation and value: an offset would colour grey pixels.

    Args:
      images: [B, H, W, 3], RGB in [0, 1].
      shift: HsvShift of three [B].

    Returns:
      [B, H, W, 3] float32 in [0, 1], without gradient.
    """
    _check_images(images)
    chex.assert_shape([*shift], images.shape[:1])
    hue, saturation, value = (amount[:, None, None] for amount in shift)
    hsv = rgb_to_hsv(images)
    moved = jnp.stack(
        [
            hsv[..., 0] + hue,  # hsv_to_rgb takes hues of any turn
            jnp.clip(hsv[..., 1] * saturation, 0.0, 1.0),
            jnp.clip(hsv[..., 2] * value, 0.0, 1.0),
        ],
        axis=-1,
    )
    return jax.lax.stop_gradient(jnp.clip(hsv_to_rgb(moved), 0.0, 1.0))


def _to_space(images: chex.Array, space: str) -> chex.Array:
    if space not in SPACES:
        raise ConfigError(f'colour space {space!r} is unknown; choose one of {", ".join(SPACES)}')
    return rgb_to_lab(images) if space == 'lab' else rgb_to_ruderman(images)


def _check_images(images: chex.Array) -> None:
    chex.assert_rank(images, 4)
    chex.assert_type(images, float)
    chex.assert_axis_dimension(images, -1, 3)
