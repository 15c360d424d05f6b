"""Which pairs of a batch a metric loss pushes apart, and by how much: the rules for scans and CAD models.

A batch is B pairs (scan, its CAD model); row i of every matrix is a scan, column j a CAD model. The same CAD model may
occur twice: columns of the row's own model are never its negatives. Distances: lower is closer. Selections are boolean
masks; random ones are functions of a key alone, and no gradient flows through any.

  random      one CAD model of another class
  same_class  one other CAD model of the same class
  adaptive    same_class where the batch has one, with its small margin, else random with the large one
  all         every other CAD model, each with the margin of its class
  semi_hard   of these, the ones farther than the positive whose loss is not 0
  hardest     of these, the one with the largest loss (the nearest, where margins are equal)

Source: Kabadayi and Dai, "Metric Learning on Joint Embedding of 3D Scan and CAD Objects", section 4.2 and table 2.

Letters: B pairs, Q anchors, G candidates.
"""

import chex
import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError
from jaxret.losses.mining import hardest_negatives

RULES = ('random', 'same_class', 'adaptive', 'all', 'semi_hard', 'hardest')
SINGLE_RULES = ('random', 'same_class', 'adaptive', 'hardest')  # at most one negative a row


def negative_kinds(category: chex.Array, instance: chex.Array, valid: chex.Array) -> tuple[chex.Array, chex.Array]:
    """Pairs that may be negatives: of another class, and of the same class but another CAD model.

    Args:
      category: [B] int.
      instance: [B] int, id of the CAD model.
      valid: [B] bool; rows and columns of padding hold no pair.

    Returns:
      Two masks [B, B] bool, disjoint.
    """
    chex.assert_rank([category, instance, valid], 1)
    chex.assert_type([category, instance, valid], [int, int, bool])
    chex.assert_equal_shape([category, instance, valid])
    alike = category[:, None] == category[None, :]
    pairs = valid[:, None] & valid[None, :] & (instance[:, None] != instance[None, :])
    return pairs & ~alike, pairs & alike


def choose_random(key: chex.PRNGKey, candidates: chex.Array) -> chex.Array:
    """One candidate of every row, each as likely as the others.

    Row i's draw depends on the key, i and the row alone, so that padding a batch does not change it.

    Args:
      key: random key.
      candidates: [Q, G] bool.

    Returns:
      [Q, G] bool, one True a row, none where the row has no candidate.
    """
    chex.assert_rank(candidates, 2)
    chex.assert_type(candidates, bool)
    rows, columns = candidates.shape
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(rows))
    draws = jax.vmap(lambda own: jax.random.uniform(own, (columns,)))(keys)
    return hardest_negatives(draws, candidates)


def select_negatives(
    distances: chex.Array,
    positive_distances: chex.Array,
    other: chex.Array,
    same: chex.Array,
    *,
    rule: str,
    margin: float,
    margin_same_class: float,
    relative: bool,
    key: chex.PRNGKey,
) -> tuple[chex.Array, chex.Array]:
    """Negatives of a rule and their margins.

    Args:
      distances: [Q, G].
      positive_distances: [Q], distance of each anchor to its positive.
      other: [Q, G] bool, pairs of different classes.
      same: [Q, G] bool, pairs of one class.
      rule: one of `RULES`.
      margin: m >= 0 of `other`.
      margin_same_class: m >= 0 of `same`. 0 leaves them out of 'all', 'semi_hard' and 'hardest'.
      relative: whether a negative's loss is d_ap - d_an + m (triplet, quadruplet) or m - d_an (contrastive).
      key: for the random rules.

    Returns:
      Selected pairs [Q, G] bool, and the margin of every pair [Q, G] float.

    Raises:
      ConfigError: unknown rule or negative margin.
    """
    if rule not in RULES:
        raise ConfigError(f'negatives {rule!r} is unknown; choose one of {", ".join(RULES)}')
    for name, value in (('margin', margin), ('margin_same_class', margin_same_class)):
        if not value >= 0:
            raise ConfigError(f'{name} is {value}; it must be 0 or more')
    chex.assert_rank(distances, 2)
    chex.assert_type([distances, other, same], [float, bool, bool])
    chex.assert_equal_shape([distances, other, same])
    chex.assert_shape(positive_distances, distances.shape[:1])
    distances, positive_distances = jax.lax.stop_gradient((distances, positive_distances))
    margins = jnp.where(same, margin_same_class, margin).astype(distances.dtype)
    if rule == 'random':
        return choose_random(key, other), margins
    if rule == 'same_class':
        return choose_random(key, same), margins
    if rule == 'adaptive':
        return choose_random(key, jnp.where(jnp.any(same, axis=1, keepdims=True), same, other)), margins
    pairs = other | same if margin_same_class > 0 else other
    reach = margins + positive_distances[:, None] if relative else margins
    if rule == 'hardest':
        return hardest_negatives(distances - reach, pairs), margins
    if rule == 'semi_hard':
        pairs = pairs & (distances > positive_distances[:, None]) & (distances < reach)
    return pairs, margins


def second_negatives(key: chex.PRNGKey, category: chex.Array, negatives: chex.Array, valid: chex.Array) -> chex.Array:
    """For every row with a negative, a random column whose class is neither the row's nor the negative's.

    Args:
      key: random key.
      category: [B] int, of rows and columns.
      negatives: [B, B] bool, at most one a row.
      valid: [B] bool.

    Returns:
      [B, B] bool, one True a row, none where there is no such column.
    """
    chex.assert_rank([category, valid], 1)
    chex.assert_shape(negatives, (category.shape[0], category.shape[0]))
    first = category[jnp.argmax(negatives, axis=1)]
    third = (category[None, :] != category[:, None]) & (category[None, :] != first[:, None])
    return choose_random(key, third & valid[None, :] & jnp.any(negatives, axis=1, keepdims=True))


def ranked_pool(rank: chex.Array, pool_valid: chex.Array, valid: chex.Array) -> tuple[chex.Array, chex.Array]:
    """Positives and negatives among the CAD models that people compared with a scan.

    The ranked ones are positives, the others negatives. A scan with none ranked says nothing.

    Args:
      rank: [B, P] int, 0 for not ranked.
      pool_valid: [B, P] bool, models that are there.
      valid: [B] bool.

    Returns:
      Two masks [B, P] bool.
    """
    chex.assert_rank([rank, pool_valid, valid], [2, 2, 1])
    chex.assert_type([rank, pool_valid, valid], [int, bool, bool])
    chex.assert_equal_shape([rank, pool_valid])
    ranked = (rank > 0) & pool_valid & valid[:, None]
    return ranked, (rank <= 0) & pool_valid & jnp.any(ranked, axis=1, keepdims=True)


def nearest_positives(distances: chex.Array, positives: chex.Array) -> chex.Array:
    """The nearest positive of each anchor ("easy positive", Xuan et al., WACV 2020), the first of equals.

    Args:
      distances: [Q, G].
      positives: [Q, G] bool.

    Returns:
      [Q, G] bool, one True a row, none where the row has no positive.
    """
    return hardest_negatives(distances, positives)
