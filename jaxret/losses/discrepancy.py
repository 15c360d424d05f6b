"""How far two samples of features are apart: maximum mean discrepancies and the difference of covariances.

Estimates that need two rows a domain are 0 with gradient 0 where a domain has fewer valid ones; those that need one,
where it has none.

Letters: B source rows, G target rows, N = B + G, D features.
"""

from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError
from jaxret.losses.modalities import blank_rows
from jaxret.losses.scores import euclidean_distances

KERNEL_FACTORS = (0.125, 0.25, 0.5, 1.0, 2.0)  # of the features' kernels in tllib
LABEL_SIGMA = 0.92  # of the kernel of class probabilities in tllib


def linear_mmd(
    source: chex.Array,
    target: chex.Array,
    *,
    source_valid: chex.Array | None = None,
    target_valid: chex.Array | None = None,
) -> chex.Array:
    """Squared distance of the means: |E s - E t|^2, the discrepancy of a linear kernel (all pairs, none left out).

    Args:
      source: [B, D].
      target: [G, D].
      source_valid: [B] bool. None: all.
      target_valid: [G] bool. None: all.

    Returns:
      Scalar, 0 or above.

    Source: Borgwardt et al. (ISMB 2006).
    """
    source, source_valid, target, target_valid = _prepare(source, target, source_valid, target_valid)
    means = [
        jnp.sum(x, axis=0) / jnp.maximum(jnp.sum(valid), 1)
        for x, valid in ((source, source_valid), (target, target_valid))
    ]
    defined = jnp.any(source_valid) & jnp.any(target_valid)
    return jnp.where(defined, jnp.sum(jnp.square(means[0] - means[1])), 0.0)


def multi_kernel_mmd(
    source: chex.Array,
    target: chex.Array,
    *,
    factors: Sequence[float] = KERNEL_FACTORS,
    source_valid: chex.Array | None = None,
    target_valid: chex.Array | None = None,
) -> chex.Array:
    """Squared discrepancy of a sum of Gaussian kernels: E k(s, s') + E k(t, t') - 2 E k(s, t).

    k(x, y) = sum_a exp(-|x - y|^2 / (2 a m)), m the mean of |x - y|^2 over all N^2 pairs of valid rows, constant to the
    gradient. E over different rows (the unbiased estimate, which may be a little below 0).

    Args:
      source: [B, D].
      target: [G, D].
      factors: a of each kernel.
      source_valid: [B] bool. None: all.
      target_valid: [G] bool. None: all.

    Returns:
      Scalar.

    Raises:
      ConfigError: no factor, or one that is not above 0.

    Source: Long et al. (ICML 2015); kernels as in tllib.
    """
    source, source_valid, target, target_valid = _prepare(source, target, source_valid, target_valid)
    kernel = _scaled_kernels(source, target, source_valid, target_valid, factors)
    return _discrepancy(kernel, source_valid, target_valid)


def joint_mmd(
    source: chex.Array,
    target: chex.Array,
    source_probabilities: chex.Array,
    target_probabilities: chex.Array,
    *,
    factors: Sequence[float] = KERNEL_FACTORS,
    label_sigma: float = LABEL_SIGMA,
    source_valid: chex.Array | None = None,
    target_valid: chex.Array | None = None,
) -> chex.Array:
    """Discrepancy of features and class probabilities together: `multi_kernel_mmd` with the product of two kernels.

    The features' kernel is that of `multi_kernel_mmd`, the probabilities' is exp(-|p - q|^2 / (2 sigma^2)).

    Differs from tllib in: no constant is added (there 2 / (n - 1), so that the printed value stays above 0); the two
    domains may have different numbers of rows.

    Args:
      source: [B, D].
      target: [G, D].
      source_probabilities: [B, C], softmax outputs.
      target_probabilities: [G, C].
      factors: of the features' kernels.
      label_sigma: sigma, above 0.
      source_valid: [B] bool. None: all.
      target_valid: [G] bool. None: all.

    Returns:
      Scalar.

    Raises:
      ConfigError: no factor, or a factor or sigma that is not above 0.

    Source: Long et al. (ICML 2017), joint adaptation networks; kernels as in tllib.
    """
    if not label_sigma > 0:
        raise ConfigError(f'label_sigma is {label_sigma}; it must be above 0')
    chex.assert_equal_shape_prefix([source, source_probabilities], 1)
    chex.assert_equal_shape_prefix([target, target_probabilities], 1)
    source, source_valid, target, target_valid = _prepare(source, target, source_valid, target_valid)
    source_probabilities, _, target_probabilities, _ = _prepare(
        source_probabilities, target_probabilities, source_valid, target_valid
    )
    kernel = _scaled_kernels(source, target, source_valid, target_valid, factors)
    labels = jnp.concatenate([source_probabilities, target_probabilities])
    kernel = kernel * jnp.exp(-euclidean_distances(labels, labels, squared=True) / (2 * label_sigma**2))
    return _discrepancy(kernel, source_valid, target_valid)


