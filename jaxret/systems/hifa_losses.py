"""The losses of HIFA and its comparators on the rows of both domains, each without its weight.

`rows` holds of the whole batch: photos [B, D] and shapes [G, D], label [B] of the photos, valid [B] and shape_valid
[G], photo_keys and shape_keys of dropout; where mutual information is used also the maps and embeddings of images and
views.

Letters: B photos, G shapes, D embedding, C classes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxret.encoders.discriminators import DomainDiscriminator, PairDiscriminator
from jaxret.losses import alignment, discrepancy
from jaxret.losses import mutual_information as information
from jaxret.losses.contrastive import masked_mean
from jaxret.systems.base import Variables
from jaxret.systems.hifa_config import Weighting

DOMAINS = ('photo', 'shape')
Rows = dict[str, Any]
_ESTIMATORS = {
    'bce': information.binary_cross_entropy,
    'jsd': information.jensen_shannon,
    'dv': information.donsker_varadhan,
}


class PseudoLabels(NamedTuple):
    """What the classifier takes shapes for.

    Attributes:
      label: int [G].
      confidence: [G], probability of that class.
    """

    label: jax.Array
    confidence: jax.Array


def pseudo_labels(logits: jax.Array) -> PseudoLabels:
    """Pseudo-labels of shapes by their logits [G, C]."""
    return PseudoLabels(jnp.argmax(logits, axis=1), jnp.max(jax.nn.softmax(logits, axis=1), axis=1))


def own(variables: Variables, name: str) -> Variables:
    """The variables of one module without state."""
    return {'params': variables['params'][name]}


def mutual_information_loss(
    weighting: Weighting, discriminator: PairDiscriminator, variables: Variables, rows: Rows
) -> tuple[jax.Array, dict[str, Any]]:
    """Loss of photos plus loss of shapes, and the running averages after the batch, by domain."""
    shapes, photo = len(rows['shape_valid']), (rows['photo_maps'], rows['photos'], rows['valid'])
    count = len(rows['views']) // shapes  # rows a shape: its views, or 1 where maps were pooled
    owners = {'photo': jnp.arange(len(rows['valid'])), 'shape': jnp.repeat(jnp.arange(shapes), count)}
    inputs = {'photo': photo, 'shape': (rows['view_maps'], rows['views'], jnp.repeat(rows['shape_valid'], count))}
    total, averages = jnp.zeros(()), {}
    for name, (maps, embeddings, valid) in inputs.items():
        scores = discriminator.apply(own(variables, 'discriminator'), maps, embeddings)
        negatives = information.negative_pairs(owners[name], valid=valid)
        if weighting.mutual_information == 'dv_unbiased':
            value, averages[name] = information.donsker_varadhan_unbiased(
                scores,
                negatives,
                variables['mutual_information'][name],
                decay=weighting.mutual_information_decay,
                valid=valid,
            )
        else:
            value = _ESTIMATORS[weighting.mutual_information](scores, negatives, valid=valid)
        total += value
    return total, averages


def norm_loss(weighting: Weighting, rows: Rows) -> jax.Array:
    """Loss of the photos' norms plus loss of the shapes'."""

    def of_domain(features: jax.Array, valid: jax.Array) -> jax.Array:
        if weighting.norm == 'fixed':
            return alignment.fixed_norm_loss(features, radius=weighting.norm_radius, valid=valid)
        return alignment.stepwise_norm_loss(features, step=weighting.norm_step, valid=valid)

    return of_domain(rows['photos'], rows['valid']) + of_domain(rows['shapes'], rows['shape_valid'])


def centroid_loss(
    weighting: Weighting, rows: Rows, pseudo: PseudoLabels, classes: int, variables: Variables
) -> tuple[jax.Array, dict[str, Any]]:
    """Loss of the centroids of labels and pseudo-labels, and the running centroids after the batch, by domain.

    Shapes whose pseudo-label is less probable than `pseudo_confidence` have no part in them.
    """
    counted = rows['shape_valid'] & (pseudo.confidence >= weighting.pseudo_confidence)
    batch = {
        'photo': alignment.class_centroids(rows['photos'], rows['label'], classes, valid=rows['valid']),
        'shape': alignment.class_centroids(rows['shapes'], pseudo.label, classes, valid=counted),
    }
    kind, means, seen, running = weighting.centroid, {}, {}, {}
    for name, (mean, present) in batch.items():
        means[name], seen[name] = mean, present
        if kind != 'batch':
            old = variables['centroids'][name]
            means[name], met = alignment.running_centroids(
                old['mean'], old['seen'], mean, present, momentum=weighting.centroid_momentum, masked=kind == 'running'
            )
            running[name], seen[name] = {'mean': jax.lax.stop_gradient(means[name]), 'seen': met}, met > 0
    counted = None if kind == 'running_mstn' else seen['photo'] & seen['shape']
    loss = alignment.centroid_loss(
        means['photo'], means['shape'], counted=counted, reduction=weighting.centroid_reduction
    )
    return loss, running


def adversarial_loss(
    domain: DomainDiscriminator, variables: Variables, rows: Rows, scale: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Loss of the domain classifier behind a gradient reversal of that scale, and its accuracy."""
    photos, shapes = (
        domain.apply(own(variables, 'domain'), alignment.reverse_gradient(x, scale=scale), keys=keys)
        for x, keys in ((rows['photos'], rows['photo_keys']), (rows['shapes'], rows['shape_keys']))
    )
    accuracy = 0.5 * (_share(photos > 0, rows['valid']) + _share(shapes <= 0, rows['shape_valid']))
    return alignment.adversarial_loss(photos, shapes, **_valid(rows)), accuracy


