"""Center loss over one or several modalities, and its form with noisy centers.

Letters: M modalities, B objects, D embedding, C classes. One set of centers serves all modalities. They are parameters
of the caller with their own optimizer; both features and centers get a gradient here.

Reductions, over the n features that count (n = M times the valid objects):
  'mean'      sum / n, no 1/2 (Jing et al.'s public code, and the default). Its size does not depend on the batch, so a
              loss weight means the same at batch 12 and 48, and on a batch with padding.
  'half_sum'  1/2 sum (as both papers print it).
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError
from jaxret.losses.contrastive import masked_mean, masked_sum
from jaxret.losses.modalities import blank_invalid, guarded_labels, stack_modalities, valid_objects

REDUCTIONS = ('mean', 'half_sum')
NOISE_DRAWS = ('center', 'feature')

# Limits of a squared distance in the public code. Outside them the gradient is 0.
_SMALLEST, _LARGEST = 1e-12, 1e12


def cross_modal_center_loss(
    features: chex.Array | Sequence[chex.Array],
    labels: chex.Array,
    centers: chex.Array,
    *,
    reduction: str = 'mean',
    valid: chex.Array | None = None,
) -> chex.Array:
    """Pulls the features of every modality to one center a class: |f_mb - c_{y_b}|^2, reduced.

    'mean' clamps each squared distance to [1e-12, 1e12], as the public code does (which also clamps its zeros for the
    C - 1 other classes: 1e-12 each, left out here). 'half_sum' does not clamp.

    Args:
      features: [M, B, D], or M arrays [B, D].
      labels: [B] int, of an object in all its modalities. Outside 0..C-1: the loss is NaN.
      centers: [C, D].
      reduction: 'mean' or 'half_sum'.
      valid: [B] bool, False takes an object out. None: all.

    Returns:
      Scalar, 0 with gradient 0 if no object is valid.

    Raises:
      ConfigError: unknown reduction.

    Source: Jing et al. (CVPR 2021), cross-modal center loss; Choo et al. (KSII TIIS 2024), equation 2.
    """
    features, own, valid = _with_centers(features, labels, centers, valid)
    distances = _distances(features - own, squared=True, clamp=reduction == 'mean')
    return _reduce(distances, valid, reduction)


def noisy_center_loss(
    features: chex.Array | Sequence[chex.Array],
    labels: chex.Array,
    centers: chex.Array,
    *,
    key: chex.PRNGKey,
    sigma: float | chex.Array,
    mean: float | chex.Array = 0.0,
    clean_weight: float | chex.Array = 1.0,
    noisy_weight: float | chex.Array = 1.0,
    squared: bool = False,
    noise: str = 'center',
    reduction: str = 'mean',
    valid: chex.Array | None = None,
) -> chex.Array:
    """Distance to the center and to the center with noise: w1 |f - c| + w2 |f - G(c, sigma, theta)|, reduced.

    G adds Gaussian noise to the center, independent in every dimension, constant to the gradient. The paper prints the
    norm without a square (its gradient has length w1 + w2 at most, however far the center) and does not give w1, w2,
    sigma or theta. With squared=True, w1 = 1 and w2 = 0 this is `cross_modal_center_loss`, clamp included.

    Args:
      features: [M, B, D], or M arrays [B, D].
      labels: [B] int. Outside 0..C-1: the loss is NaN.
      centers: [C, D].
      key: of the noise.
      sigma: standard deviation of the noise, 0 or above.
      mean: theta, the mean of the noise in every dimension.
      clean_weight: w1, 0 or above.
      noisy_weight: w2, 0 or above.
      squared: squared distances in both terms.
      noise: 'center' draws once a center, so that the features of a class in all modalities see the same noisy anchor
        and noise never pulls two modalities of an object apart (and the draw does not depend on how the batch is
        split). 'feature' draws anew for every object and modality. Equation 6 may be read both ways.
      reduction: 'mean' or 'half_sum' (as printed).
      valid: [B] bool, False takes an object out. None: all.

    Returns:
      Scalar, 0 with gradient 0 if no object is valid. A feature on its center has norm 0 with gradient 0.

    Raises:
      ConfigError: unknown reduction or noise, negative sigma or weight.

    Source: Choo et al. (KSII TIIS 2024), equation 6.
    """
    if noise not in NOISE_DRAWS:
        raise ConfigError(f'noise {noise!r} is unknown; choose one of {", ".join(NOISE_DRAWS)}')
    for name, value in (('sigma', sigma), ('clean_weight', clean_weight), ('noisy_weight', noisy_weight)):
        if isinstance(value, int | float) and not value >= 0:
            raise ConfigError(f'{name} is {value}; it must be 0 or above')
    features, own, valid = _with_centers(features, labels, centers, valid)
    if noise == 'center':
        drawn = gaussian_noise(key, centers.shape, sigma=sigma, mean=mean)
        shift = jnp.broadcast_to(_look_up(drawn, labels, valid)[None], features.shape)
    else:
        shift = gaussian_noise(key, features.shape, sigma=sigma, mean=mean)
    clamp = squared and reduction == 'mean'
    clean = _distances(features - own, squared=squared, clamp=clamp)
    noisy = _distances(features - (own + shift), squared=squared, clamp=clamp)
    return _reduce(clean_weight * clean + noisy_weight * noisy, valid, reduction)


def gaussian_noise(
    key: chex.PRNGKey, shape: Sequence[int], *, sigma: float | chex.Array, mean: float | chex.Array = 0.0
) -> chex.Array:
    """Independent draws from N(theta, sigma^2), a function of the key and the shape alone.

    Args:
      key: of the draw.
      shape: of the result.
      sigma: standard deviation.
      mean: theta.

    Returns:
      float32 array of that shape.
    """
    return mean + sigma * jax.random.normal(key, tuple(shape), jnp.float32)


def _look_up(centers: chex.Array, labels: chex.Array, valid: chex.Array) -> chex.Array:
    """Row of each object's class, [B, D]; NaN for a label that has none."""
    index = guarded_labels(labels, valid, centers.shape[0])
    return centers.at[index].get(mode='fill', fill_value=jnp.nan)


