"""Labelled photos and unlabelled shapes in one space: hierarchical instance feature alignment, and its comparators.

HIFA (Zhou et al., IJCAI 2020, paper 004). One CNN encodes photos and the views of shapes; a shape is the maximum of its
views' embeddings. Photos are the source domain, shapes the target; no label of a shape is ever used. The loss:

  label_weight L_C                     cross-entropy of the photos
  + mutual_information_weight L_MI     conv map and embedding of an image or view, one discriminator for both domains
  + norm_weight L_G                    mean embedding norm of each domain
  + ramp centroid_weight L_L           centroids of the photos' labels and the shapes' pseudo-labels
  + adversarial_weight L_D             domain classifier behind a gradient reversal of scale `ramp`
  + mmd_weight L_M + coral_weight L_R  discrepancy of the two domains' embeddings

with ramp = 2 / (1 + exp(-10 p)) - 1, p from 0 to 1 over the run. With loss.warmup w > 0 the first share w of the steps
has L_C alone, for networks that start from random weights, and p counts from there. By the paper lambda is
mutual_information_weight (0.05), beta norm_weight (1) and gamma the ramp. Config values (group `loss`) that give the
rows of its tables, all others off:

  AlexNet (source only)   mutual_information, norm, centroid, adversarial, mmd 'none', coral_weight 0
  RevGrad                 adversarial='revgrad'
  JAN                     mmd='jan'
  DLEA                    adversarial='revgrad', centroid='batch' or a running form
  HIFA-G                  norm='fixed'
  HIFA-GL                 norm='fixed', centroid='batch' or a running form
  HIFA-GL (with MI)       the same, mutual_information='bce'
  suspected swap          HIFA with mutual_information_weight=1, norm_weight=0.05: AFN's own weight is 0.05

Letters: B photos, G shapes, V views, S image side, h, w sides of the conv map, D embedding, C classes, N rows of
either domain.

Differs from the paper in, or decides where it is silent (config values and their other choices in brackets):
  - D is a linear layer after fc7, as in the same lab's public baseline; fc7 itself is 4096 wide;
  - the norm is that of the embedding, not of a layer inside the classifier;
  - L_MI and L_G are sums of both domains' losses; a shape's views count one by one in L_MI, other views of the same
    shape are no negatives; every other pair of the batch is a fake, not one fake for each real pair;
  - the classifier is two linear layers without activation between them, as in that baseline (one:
    `model.classifier_hidden` 0);
  - centroids are of the batch (running with masked update, running as MSTN): `loss.centroid`;
  - the domain classifier reads the embedding, the public baseline's the layer after it;
  - images have the mean and spread of ImageNet's, grey views are repeated to three channels;
  - batch norm of residual networks sees photos and views as one batch, padded rows too, also in the warm-up; without
    any adapting loss it sees photos alone, so that source-only is that. AlexNet has none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.encoders.discriminators import DomainDiscriminator, PairDiscriminator
from jaxret.encoders.heads import LinearHead
from jaxret.encoders.image_backbones import image_backbone
from jaxret.encoders.shared_views import SharedViews
from jaxret.losses import alignment, discrepancy
from jaxret.losses import mutual_information as information
from jaxret.losses.classification import cross_modal_cross_entropy
from jaxret.losses.contrastive import masked_mean
from jaxret.losses.scores import l2_normalize, similarity_matrix
from jaxret.systems.base import Batch, Variables
from jaxret.systems.hifa_config import Weighting, check_config

DOMAINS = ('photo', 'shape')
# Mean and spread of ImageNet's red, green and blue in [0, 1], with which published weights were trained.
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_ESTIMATORS = {
    'bce': information.binary_cross_entropy,
    'jsd': information.jensen_shannon,
    'dv': information.donsker_varadhan,
}


@dataclass(frozen=True, eq=False)
class Hifa:
    """The system (see the module's docstring)."""

    encoder: SharedViews
    classifier: LinearHead
    discriminator: PairDiscriminator
    domain: DomainDiscriminator
    classes: int
    dim: int
    steps: int
    weighting: Weighting

    # Image networks that published weights fit: key of config.pretrained -> modules that lead to it.
    BACKBONES: ClassVar[Mapping[str, tuple[str, ...]]] = {'backbone': ('backbone',)}

    @classmethod
    def from_config(cls, config: ConfigDict, *, classes: int, steps: int, axis_name: str | None = None) -> 'Hifa':
        """The system that a config describes.

        Config keys: model.backbone, embedding_dim, classifier_hidden, dropout, view_pooling, discriminator_hidden,
        domain_hidden, dtype; loss.mutual_information_form and the fields of `Weighting`.

        Args:
          config: with the groups `model` and `loss`.
          classes: C, of the photos.
          steps: length of the run, where the ramp ends.
          axis_name: device axis over which batch norm is synchronised (only for `pmap`).

        Raises:
          ConfigError: a value that is not one of its choices, or out of range.
        """
        check_config(config)
        model, loss = config.model, config.loss
        backbone = image_backbone(
            model.backbone, dropout=model.dropout, dtype=jnp.dtype(model.dtype), axis_name=axis_name
        )
        hidden = (model.classifier_hidden,) if model.classifier_hidden else ()
        return cls(
            encoder=SharedViews(backbone, LinearHead((model.embedding_dim,)), model.view_pooling),
            classifier=LinearHead((*hidden, classes)),
            discriminator=PairDiscriminator(model.discriminator_hidden, local=loss.mutual_information_form == 'local'),
            domain=DomainDiscriminator(model.domain_hidden, model.dropout),
            classes=classes,
            dim=model.embedding_dim,
            steps=steps,
            weighting=Weighting(**{name: loss[name] for name in Weighting.__dataclass_fields__}),
        )

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables: 'params' of backbone, embedding, classifier and, where used, discriminator and domain.

        Further collections, where used: 'batch_stats' (residual networks), 'mutual_information' (running averages of
        'dv_unbiased', by domain), 'centroids' (running centroids [C, D] and classes seen [C], by domain).
        """
        keys, weighting, row = jax.random.split(rng, 4), self.weighting, jnp.zeros((1, self.dim))
        encoding, variables = self.encoder.init_with_output(
            keys[0], pictures(batch['photo'][:1]), pictures(batch['views'][:1])
        )
        params = {**variables['params'], 'classifier': self.classifier.init(keys[1], row)['params']}
        collections = {name: value for name, value in variables.items() if name != 'params'}
        if weighting.mutual_information != 'none':
            scores, own = self.discriminator.init_with_output(keys[2], encoding.photo_maps, row)
            params['discriminator'] = own['params']
            if weighting.mutual_information == 'dv_unbiased':
                collections['mutual_information'] = {
                    name: information.start_average(scores.shape[0]) for name in DOMAINS
                }
        if weighting.adversarial != 'none':
            params['domain'] = self.domain.init(keys[3], row)['params']
        if weighting.centroid.startswith('running'):
            collections['centroids'] = {
                name: {'mean': jnp.zeros((self.classes, self.dim)), 'seen': jnp.zeros(self.classes)} for name in DOMAINS
            }
        return {'params': params, **collections}

    def loss(
        self,
        variables: Variables,
        batch: Batch,
        *,
        rng: jax.Array,
        step: jax.Array,
        train: bool,
        axis_name: str | None = None,
    ) -> tuple[jax.Array, tuple[dict[str, Any], dict[str, jax.Array]]]:
        """The weighted sum of the module's docstring; see `System.loss`.

        Report: label_loss, label_accuracy; photo_norm, shape_norm (mean lengths of embeddings); pseudo_classes
        (distinct pseudo-labels), pseudo_largest_share (of the shapes, with the most frequent one: near 1 they have
        collapsed); ramp; and unweighted, where used: mutual_information_loss, norm_loss, centroid_loss,
        adversarial_loss and domain_accuracy, mmd_loss, coral_loss.
        """
        weighting = self.weighting
        rows, state = self._rows(variables, batch, rng if train else None, axis_name)
        photos, shapes, labels = rows['photos'], rows['shapes'], rows['label']
        photo_valid, shape_valid = rows['valid'], rows['shape_valid']
        both = {'source_valid': photo_valid, 'target_valid': shape_valid}
        adapting, growth = self._schedule(step)
        photo_logits, shape_logits = (self.classifier.apply(_own(variables, 'classifier'), x) for x in (photos, shapes))
        pseudo = jnp.argmax(shape_logits, axis=1)
        label = cross_modal_cross_entropy(photo_logits[None], labels, valid=photo_valid)
        parts = {'label': (weighting.label_weight, label)}
        report = {
            'label_accuracy': _share(jnp.argmax(photo_logits, axis=1) == labels, photo_valid),
            'ramp': growth,
            'photo_norm': masked_mean(alignment.feature_norms(photos), photo_valid),
            'shape_norm': masked_mean(alignment.feature_norms(shapes), shape_valid),
            **_pseudo_label_counts(pseudo, shape_valid, self.classes),
        }
        if weighting.mutual_information != 'none':
            value, state['mutual_information'] = self._mutual_information(variables, rows)
            parts['mutual_information'] = weighting.mutual_information_weight, value
        if weighting.norm != 'none':
            value = self._norm_loss(photos, photo_valid) + self._norm_loss(shapes, shape_valid)
            parts['norm'] = weighting.norm_weight, value
        if weighting.centroid != 'none':
            batch_centroids = {
                'photo': alignment.class_centroids(photos, labels, self.classes, valid=photo_valid),
                'shape': alignment.class_centroids(shapes, pseudo, self.classes, valid=shape_valid),
            }
            value, state['centroids'] = self._centroid_loss(batch_centroids, variables)
            parts['centroid'] = growth * weighting.centroid_weight, value
        if weighting.adversarial != 'none':
            logits = [
                self.domain.apply(_own(variables, 'domain'), alignment.reverse_gradient(x, scale=growth), keys=keys)
                for x, keys in ((photos, rows['photo_keys']), (shapes, rows['shape_keys']))
            ]
            parts['adversarial'] = weighting.adversarial_weight, alignment.adversarial_loss(*logits, **both)
            report['domain_accuracy'] = 0.5 * (_share(logits[0] > 0, photo_valid) + _share(logits[1] <= 0, shape_valid))
        if weighting.mmd != 'none':
            probabilities = [jax.nn.softmax(logits, axis=-1) for logits in (photo_logits, shape_logits)]
            parts['mmd'] = weighting.mmd_weight, self._mmd(photos, shapes, *probabilities, **both)
        if weighting.coral_weight > 0:
            parts['coral'] = weighting.coral_weight, discrepancy.coral(photos, shapes, **both)
        total = sum(weight * value * (1.0 if name == 'label' else adapting) for name, (weight, value) in parts.items())
        report |= {f'{name}_loss': value for name, (_, value) in parts.items()}
        kept = {name: value for name, value in variables.items() if name != 'params'}
        return total, ({name: state[name] for name in kept} if train else kept, report)

    def embed(self, variables: Variables, inputs: Batch, modality: str) -> jax.Array:
        """Embeddings [N, D] in evaluation mode, before the classifier and of any length.

        Args:
          variables: of `init` or training.
          inputs: 'photo' [N, S, S, 3] for 'photo'; 'views' [N, V, S, S, 3 or 1] for 'shape'; uint8.
          modality: 'photo' or 'shape'.
        """
        if modality not in DOMAINS:
            raise ValueError(f'embeds {", ".join(DOMAINS)}, not {modality!r}')
        images = pictures(inputs['photo' if modality == 'photo' else 'views'])
        return self.encoder.apply(_encoder_variables(variables), images, method=modality)

    def predict(self, variables: Variables, embeddings: jax.Array) -> jax.Array:
        """Class probabilities [N, C] of embeddings [N, D] of either domain."""
        return jax.nn.softmax(self.classifier.apply(_own(variables, 'classifier'), embeddings), axis=-1)

    def score(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Cosine [Q, G] of embeddings [Q, D] and [G, D]."""
        del variables
        return similarity_matrix(l2_normalize(queries), l2_normalize(gallery))

    def _schedule(self, step: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Factor of all losses but the labels' (0 in the warm-up, then 1), and the ramp."""
        progress, warmup = jnp.minimum(step / self.steps, 1.0), self.weighting.warmup
        return (progress >= warmup).astype(jnp.float32), alignment.ramp(
            jnp.maximum(progress - warmup, 0.0) / (1.0 - warmup)
        )

    def _rows(
        self, variables: Variables, batch: Batch, rng: jax.Array | None, axis_name: str | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Encodings, labels, masks and dropout keys of the whole batch, in rank order; and the new batch statistics.

        rng is None in evaluation mode.
        """
        draw = partial(_row_keys, rng, axis_name=axis_name)
        photos, shapes = batch['photo'], batch['views']
        encode = partial(self.encoder.apply, _encoder_variables(variables))
        train = {'train': rng is not None, 'mutable': [] if rng is None else ['batch_stats']}
        photo_keys = draw(0, len(photos))[0]
        if self.weighting.adapts:
            encoding, state = encode(
                pictures(photos), pictures(shapes), photo_keys=photo_keys, shape_keys=draw(1, len(shapes))[0], **train
            )
            rows = encoding._asdict()
        else:  # shapes leave no trace in the weights, nor in the statistics
            embedded, state = encode(pictures(photos), keys=photo_keys, method='photo', **train)
            rows = {'photos': embedded, 'shapes': encode(pictures(shapes), method='shape')}
        rows |= {name: batch[name] for name in ('label', 'valid', 'shape_valid')}
        if self.weighting.mutual_information == 'none':  # maps are large, and nothing else needs them
            rows = {name: value for name, value in rows.items() if name not in ('photo_maps', 'view_maps', 'views')}
        if axis_name is not None:  # features and labels cross devices, images never do
            rows = jax.lax.all_gather(rows, axis_name, tiled=True)
        return rows | {'photo_keys': draw(2, len(photos))[1], 'shape_keys': draw(3, len(shapes))[1]}, dict(state)

    def _mutual_information(self, variables: Variables, rows: dict[str, Any]) -> tuple[jax.Array, dict[str, Any]]:
        """Loss of photos plus loss of shapes, and the running averages after the batch, by domain."""
        shapes, photo = len(rows['shape_valid']), (rows['photo_maps'], rows['photos'], rows['valid'])
        count = len(rows['views']) // shapes  # rows a shape: its views, or 1 where maps were pooled
        owners = {'photo': jnp.arange(len(rows['valid'])), 'shape': jnp.repeat(jnp.arange(shapes), count)}
        inputs = {'photo': photo, 'shape': (rows['view_maps'], rows['views'], jnp.repeat(rows['shape_valid'], count))}
        total, averages = jnp.zeros(()), {}
        for name, (maps, embeddings, valid) in inputs.items():
            scores = self.discriminator.apply(_own(variables, 'discriminator'), maps, embeddings)
            negatives = information.negative_pairs(owners[name], valid=valid)
            if self.weighting.mutual_information == 'dv_unbiased':
                value, averages[name] = information.donsker_varadhan_unbiased(
                    scores,
                    negatives,
                    variables['mutual_information'][name],
                    decay=self.weighting.mutual_information_decay,
                    valid=valid,
                )
            else:
                value = _ESTIMATORS[self.weighting.mutual_information](scores, negatives, valid=valid)
            total += value
        return total, averages

    def _norm_loss(self, features: jax.Array, valid: jax.Array) -> jax.Array:
        if self.weighting.norm == 'fixed':
            return alignment.fixed_norm_loss(features, radius=self.weighting.norm_radius, valid=valid)
        return alignment.stepwise_norm_loss(features, step=self.weighting.norm_step, valid=valid)

    def _centroid_loss(
        self, batch: dict[str, tuple[jax.Array, jax.Array]], variables: Variables
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Loss of centroids and classes present [C, D], [C], by domain; and the running centroids after the batch."""
        kind, means, seen, running = self.weighting.centroid, {}, {}, {}
        for name, (mean, present) in batch.items():
            means[name], seen[name] = mean, present
            if kind != 'batch':
                old = variables['centroids'][name]
                means[name], met = alignment.running_centroids(
                    old['mean'],
                    old['seen'],
                    mean,
                    present,
                    momentum=self.weighting.centroid_momentum,
                    masked=kind == 'running',
                )
                running[name], seen[name] = {'mean': jax.lax.stop_gradient(means[name]), 'seen': met}, met > 0
        counted = None if kind == 'running_mstn' else seen['photo'] & seen['shape']
        loss = alignment.centroid_loss(
            means['photo'], means['shape'], counted=counted, reduction=self.weighting.centroid_reduction
        )
        return loss, running

    def _mmd(
        self,
        photos: jax.Array,
        shapes: jax.Array,
        photo_probabilities: jax.Array,
        shape_probabilities: jax.Array,
        **valid: jax.Array,
    ) -> jax.Array:
        if self.weighting.mmd == 'jan':
            return discrepancy.joint_mmd(photos, shapes, photo_probabilities, shape_probabilities, **valid)
        kind = discrepancy.linear_mmd if self.weighting.mmd == 'linear' else discrepancy.multi_kernel_mmd
        return kind(photos, shapes, **valid)


def pictures(images: jax.Array) -> jax.Array:
    """uint8 [..., 3 or 1] to float32 [..., 3] with ImageNet's mean at 0 and its spread at 1; grey is repeated."""
    images = jnp.broadcast_to(images, (*images.shape[:-1], 3)).astype(jnp.float32) / 255
    mean, spread = (jnp.broadcast_to(jnp.array(x), images.shape) for x in (_MEAN, _SPREAD))
    return (images - mean) / spread


def _own(variables: Variables, name: str) -> Variables:
    return {'params': variables['params'][name]}


def _encoder_variables(variables: Variables) -> Variables:
    """Parameters of backbone and embedding, and batch statistics where there are any."""
    params = {name: variables['params'][name] for name in ('backbone', 'embedding')}
    return {'params': params, **{name: variables[name] for name in ('batch_stats',) if name in variables}}


def _row_keys(
    rng: jax.Array | None, stream: int, local: int, *, axis_name: str | None
) -> tuple[jax.Array | None, jax.Array | None]:
    """A key for each of this device's rows, and for all rows of the batch; None without rng."""
    if rng is None:
        return None, None
    count = local if axis_name is None else jax.lax.axis_size(axis_name) * local
    keys = jax.random.split(jax.random.fold_in(rng, stream), count)
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * local
    return jax.lax.dynamic_slice_in_dim(keys, first, local), keys


def _share(hits: jax.Array, valid: jax.Array) -> jax.Array:
    return masked_mean(hits.astype(jnp.float32), valid)


def _pseudo_label_counts(pseudo: jax.Array, valid: jax.Array, classes: int) -> dict[str, jax.Array]:
    counts = jnp.sum(jax.nn.one_hot(pseudo, classes) * valid[:, None], axis=0)  # [C]
    return {
        'pseudo_classes': jnp.sum(counts > 0).astype(jnp.float32),
        'pseudo_largest_share': jnp.max(counts) / jnp.maximum(jnp.sum(counts), 1),
    }
