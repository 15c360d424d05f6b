"""Slow oracles of scan-CAD: the losses of embeddings by loops, and what stand-in networks make of grids.

What is drawn by chance is taken from `jaxret.losses.negatives`, which has its own tests.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import references_metric_learning as ref
from references import euclidean_distances

from jaxret.losses import negatives


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def network(system, variables, name, grids):
    """A network's result in evaluation mode."""
    own = {kind: variables[kind][name] for kind in ('params', 'batch_stats')}
    return _compiled(system.networks[name])(own, jnp.asarray(grids, jnp.float32)[..., None])


@cache
def _compiled(module):
    return jax.jit(module.apply)


def forward(system, variables, scan):
    """Logits, and the embeddings of scans, float64, by the published order."""
    first = sigmoid(scan) if system.input_sigmoid else scan
    foreground, background = network(system, variables, 'separation', first)
    (completion,) = network(system, variables, 'completion', sigmoid(foreground))
    return (foreground, background, completion), embedded(system, variables, sigmoid(completion))


def embedded(system, variables, grids):
    z = np.asarray(network(system, variables, 'embedding', grids), np.float64)
    return z / np.linalg.norm(z, axis=-1, keepdims=True) if system.normalize else z


def grid_losses(system, logits, batch):
    """Cross-entropies of foreground, background and completion, over the valid scans."""
    valid = batch['valid']
    targets = batch['mask'] > 0, (batch['scan'] > 0) & ~(batch['mask'] > 0), batch['cad'] > 0
    return [
        np.mean(
            np.where(
                target[valid], -system.occupied_weight * np.log(sigmoid(logit[valid])), -np.log(sigmoid(-logit[valid]))
            )
        )
        for logit, target in zip(logits, targets, strict=True)
    ]


def pair_loss(metric, scans, cads, labels, valid, negative_key, second_key):
    """Loss and active share of a batch of pairs."""
    distances = euclidean_distances(scans, cads, squared=metric.squared)
    between = euclidean_distances(cads, cads, squared=metric.squared)
    positive = np.diagonal(distances)
    other, same = ref.kinds(labels['category'], labels['instance'], valid)
    margins = np.where(ref.mask_of(same, distances.shape), metric.margin_same_class, metric.margin_negative)
    relative = metric.metric != 'contrastive'
    if metric.negatives in ('random', 'adaptive', 'same_class'):
        candidates = ref.mask_of(
            {'random': other, 'same_class': same}.get(
                metric.negatives,
                [
                    (i, j)
                    for i in range(len(valid))
                    for j in range(len(valid))
                    if (i, j) in (same if any(pair[0] == i for pair in same) else other)
                ],
            ),
            distances.shape,
        )
        chosen = ref.pairs_of(negatives.choose_random(negative_key, candidates))
    else:
        chosen = list(
            ref.fitting(
                metric.negatives,
                distances,
                positive,
                other,
                same,
                margin=metric.margin_negative,
                margin_same_class=metric.margin_same_class,
                relative=relative,
            )
        )
    options = {'reduction': metric.reduction}
    if metric.metric == 'contrastive':
        own = [(int(i), int(i)) for i in np.flatnonzero(valid)]
        value = ref.pull(distances, own, margin=metric.margin_positive, **options) + ref.push(
            distances, chosen, margins, **options
        )
    elif metric.metric == 'triplet':
        value = ref.triplet(distances, positive, chosen, margins, **options)
    else:
        mask = ref.mask_of(chosen, distances.shape)
        second = ref.pairs_of(negatives.second_negatives(second_key, labels['category'], mask, valid))
        value = ref.quadruplet(distances, positive, between, chosen, second, margins, metric.margin_second, **options)
    if metric.repulsion:
        value += ref.push(between, chosen, margins, **options)
    active = [distances[i, j] < margins[i, j] + (positive[i] if relative else 0) for i, j in chosen]
    return value, np.mean(active) if active else 0.0


def pool_loss(metric, scans, pools, labels, valid):
    """Loss and active share of scans with the CAD models ranked for them."""
    push, pull = [], []
    distances = np.array(
        [
            euclidean_distances(scan[None], pool, squared=metric.squared)[0]
            for scan, pool in zip(scans, pools, strict=True)
        ]
    )
    for i in np.flatnonzero(valid):
        there = np.flatnonzero(labels['pool_valid'][i])
        ranked = [j for j in there if labels['rank'][i, j] > 0]
        push += [(i, j) for j in there if ranked and labels['rank'][i, j] == 0]
        pull += (
            [(i, min(ranked, key=lambda j: distances[i, j]))]
            if ranked and metric.easy_positive
            else [(i, j) for j in ranked]
        )
    margins = np.full(distances.shape, metric.margin_negative)
    value = ref.push(distances, push, margins, reduction=metric.reduction)
    if metric.finetune == 'push_pull':
        value += ref.pull(distances, pull, margin=metric.margin_positive, reduction=metric.reduction)
    return value, np.mean([distances[pair] < metric.margin_negative for pair in push])
