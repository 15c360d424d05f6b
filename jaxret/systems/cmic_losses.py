"""CMIC's losses of each photo from its scores: instance and category, contrastive or triplet.

Letters: Q photos, G shapes.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.losses import contrastive, margin, scores
from jaxret.losses.mining import TRIPLET_RULES
from jaxret.systems.base import Batch

CHOICES = {
    'loss.kind': ('contrastive', 'triplet', 'center'),
    'loss.mining': TRIPLET_RULES,
    'loss.reduction': ('mean', 'sum'),
    'loss.true_shape': ('included', 'not_positive', 'removed'),
}
Sums = tuple[jax.Array, jax.Array]  # of losses, and counts, [Q] each


@dataclass(frozen=True)
class MatchingLoss:
    """Instance loss + category_weight * category loss (Eq. 4 - 6); fields are keys of the config's group `loss`.

    `kind` 'center' is another method, see `cmic_center`.
    """

    kind: str
    temperature: float
    category_weight: float
    reduction: str
    true_shape: str
    sampling_correction: bool
    margin: float
    mining: str

    @classmethod
    def from_config(cls, group: ConfigDict) -> 'MatchingLoss':
        """From the group, checked."""
        return cls(**{name: group[name] for name in cls.__dataclass_fields__})

    def of_photos(self, matrix: jax.Array, batch: Batch) -> dict[str, Sums]:
        """Losses of each photo.

        Args:
          matrix: scores [Q, G].
          batch: labels of photos and shapes; with `sampling_correction` also the shapes' 'shape_inclusion'.

        Returns:
          'instance' and 'category', each (sums of losses, counts).
        """
        queries, shapes = batch['query_valid'], batch['shape_valid']
        instance = contrastive.instance_positives(batch['positive'], matrix.shape[1])
        category = contrastive.category_positives(
            batch['query_category'],
            batch['shape_category'],
            batch['positive'],
            include_true=self.true_shape == 'included',
        )
        other = batch['query_category'][:, None] != batch['shape_category'][None, :]
        if self.kind == 'triplet':
            # Paper 4.3: every hard and semi-hard shape, which is mining 'all' as the others have no loss; for the
            # category the farthest of it against the nearest of the others.
            pairs = queries[:, None] & shapes[None, :]
            triplet = partial(margin.triplet_per_anchor, scores.distances_from_scores(matrix), margin=self.margin)
            return {
                'instance': triplet(instance & pairs, negatives=~instance & pairs, mining=self.mining)[:2],
                'category': triplet(category & pairs, negatives=other & pairs, mining='batch_hard')[:2],
            }
        logits = matrix
        if self.sampling_correction:
            logits = matrix - self.temperature * jnp.log(batch['shape_inclusion'])[None, :]
        instance_loss = contrastive.info_nce(logits, instance, temperature=self.temperature, valid=shapes)
        category_loss = contrastive.supervised_contrastive(
            matrix,
            category,
            temperature=self.temperature,
            valid=shapes,
            candidates=~instance if self.true_shape == 'removed' else None,
        )
        # A batch of one category has no category loss, as in the public code: it would only level the scores.
        counted = queries & contrastive.has_positive(category, valid=shapes) & jnp.any(other & shapes[None, :], axis=1)
        return {
            'instance': (jnp.where(queries, instance_loss, 0.0), queries.astype(jnp.float32)),
            'category': (jnp.where(counted, category_loss, 0.0), counted.astype(jnp.float32)),
        }

    def total(self, instance: Sums, category: Sums) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of a batch, and both of its parts."""
        parts = {'instance_loss': self._reduced(*instance), 'category_loss': self._reduced(*category)}
        return parts['instance_loss'] + self.category_weight * parts['category_loss'], parts

    def _reduced(self, sums: jax.Array, counts: jax.Array) -> jax.Array:
        """Mean over what counts (triplets: those with a loss above 0), or sum."""
        total = jnp.sum(sums)
        return total / jnp.maximum(jnp.sum(counts), 1.0) if self.reduction == 'mean' else total
