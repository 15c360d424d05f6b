"""Scan-CAD's losses between embeddings of scans and CAD models.

Letters: B scans, P CAD models of a pool, D embedding.
"""

from dataclasses import dataclass, fields

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.losses import metric_learning, negatives
from jaxret.losses.scores import euclidean_distances


@dataclass(frozen=True)
class MetricLoss:
    """The loss between embeddings; fields are the keys of the config group `loss` of the same name."""

    metric: str
    negatives: str
    repulsion: bool
    margin_negative: float
    margin_same_class: float
    margin_positive: float
    margin_second: float
    squared: bool
    reduction: str
    finetune: str
    easy_positive: bool

    @classmethod
    def from_config(cls, loss: ConfigDict) -> 'MetricLoss':
        """From the group `loss`, checked."""
        return cls(**{field.name: loss[field.name] for field in fields(cls)})

    def of_pairs(
        self,
        scans: jax.Array,
        cads: jax.Array,
        labels: dict[str, jax.Array],
        valid: jax.Array,
        negative_key: jax.Array,
        second_key: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Loss, and share of the chosen negatives whose loss is not 0, of a batch of pairs.

        Args:
          scans: [B, D].
          cads: [B, D], the CAD model of each scan.
          labels: 'category' and 'instance', int [B].
          valid: [B] bool.
          negative_key: of the random choice of negatives.
          second_key: of the quadruplet's second negatives.
        """
        if self.metric == 'none':
            return jnp.zeros(()), jnp.zeros(())
        distances = euclidean_distances(scans, cads, squared=self.squared)
        own = jnp.eye(valid.shape[0], dtype=bool) & valid[:, None]
        positive = jnp.sum(jnp.where(own, distances, 0.0), axis=1)
        other, same = negatives.negative_kinds(labels['category'], labels['instance'], valid)
        relative = self.metric != 'contrastive'
        chosen, margins = negatives.select_negatives(
            distances,
            positive,
            other,
            same,
            rule=self.negatives,
            margin=self.margin_negative,
            margin_same_class=self.margin_same_class,
            relative=relative,
            key=negative_key,
        )
        reach = margins + positive[:, None] if relative else margins
        share = metric_learning.active_share(distances, chosen, reach=reach)
        between = euclidean_distances(cads, cads, squared=self.squared)
        if self.metric == 'contrastive':
            loss = metric_learning.contrastive(
                distances, own, chosen, margin=margins, reduction=self.reduction, margin_positive=self.margin_positive
            )
        elif self.metric == 'triplet':
            loss = metric_learning.mined_triplet(distances, positive, chosen, margin=margins, reduction=self.reduction)
        else:
            second = negatives.second_negatives(second_key, labels['category'], chosen, valid)
            loss = metric_learning.quadruplet(
                distances,
                positive,
                between,
                chosen,
                second,
                margin=margins,
                margin_second=self.margin_second,
                reduction=self.reduction,
            )
        if self.repulsion:  # the scan's own CAD model, of the same row, keeps as far from the negative as the scan
            loss += metric_learning.push(between, chosen, margin=margins, reduction=self.reduction)
        return loss, share

    def of_pools(
        self, scans: jax.Array, pools: jax.Array, labels: dict[str, jax.Array], valid: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Loss, and share of the negatives whose loss is not 0, of scans and the CAD models people ranked for them.

        Args:
          scans: [B, D].
          pools: [B, P, D].
          labels: 'rank' int [B, P] (0 is not ranked) and 'pool_valid' bool [B, P].
          valid: [B] bool.
        """
        distances = jax.vmap(lambda scan, pool: euclidean_distances(scan[None], pool, squared=self.squared)[0])(
            scans, pools
        )
        ranked, unranked = negatives.ranked_pool(labels['rank'], labels['pool_valid'], valid)
        loss = metric_learning.push(distances, unranked, margin=self.margin_negative, reduction=self.reduction)
        if self.finetune == 'push_pull':
            if self.easy_positive:
                ranked = negatives.nearest_positives(distances, ranked)
            loss += metric_learning.pull(distances, ranked, margin=self.margin_positive, reduction=self.reduction)
        reach = jnp.full_like(distances, self.margin_negative)
        return loss, metric_learning.active_share(distances, unranked, reach=reach)