def mmd_loss(weighting: Weighting, rows: Rows, photo_logits: jax.Array, shape_logits: jax.Array) -> jax.Array:
    """Maximum mean discrepancy of the domains; 'jan' also looks at the class probabilities of logits [B, C], [G, C]."""
    photos, shapes = rows['photos'], rows['shapes']
    if weighting.mmd == 'jan':
        probabilities = (jax.nn.softmax(logits, axis=-1) for logits in (photo_logits, shape_logits))
        return discrepancy.joint_mmd(photos, shapes, *probabilities, **_valid(rows))
    kind = discrepancy.linear_mmd if weighting.mmd == 'linear' else discrepancy.multi_kernel_mmd
    return kind(photos, shapes, **_valid(rows))


def coral_loss(rows: Rows) -> jax.Array:
    """Difference of the domains' covariances."""
    return discrepancy.coral(rows['photos'], rows['shapes'], **_valid(rows))


def observations(rows: Rows, photo_logits: jax.Array, pseudo: PseudoLabels, classes: int) -> dict[str, jax.Array]:
    """Accuracy of the photos' labels, mean lengths of embeddings, and of pseudo-labels how many classes have any, which
    share has the most frequent one, and their mean confidence."""
    counts = jnp.sum(jax.nn.one_hot(pseudo.label, classes) * rows['shape_valid'][:, None], axis=0)  # [C]
    return {
        'label_accuracy': _share(jnp.argmax(photo_logits, axis=1) == rows['label'], rows['valid']),
        'photo_norm': masked_mean(alignment.feature_norms(rows['photos']), rows['valid']),
        'shape_norm': masked_mean(alignment.feature_norms(rows['shapes']), rows['shape_valid']),
        'pseudo_classes': jnp.sum(counts > 0).astype(jnp.float32),
        'pseudo_largest_share': jnp.max(counts) / jnp.maximum(jnp.sum(counts), 1),
        'pseudo_confidence': masked_mean(pseudo.confidence, rows['shape_valid']),
    }


def _share(hits: jax.Array, valid: jax.Array) -> jax.Array:
    return masked_mean(hits.astype(jnp.float32), valid)


def _valid(rows: Rows) -> dict[str, jax.Array]:
    return {'source_valid': rows['valid'], 'target_valid': rows['shape_valid']}