def _with_centers(
    features: chex.Array | Sequence[chex.Array], labels: chex.Array, centers: chex.Array, valid: chex.Array | None
) -> tuple[chex.Array, chex.Array, chex.Array]:
    """Checks the arguments; returns features and their centers, both [M, B, D] and 0 where invalid, and the mask."""
    features = stack_modalities(features)
    chex.assert_rank([labels, centers], [1, 2])
    chex.assert_type(centers, float)
    chex.assert_equal_shape_suffix([features, centers], 1)
    valid = valid_objects(valid, features.shape[1])
    own = _look_up(jnp.asarray(centers).astype(features.dtype), labels, valid)
    own = jnp.broadcast_to(own[None], features.shape)
    return blank_invalid(features, valid), blank_invalid(own, valid), valid


def _distances(differences: chex.Array, *, squared: bool, clamp: bool) -> chex.Array:
    """Lengths of the vectors, or their squares, [M, B, D] -> [M, B]."""
    squares = jnp.sum(jnp.square(differences), axis=-1)
    if clamp:
        squares = jnp.clip(squares, _SMALLEST, _LARGEST)
    if squared:
        return squares
    # The inner `where` keeps the infinite slope of sqrt at 0 out of the gradient.
    return jnp.where(squares == 0, 0.0, jnp.sqrt(jnp.where(squares == 0, 1.0, squares)))


def _reduce(distances: chex.Array, valid: chex.Array, reduction: str) -> chex.Array:
    """[M, B] -> scalar."""
    if reduction == 'mean':
        return masked_mean(jnp.mean(distances, axis=0), valid)
    if reduction == 'half_sum':
        return 0.5 * masked_sum(jnp.sum(distances, axis=0), valid)
    raise ConfigError(f'reduction {reduction!r} is unknown; choose one of {", ".join(REDUCTIONS)}')