def coral(
    source: chex.Array,
    target: chex.Array,
    *,
    source_valid: chex.Array | None = None,
    target_valid: chex.Array | None = None,
) -> chex.Array:
    """Correlation alignment: |C_s - C_t|_F^2 / (4 D^2), with covariances over n - 1.

    Args:
      source: [B, D].
      target: [G, D].
      source_valid: [B] bool. None: all.
      target_valid: [G] bool. None: all.

    Returns:
      Scalar, 0 or above.

    Source: Sun and Saenko (ECCV workshops 2016).
    """
    source, source_valid, target, target_valid = _prepare(source, target, source_valid, target_valid)
    difference = _covariance(source, source_valid) - _covariance(target, target_valid)
    loss = jnp.sum(jnp.square(difference)) / (4 * source.shape[1] ** 2)
    return jnp.where(_enough(source_valid, target_valid), loss, 0.0)


def _prepare(
    source: chex.Array, target: chex.Array, source_valid: chex.Array | None, target_valid: chex.Array | None
) -> tuple[chex.Array, chex.Array, chex.Array, chex.Array]:
    """Both samples in float32 at least with 0 in rows that do not count, each followed by its mask."""
    chex.assert_equal_shape_suffix([source, target], 1)
    return *blank_rows(source, source_valid), *blank_rows(target, target_valid)


def _enough(source_valid: chex.Array, target_valid: chex.Array) -> chex.Array:
    return (jnp.sum(source_valid) > 1) & (jnp.sum(target_valid) > 1)


def _scaled_kernels(
    source: chex.Array, target: chex.Array, source_valid: chex.Array, target_valid: chex.Array, factors: Sequence[float]
) -> chex.Array:
    """Sum of Gaussian kernels whose widths follow the data, [N, N]."""
    if not factors or not min(factors) > 0:
        raise ConfigError(f'factors are {tuple(factors)}; give one or more, all above 0')
    rows, valid = jnp.concatenate([source, target]), jnp.concatenate([source_valid, target_valid])
    distances = euclidean_distances(rows, rows, squared=True)
    pairs = valid[:, None] & valid[None, :]
    mean = jnp.sum(jnp.where(pairs, distances, 0.0)) / jnp.maximum(jnp.sum(pairs), 1)
    mean = jax.lax.stop_gradient(jnp.where(mean > 0, mean, 1.0))  # all rows alike: any width gives 1
    return sum(jnp.exp(-distances / (2 * factor * mean)) for factor in factors)


def _discrepancy(kernel: chex.Array, source_valid: chex.Array, target_valid: chex.Array) -> chex.Array:
    """E k(s, s') + E k(t, t') - 2 E k(s, t) over different valid rows."""
    weights = []
    for valid in (source_valid, target_valid):
        count = jnp.sum(valid)
        different = valid[:, None] & valid[None, :] & ~jnp.eye(valid.shape[0], dtype=bool)
        weights.append(different / jnp.maximum(count * (count - 1), 1))
    cross = source_valid[:, None] & target_valid[None, :]
    cross = cross / jnp.maximum(jnp.sum(cross), 1)
    matrix = jnp.block([[weights[0], -cross], [-cross.T, weights[1]]])
    return jnp.where(_enough(source_valid, target_valid), jnp.sum(matrix * kernel), 0.0)


def _covariance(x: chex.Array, valid: chex.Array) -> chex.Array:
    """[D, D], over n - 1."""
    count = jnp.sum(valid)
    mean = jnp.sum(x, axis=0) / jnp.maximum(count, 1)
    centred = jnp.where(valid[:, None], x - mean[None, :], 0.0)
    product = jnp.einsum('nd,ne->de', centred, centred, precision=jax.lax.Precision.HIGHEST)
    return product / jnp.maximum(count - 1, 1)
