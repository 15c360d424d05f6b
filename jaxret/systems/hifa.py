"""Labelled photos and unlabelled shapes in one space: hierarchical instance feature alignment, and its comparators.

HIFA (Zhou et al., IJCAI 2020, paper 004). One CNN encodes photos and the views of shapes; a shape is the maximum of its
views' embeddings. Photos are the source domain, shapes the target; no label of a shape is ever used. The loss:

  label_weight L_C                     cross-entropy of the photos
  + mutual_information_weight L_MI     conv map and embedding of an image or view, one discriminator for both domains
  + norm_weight L_G                    mean embedding norm of each domain
  + ramp centroid_weight L_L           centroids of the photos' labels and the shapes' pseudo-labels
  + adversarial_weight L_D             domain classifier behind a gradient reversal of scale `ramp`, mean of the domains
  + mmd_weight L_M + coral_weight L_R  discrepancy of the two domains' embeddings

with ramp = 2 / (1 + exp(-10 p)) - 1, p from 0 to 1 over the run, that of the reversal over loss.adversarial_ramp steps
if not 0. With loss.warmup w > 0 the first share w of the steps has L_C alone, and p counts from there. By the paper
lambda is mutual_information_weight (0.05), beta norm_weight (1) and gamma the ramp. Config values (group `loss`) that
give the rows of its tables, all others off:

  AlexNet (source only)   mutual_information, norm, centroid, adversarial, mmd 'none', coral_weight 0
  RevGrad, JAN            adversarial='revgrad'; mmd='jan'
  DLEA                    adversarial='revgrad', centroid='batch' or a running form
  HIFA-G, HIFA-GL         norm='fixed'; with centroid='batch' or a running form
  HIFA-GL (with MI)       the same, mutual_information='bce'
  suspected swap          HIFA with mutual_information_weight=1, norm_weight=0.05: AFN's own weight is 0.05

Letters: B photos, G shapes, V views, S image side, h, w sides of the conv map, D embedding, C classes, N rows.

Differs from the paper in, or decides where it is silent (config values and their other choices in brackets):
  - D is a linear layer after fc7, as in the same lab's public baseline; fc7 itself is 4096 wide;
  - the norm is that of the embedding, not of a layer inside the classifier;
  - L_MI and L_G are sums of both domains' losses; a shape's views count one by one in L_MI, other views of the same
    shape are no negatives; every other pair of the batch is a fake, not one fake for each real pair;
  - the classifier is two linear layers, nothing between, as in that baseline (one: `model.classifier_hidden` 0);
  - centroids are of the batch (running with masked update, running as MSTN): `loss.centroid`; all pseudo-labels count
    (those of a probability of `loss.pseudo_confidence` or more);
  - it prints no learning rates. With lambda, beta and R as printed the loss is NaN within three steps at those of the
    public baseline, so the paper preset also clips gradients: `optimizer.clip_norm`;
  - the domain classifier reads the embedding (public baseline: the layer after it);
  - images have ImageNet's mean and spread, grey views three equal channels;
  - batch norm (of residual networks) sees photos and views as one batch, padded rows too; in source-only photos alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.encoders.discriminators import DomainDiscriminator, PairDiscriminator
from jaxret.encoders.heads import LinearHead
from jaxret.encoders.shared_views import SharedViews
from jaxret.losses import alignment
from jaxret.losses import mutual_information as information
from jaxret.losses.classification import cross_modal_cross_entropy
from jaxret.losses.scores import l2_normalize, similarity_matrix
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs, spaced, view_ring
from jaxret.systems import hifa_losses, image_towers
from jaxret.systems.base import Backbone, Batch, LossAndState, QueryKind, Run, TrainedSystem, Variables, shape_queries
from jaxret.systems.checks import check_values
from jaxret.systems.encoding import global_rows
from jaxret.systems.hifa_config import CHOICES, RANGES, Weighting
from jaxret.systems.hifa_inputs import BACKBONES, INPUTS, make_backbone, make_towers, pictures
from jaxret.systems.hifa_losses import DOMAINS, own
from jaxret.systems.image_towers import ImageTower, frozen_collection


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
    towers: Mapping[str, ImageTower] = field(default_factory=make_towers)

    TASK: ClassVar[str] = 'domain_adaptation'
    LATER: ClassVar[Mapping[str, Any]] = {
        'backbone_optimizer.embedding': False,
        'evaluation.photos': 'test',
        'loss.adversarial_ramp': 0,
        'loss.pseudo_confidence': 0.0,
        **{key: image_towers.LATER[key] for key in image_towers.LATER.keys() - {'model.taps', 'model.normalization'}},
    }
    GALLERIES: ClassVar[tuple[str, ...]] = ('views',)
    similarity: ClassVar[str] = 'cosine'
    BACKBONES: ClassVar[Mapping[str, Backbone]] = BACKBONES

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
        check_values(config, choices=CHOICES, ranges=RANGES)
        model, loss = config.model, config.loss
        towers, backbone = make_backbone(config, axis_name)
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
            towers=towers,
        )

    @classmethod
    def trained(cls, run: Run, gallery: str) -> TrainedSystem:
        """See `System.trained`: photos and shapes find shapes by their views."""
        config, data = run.config, run.config.data
        system = cls.from_config(config, classes=len(run.categories), steps=1)
        ring = view_ring(config.render, size=data.stored_size)
        view_ids = spaced(min(config.evaluation.views, ring.views), ring.views)
        shapes = ShapeInputs(gallery, ring=ring, view_ids=view_ids, side=data.image_size, up_axis=data.up_axis)
        photo = PhotoInputs('plain', size=data.image_size, stored_size=data.stored_size, fit=data.fit)
        queries = {'photo': QueryKind(photo, 'photo'), **shape_queries(shapes, 'shape', one_by_one=False)}
        note = (
            f'Its evaluation aligned the embeddings with {config.evaluation.alignment}, which needs the training '
            f'data; here they are those of the network.'
        )
        notes = () if config.evaluation.alignment == 'none' else (note,)
        return TrainedSystem('hifa', system.embed, shapes, 'shape', queries, cls.similarity, notes=notes)

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables: 'params' of backbone, embedding, classifier and, where used, discriminator and domain.

        Further collections, where used: 'batch_stats' (residual networks), 'mutual_information' (running averages of
        'dv_unbiased', by domain), 'centroids' (running centroids [C, D] and classes seen [C], by domain).
        """
        keys, weighting, row = jax.random.split(rng, 4), self.weighting, jnp.zeros((1, self.dim))
        photo, views = (pictures(batch[name][:1], self.towers[name]) for name in INPUTS.values())
        frozen, photo = self.towers['photo'].init(jax.random.fold_in(rng, 1), photo)
        encoding, variables = self.encoder.init_with_output(
            keys[0], photo, self.towers['views'].apply({'frozen': frozen}, views)
        )
        params = {**variables['params'], 'classifier': self.classifier.init(keys[1], row)['params']}
        collections = {name: value for name, value in variables.items() if name != 'params'}
        collections |= frozen_collection(frozen)
        if weighting.mutual_information != 'none':
            scores, own = self.discriminator.init_with_output(keys[2], encoding.photo_maps, row)
            params['discriminator'] = own['params']
            if weighting.mutual_information == 'dv_unbiased':
                averages = {name: information.start_average(scores.shape[0]) for name in DOMAINS}
                collections['mutual_information'] = averages
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
    ) -> LossAndState:
        """The weighted sum of the module's docstring; see `System.loss`.

        Report: label_loss, label_accuracy; photo_norm, shape_norm (mean lengths of embeddings); pseudo_classes
        (distinct pseudo-labels), pseudo_largest_share (of the shapes, with the most frequent one: near 1 they have
        collapsed), pseudo_confidence (mean probability of a pseudo-label); ramp; and unweighted, where used:
        mutual_information_loss, norm_loss, centroid_loss, adversarial_loss and domain_accuracy, mmd_loss, coral_loss.
        """
        weighting = self.weighting
        rows, state = self._rows(variables, batch, rng if train else None, axis_name)
        adapting, growth, reversal = self._schedule(step)
        classify = partial(self.classifier.apply, own(variables, 'classifier'))
        photo_logits, shape_logits = classify(rows['photos']), classify(rows['shapes'])
        pseudo = hifa_losses.pseudo_labels(shape_logits)
        label = cross_modal_cross_entropy(photo_logits[None], rows['label'], valid=rows['valid'])
        parts = {'label': (weighting.label_weight, label)}
        report = {'ramp': growth, **hifa_losses.observations(rows, photo_logits, pseudo, self.classes)}
        if weighting.mutual_information != 'none':
            value, state['mutual_information'] = hifa_losses.mutual_information_loss(
                weighting, self.discriminator, variables, rows
            )
            parts['mutual_information'] = weighting.mutual_information_weight, value
        if weighting.norm != 'none':
            parts['norm'] = weighting.norm_weight, hifa_losses.norm_loss(weighting, rows)
        if weighting.centroid != 'none':
            value, state['centroids'] = hifa_losses.centroid_loss(weighting, rows, pseudo, self.classes, variables)
            parts['centroid'] = growth * weighting.centroid_weight, value
        if weighting.adversarial != 'none':
            value, report['domain_accuracy'] = hifa_losses.adversarial_loss(self.domain, variables, rows, reversal)
            parts['adversarial'] = weighting.adversarial_weight, value
        if weighting.mmd != 'none':
            parts['mmd'] = weighting.mmd_weight, hifa_losses.mmd_loss(weighting, rows, photo_logits, shape_logits)
        if weighting.coral_weight > 0:
            parts['coral'] = weighting.coral_weight, hifa_losses.coral_loss(rows)
        total = sum(weight * value * (1.0 if name == 'label' else adapting) for name, (weight, value) in parts.items())
        report |= {f'{name}_loss': value for name, (_, value) in parts.items()}
        kept = {name: value for name, value in variables.items() if name not in ('params', 'frozen')}
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
        images = self.features(variables, inputs, modality)
        return self.encoder.apply(_encoder_variables(variables), images, method=modality)

    def features(
        self, variables: Variables, inputs: Batch, modality: str, *, rng: jax.Array | None = None
    ) -> jax.Array:
        """What the trained part of the backbone takes, which batches may hold in place of images (`ImageTower`)."""
        del rng
        tower = self.towers[INPUTS[modality]]
        return tower.of_batch(variables, inputs, partial(pictures, tower=tower))

    def predict(self, variables: Variables, embeddings: jax.Array) -> jax.Array:
        """Class probabilities [N, C] of embeddings [N, D] of either domain."""
        return jax.nn.softmax(self.classifier.apply(own(variables, 'classifier'), embeddings), axis=-1)

    def score(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Cosine [Q, G] of embeddings [Q, D] and [G, D]."""
        del variables
        return similarity_matrix(l2_normalize(queries), l2_normalize(gallery))

    def _schedule(self, step: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Factor of all losses but the labels' (0 in the warm-up, then 1), the ramp, and the scale of the reversal."""
        progress, warmup = jnp.minimum(step / self.steps, 1.0), self.weighting.warmup
        growth = alignment.ramp(jnp.maximum(progress - warmup, 0.0) / (1.0 - warmup))
        reversal, steps = growth, self.weighting.adversarial_ramp
        if steps:
            reversal = alignment.ramp(jnp.clip((step - warmup * self.steps) / steps, 0.0, 1.0))
        return (progress >= warmup).astype(jnp.float32), growth, reversal

    def _rows(
        self, variables: Variables, batch: Batch, rng: jax.Array | None, axis_name: str | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Encodings, labels, masks and dropout keys of the whole batch, in rank order; and the new batch statistics.

        rng is None in evaluation mode.
        """
        draw = partial(_row_keys, rng, axis_name=axis_name)
        photos, shapes = (self.features(variables, batch, name) for name in DOMAINS)
        encode = partial(self.encoder.apply, _encoder_variables(variables))
        train = {'train': rng is not None, 'mutable': [] if rng is None else ['batch_stats']}
        photo_keys = draw(0, len(photos))[0]
        if self.weighting.adapts:
            encoding, state = encode(photos, shapes, photo_keys=photo_keys, shape_keys=draw(1, len(shapes))[0], **train)
            rows = encoding._asdict()
        else:  # shapes leave no trace in the weights, nor in the statistics
            embedded, state = encode(photos, keys=photo_keys, method='photo', **train)
            rows = {'photos': embedded, 'shapes': encode(shapes, method='shape')}
        rows |= {name: batch[name] for name in ('label', 'valid', 'shape_valid')}
        if self.weighting.mutual_information == 'none':  # maps are large, and nothing else needs them
            rows = {name: value for name, value in rows.items() if name not in ('photo_maps', 'view_maps', 'views')}
        if axis_name is not None:  # features and labels cross devices, images never do
            rows = jax.lax.all_gather(rows, axis_name, tiled=True)
        return rows | {'photo_keys': draw(2, len(photos))[1], 'shape_keys': draw(3, len(shapes))[1]}, dict(state)


def _encoder_variables(variables: Variables) -> Variables:
    """Parameters of backbone and embedding, and batch statistics where there are any."""
    params = {name: variables['params'][name] for name in ('backbone', 'embedding') if name in variables['params']}
    return {'params': params, **{name: variables[name] for name in ('batch_stats',) if name in variables}}


def _row_keys(
    rng: jax.Array | None, stream: int, local: int, *, axis_name: str | None
) -> tuple[jax.Array | None, jax.Array | None]:
    """A key for each of this device's rows, and for all rows of the batch; None without rng."""
    if rng is None:
        return None, None
    mine, count = global_rows(local, axis_name)
    keys = jax.random.split(jax.random.fold_in(rng, stream), count)
    return keys[mine], keys
