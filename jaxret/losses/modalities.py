"""What the losses over several modalities or domains share: stacking features, masking objects, guarding labels.

Letters: M modalities, B objects, D embedding, C classes.
"""

from collections.abc import Sequence

import chex
import jax.numpy as jnp

from jaxret.errors import ConfigError


def stack_modalities(features: chex.Array | Sequence[chex.Array]) -> chex.Array:
    """Features of all modalities as one array, in float32 at least.

    Args:
      features: [M, B, D], or M arrays [B, D].

    Returns:
      [M, B, D].
    """
    if isinstance(features, list | tuple):
        chex.assert_rank(features, 2)
        chex.assert_equal_shape(features)
        features = jnp.stack(features)
    chex.assert_rank(features, 3)
    chex.assert_type(features, float)
    return features.astype(jnp.promote_types(features.dtype, jnp.float32))


def modality_pairs(modalities: int) -> tuple[list[int], list[int]]:
    """The M (M - 1) / 2 pairs i < j, as the list of every i and the list of every j.

    Args:
      modalities: M.

    Returns:
      Two lists of equal length.

    Raises:
      ConfigError: for fewer than two modalities.
    """
    if modalities < 2:
        raise ConfigError(f'a loss over pairs of modalities was given {modalities}; it needs at least 2')
    pairs = [(i, j) for i in range(modalities) for j in range(i + 1, modalities)]
    return [i for i, _ in pairs], [j for _, j in pairs]


def valid_objects(valid: chex.Array | None, objects: int) -> chex.Array:
    """The mask of objects that count, all of them for None.

    Args:
      valid: [B] bool or None.
      objects: B.

    Returns:
      [B] bool.
    """
    if valid is None:
        return jnp.ones(objects, bool)
    chex.assert_shape(valid, (objects,))
    chex.assert_type(valid, bool)
    return jnp.asarray(valid)


def blank_invalid(features: chex.Array, valid: chex.Array) -> chex.Array:
    """Zeros in place of what objects that do not count hold (NaN, padding), so that no gradient meets it.

    Args:
      features: [M, B, D].
      valid: [B] bool.

    Returns:
      [M, B, D].
    """
    return jnp.where(valid[None, :, None], features, 0.0)


def blank_rows(features: chex.Array, valid: chex.Array | None) -> tuple[chex.Array, chex.Array]:
    """Features of one domain in float32 at least, with zeros in rows that do not count, and the mask.

    Args:
      features: float [B, D].
      valid: [B] bool. None: all.

    Returns:
      [B, D] and [B] bool.
    """
    chex.assert_rank(features, 2)
    chex.assert_type(features, float)
    valid = valid_objects(valid, features.shape[0])
    features = features.astype(jnp.promote_types(features.dtype, jnp.float32))
    return jnp.where(valid[:, None], features, 0.0), valid


def guarded_labels(labels: chex.Array, valid: chex.Array, classes: int) -> chex.Array:
    """Labels for a look-up with mode='fill': 0 for objects that do not count, C in place of a negative label.

    A label outside 0..C-1 of an object that counts then gives NaN; JAX's own look-up would silently take the label of
    another class.

    Args:
      labels: [B] int.
      valid: [B] bool.
      classes: C.

    Returns:
      [B] int, 0 or above.
    """
    chex.assert_type(labels, int)
    chex.assert_equal_shape([labels, valid])
    labels = jnp.asarray(labels)
    return jnp.where(valid, jnp.where(labels < 0, classes, labels), 0)
