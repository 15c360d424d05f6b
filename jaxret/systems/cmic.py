"""CMIC: cross-modal instance and category contrastive learning, photo + mask -> CAD model (Lin et al., ICCV 2021).

A photo encoder and a grey-view encoder give unit embeddings; attention by the query merges a shape's view embeddings
into one query-specific vector; the score is its dot product with the query (paper 3.3 - 3.5).

Letters: B photos of the batch, G shapes, V views, Q queries, S image side, D embedding.

Differs from the paper in (the public code is followed; every choice is a config value):
  - losses are means over the batch, not sums (Eq. 4, 5): `loss.reduction`;
  - the category loss counts the true shape among the positives, as Table 4 prefers (Eq. 5 leaves it out):
    `loss.true_shape`;
  - colour transfer scales by style / content deviation (Eq. 1 prints the inverse) in CIE L*a*b* (paper: Ruderman's
    l-alpha-beta): `color.ratio`, `color.mode`;
  - the "one MLP layer" of the attention is one linear map without bias;
  - the mask enters in [0, 1] in training and testing (the public code tests with [-1, 1]).

`loss.kind` 'center' trains the same encoders with another method, see `cmic_center`.

Beyond the paper, off in the `paper` preset: `loss.sampling_correction` subtracts from each shape's logit the logarithm
of its chance to be in a batch. Shapes that many photos show are in nearly every batch as negatives, so that without
it scores learn to discount them; with it they learn log p(shape | photo) as the photos are distributed (Bengio and
Senecal, IEEE TNN 2008; Yi et al., RecSys 2019).

Large batches: `model.chunk` photos, and as many shapes with all their views, are encoded at once, and again in the
backward pass (`jaxret.losses.gradient_caching`), so that activations are those of a chunk; the losses are over
all of the batch. Batch norm normalises each chunk by the chunk's own statistics (ghost batch norm, Hoffer et al.,
NIPS 2017): those of the whole batch would need every layer's activations of all chunks at once. Loss and gradient are
exactly those of this function; they are those of the unchunked step too where `chunk` is the batch or statistics are
frozen. Running statistics move once a step, to the mean of what each chunk alone would make of them. Scores and losses
of many photos and shapes go through blocks of photos, which changes no number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from jaxret.augmentation import color
from jaxret.encoders.heads import ImageEncoder, image_encoder
from jaxret.encoders.resnet import RESNET_NAMES
from jaxret.encoders.view_pooling import ViewAttention, ViewEncoder, max_views, mean_views
from jaxret.errors import ConfigError
from jaxret.losses import contrastive, margin, scores
from jaxret.losses.gradient_caching import block_size, map_chunks, map_queries
from jaxret.losses.mining import TRIPLET_RULES
from jaxret.systems.base import Batch, Variables
from jaxret.systems.cmic_center import ShapeCenters

CHOICES = {
    'model.query_encoder': RESNET_NAMES,
    'model.view_encoder': RESNET_NAMES,
    'model.pooling': ('attention', 'mean', 'max', 'unit_mean'),
    'model.mask': ('channel', 'multiply', 'both', 'none'),
    'model.dtype': ('float32', 'bfloat16'),
    'loss.kind': ('contrastive', 'triplet', 'center'),
    'loss.mining': TRIPLET_RULES,
    'loss.reduction': ('mean', 'sum'),
    'loss.true_shape': ('included', 'not_positive', 'removed'),
    'color.mode': ('lab', 'ruderman', 'hsv', 'none'),
    'color.ratio': ('style_over_content', 'content_over_style'),
}


@dataclass(frozen=True)
class CMIC:
    """The CMIC system (see the module's docstring and `experiments/configs/pix3d.py` for the values' meaning)."""

    query_encoder: ImageEncoder
    view_encoder: ViewEncoder
    attention: ViewAttention
    embedding_dim: int
    pooling: str
    mask: str
    loss_kind: str
    temperature: float
    category_weight: float
    reduction: str
    true_shape: str
    sampling_correction: bool
    triplet_margin: float
    mining: str
    color_mode: str
    color_ratio: str
    color_probability: float
    hsv_range: tuple[float, float, float]
    centers: ShapeCenters | None = None  # of loss_kind 'center'
    chunk: int = 0  # photos, and shapes, encoded at once in training; 0 is all

    # Image networks that published weights fit: key of config.pretrained -> modules that lead to it.
    BACKBONES: ClassVar[Mapping[str, tuple[str, ...]]] = {
        'query': ('query', 'backbone'),
        'gallery': ('view', 'encoder', 'backbone'),
    }

    @classmethod
    def from_config(
        cls, config: ConfigDict, *, shapes: int = 0, chunk: int = 0, axis_name: str | None = None
    ) -> 'CMIC':
        """The system that a config describes.

        Args:
          config: with the groups `model`, `loss` and `color`.
          shapes: in the gallery that the run is trained on; loss.kind 'center' needs it to train.
          chunk: photos, and shapes, encoded at once in training (`model.chunk`); 0 is the whole batch.
          axis_name: device axis over which batch norm is synchronised (only for `pmap`).

        Raises:
          ConfigError: a value that is not one of its choices, or an unknown backbone.
        """
        for key, choices in CHOICES.items():
            group, name = key.split('.')
            if config[group][name] not in choices:
                raise ConfigError(f'config.{key}: {config[group][name]!r} is not one of {", ".join(choices)}')
        if len(config.color.hsv_range) != 3:
            raise ConfigError(
                f'config.color.hsv_range: {config.color.hsv_range!r} is not three numbers (hue, saturation, value)'
            )
        model, loss, dtype = config.model, config.loss, jnp.dtype(config.model.dtype)
        centers = None
        if loss.kind == 'center':
            if model.pooling != 'unit_mean':
                raise ConfigError(
                    f"config.model.pooling: {model.pooling!r}, but loss.kind 'center' needs 'unit_mean': "
                    f'a shape has one place, whatever the query'
                )
            centers = (
                ShapeCenters(shapes, model.embedding_dim, loss.label_weight, loss.center_weight, loss.alignment_weight)
                if shapes
                else None
            )

        def encoder(name: str) -> ImageEncoder:
            return image_encoder(name, model.embedding_dim, axis_name=axis_name, dtype=dtype)

        return cls(
            query_encoder=encoder(model.query_encoder),
            view_encoder=ViewEncoder(encoder(model.view_encoder)),
            attention=ViewAttention(),
            embedding_dim=model.embedding_dim,
            pooling=model.pooling,
            mask=model.mask,
            loss_kind=loss.kind,
            temperature=loss.temperature,
            category_weight=loss.category_weight,
            reduction=loss.reduction,
            true_shape=loss.true_shape,
            sampling_correction=loss.sampling_correction,
            triplet_margin=loss.margin,
            mining=loss.mining,
            color_mode=config.color.mode,
            color_ratio=config.color.ratio,
            color_probability=config.color.probability,
            hsv_range=tuple(config.color.hsv_range),
            centers=centers,
            chunk=chunk,
        )

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables {'params', 'batch_stats'}, each {'query', 'view'}; params also hold 'attention' where that pools,
        'centers' and 'classifier' where loss_kind is 'center'."""
        keys = jax.random.split(rng, 3)
        photos = self._photo_input(batch['image'][:1].astype(jnp.float32) / 255, batch['mask'][:1])
        query = self.query_encoder.init(keys[0], photos)
        view = self.view_encoder.init(keys[1], view_input(batch['views'][:1, :1]))
        params = {'query': query['params'], 'view': view['params']}
        if self.pooling == 'attention':
            params['attention'] = self.attention.init(keys[2], jnp.zeros((1, self.embedding_dim)))['params']
        if self.loss_kind == 'center':
            if self.centers is None:
                raise ValueError("loss.kind 'center' has a center a shape: from_config(..., shapes=)")
            params |= self.centers.init(keys[2])
        return {'params': params, 'batch_stats': {'query': query['batch_stats'], 'view': view['batch_stats']}}

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
        """Instance loss + category_weight * category loss (Eq. 4 - 6) of a batch; see `System.loss`.

        Report: instance_loss, category_loss (loss_kind 'center': label_loss, center_loss, alignment_loss), batch_top1
        (share of photos whose own shape scores best in the batch).
        """
        del step
        images = batch['image'].astype(jnp.float32) / 255
        if train:
            images = self._augment_color(images, rng, axis_name)
        chunks = self._chunks(len(images), axis_name)
        queries, query_state = self._encode(
            self.query_encoder, variables, 'query', (images, batch['mask']), self._photo_input, train, chunks
        )
        gallery, view_state = self._encode(
            self.view_encoder, variables, 'view', (batch['views'],), view_input, train, chunks
        )
        labels = ('positive', 'query_category', 'shape_category', 'query_valid', 'shape_valid')
        batch = {
            name: batch[name]
            for name in (
                *labels,
                *(['shape_inclusion'] * self.sampling_correction),
                *(['shape_index'] * (self.loss_kind == 'center')),
            )
        }
        if axis_name is not None:  # embeddings and labels cross devices, in rank order; images never do
            queries, gallery, batch = jax.lax.all_gather((queries, gallery, batch), axis_name, tiled=True)
        photos = {name: batch[name] for name in ('positive', 'query_category', 'query_valid')}
        terms = map_queries(
            lambda rows: self._query_terms(variables, rows, gallery, batch),
            photos | {'queries': queries},
            block=block_size(len(queries), *gallery.shape[:2]),
        )
        if self.loss_kind == 'center':
            own = pool_views(gallery, 'unit_mean')[batch['positive']]
            total, report = self.centers.losses(
                variables['params'], queries, own, batch['shape_index'][batch['positive']], batch['query_valid']
            )
        else:
            instance, category = (self._reduced(*terms[name]) for name in ('instance', 'category'))
            total = instance + self.category_weight * category
            report = {'instance_loss': instance, 'category_loss': category}
        report['batch_top1'] = contrastive.masked_mean(terms['hit'].astype(jnp.float32), batch['query_valid'])
        return total, ({'batch_stats': {'query': query_state, 'view': view_state}}, report)

    def embed(self, variables: Variables, inputs: Batch, modality: str) -> jax.Array:
        """Unit embeddings in evaluation mode, without colour transfer (paper 3.5).

        Args:
          variables: of `init` or training.
          inputs: for 'photo': image [Q, S, S, 3], mask [Q, S, S, 1]; for 'views': views [G, V, S, S, 1 or 3]; all
            uint8.
          modality: 'photo' or 'views'.

        Returns:
          [Q, D], or [G, V, D] for 'views'.
        """
        if modality == 'photo':
            photos = self._photo_input(inputs['image'].astype(jnp.float32) / 255, inputs['mask'])
            return self._apply(self.query_encoder, variables, 'query', photos, False)[0]
        if modality == 'views':
            return self._apply(self.view_encoder, variables, 'view', view_input(inputs['views']), False)[0]
        raise ValueError(f"CMIC embeds 'photo' and 'views', not {modality!r}")

    def score(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Similarity of queries [Q, D] and shapes [G, V, D], [Q, G]: the dot product with the merged view vector.

        The merged vector is not normalised again, as in the public code, so this is not a cosine.
        """
        if self.pooling == 'attention':
            return scores.attention_scores(queries, self._projected(variables, queries), gallery)
        if self.pooling == 'max':
            return scores.max_view_scores(queries, gallery)
        return scores.mean_view_scores(queries, gallery, normalize=self.pooling == 'unit_mean')

    def merge(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Every shape as each query sees it: the vectors [Q, G, D] whose dot products with the queries are `score`.

        For a few queries: a score needs no such array.
        """
        if self.pooling == 'attention':
            weights = scores.attention_weights(self._projected(variables, queries), gallery)
            return jnp.einsum('qgv,gvd->qgd', weights, gallery, precision=jax.lax.Precision.HIGHEST)
        pooled = pool_views(gallery, self.pooling)
        return jnp.broadcast_to(pooled[None], (len(queries), *pooled.shape))

    def _projected(self, variables: Variables, queries: jax.Array) -> jax.Array:
        """W q of the attention, [Q, D]."""
        return self.attention.apply({'params': variables['params']['attention']}, queries)

    def _query_terms(self, variables: Variables, rows: Batch, gallery: jax.Array, batch: Batch) -> dict[str, Any]:
        """What the loss needs of some photos, each by itself.

        Args:
          variables: of the score.
          rows: queries [Q, D] and the photos' labels, [Q].
          gallery: [G, V, D].
          batch: the shapes' labels.

        Returns:
          hit [Q] bool; unless loss_kind is 'center' instance and category, each (sums of losses, counts), [Q] float.
        """
        matrix = self.score(variables, rows['queries'], gallery)
        columns = jnp.where(batch['shape_valid'][None, :], matrix, -jnp.inf)
        hit = jnp.argmax(columns, axis=1) == rows['positive']
        if self.loss_kind == 'center':
            return {'hit': hit}
        instance, category = self._losses(matrix, {**batch, **rows})
        return {'hit': hit, 'instance': instance, 'category': category}

    def _losses(self, matrix: jax.Array, batch: Batch) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        """Instance and category loss of each photo from scores [Q, G]: (sums, counts) as in `_query_terms`."""
        queries, shapes = batch['query_valid'], batch['shape_valid']
        instance = contrastive.instance_positives(batch['positive'], matrix.shape[1])
        category = contrastive.category_positives(
            batch['query_category'],
            batch['shape_category'],
            batch['positive'],
            include_true=self.true_shape == 'included',
        )
        other = batch['query_category'][:, None] != batch['shape_category'][None, :]
        if self.loss_kind == 'triplet':
            # Paper 4.3: every hard and semi-hard shape, which is mining 'all' as the others have no loss; for the
            # category the farthest of it against the nearest of the others.
            pairs = queries[:, None] & shapes[None, :]
            triplet = partial(
                margin.triplet_per_anchor, scores.distances_from_scores(matrix), margin=self.triplet_margin
            )
            return (
                triplet(instance & pairs, negatives=~instance & pairs, mining=self.mining)[:2],
                triplet(category & pairs, negatives=other & pairs, mining='batch_hard')[:2],
            )
        kept = ~instance if self.true_shape == 'removed' else None
        logits = matrix
        if self.sampling_correction:
            logits = matrix - self.temperature * jnp.log(batch['shape_inclusion'])[None, :]
        instance_loss = contrastive.info_nce(logits, instance, temperature=self.temperature, valid=shapes)
        category_loss = contrastive.supervised_contrastive(
            matrix, category, temperature=self.temperature, valid=shapes, candidates=kept
        )
        # A batch of one category has no category loss, as in the public code: it would only level the scores.
        counted = queries & contrastive.has_positive(category, valid=shapes) & jnp.any(other & shapes[None, :], axis=1)
        return (
            (jnp.where(queries, instance_loss, 0.0), queries.astype(jnp.float32)),
            (jnp.where(counted, category_loss, 0.0), counted.astype(jnp.float32)),
        )

    def _reduced(self, sums: jax.Array, counts: jax.Array) -> jax.Array:
        """Mean over what counts (triplets: those with a loss above 0), or sum."""
        total = jnp.sum(sums)
        return total / jnp.maximum(jnp.sum(counts), 1.0) if self.reduction == 'mean' else total

    def _augment_color(self, images: jax.Array, rng: jax.Array, axis_name: str | None) -> jax.Array:
        """Colour transfer from other photos of the (global) batch, or HSV jitter; images [B, S, S, 3] in [0, 1]."""
        if self.color_mode == 'none':
            return images
        local, first, total = images.shape[0], 0, images.shape[0]
        if axis_name is not None:
            first = jax.lax.axis_index(axis_name) * local
            total = jax.lax.axis_size(axis_name) * local
        order_key, chance_key = jax.random.split(rng)
        mine = first + jnp.arange(local)
        if self.color_mode == 'hsv':
            hue, saturation, value = self.hsv_range
            shift = color.random_hsv_shift(
                order_key, total, hue=hue, saturation=saturation, value=value, probability=self.color_probability
            )
            return color.shift_hsv(images, jax.tree.map(lambda x: x[mine], shift))
        content = color.color_statistics(images, space=self.color_mode)
        every = content if axis_name is None else jax.lax.all_gather(content, axis_name, tiled=True)
        source = jax.random.permutation(order_key, total)[mine]
        style = jax.tree.map(lambda x: x[source], every)
        changed = color.transfer_color(images, content, style, space=self.color_mode, ratio=self.color_ratio)
        chosen = jax.random.uniform(chance_key, (total,))[mine] < self.color_probability
        return jnp.where(chosen[:, None, None, None], changed, images)

    def _photo_input(self, images: jax.Array, mask: jax.Array) -> jax.Array:
        """Photos in [-1, 1] with the mask in [0, 1]: as fourth channel, multiplied in, or left out (001, Table 2)."""
        photos, mask = images * 2 - 1, mask.astype(jnp.float32) / 255
        if self.mask in ('multiply', 'both'):
            photos = photos * mask
        return jnp.concatenate([photos, mask], axis=-1) if self.mask in ('channel', 'both') else photos

    def _chunks(self, photos: int, axis_name: str | None) -> int:
        """Into how many chunks this device's photos are split, and its shapes."""
        devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
        if self.chunk == 0 or self.chunk >= photos * devices:
            return 1
        if photos * devices % self.chunk or self.chunk % devices:
            raise ConfigError(
                f'config.model.chunk: {self.chunk} does not divide a batch of {photos * devices} on {devices} devices'
            )
        return photos * devices // self.chunk

    def _encode(
        self,
        encoder: nn.Module,
        variables: Variables,
        name: str,
        images: tuple[jax.Array, ...],
        prepare: Callable[..., jax.Array],
        train: bool,
        chunks: int,
    ) -> tuple[jax.Array, Any]:
        """Embeddings, and the batch statistics after this batch, chunk by chunk: see `model.chunk` in the docstring."""
        if chunks == 1:
            return self._apply(encoder, variables, name, prepare(*images), train)

        def encode(chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, Any]:
            embeddings, state = self._apply(encoder, variables, name, prepare(*chunk), train)
            return embeddings, jax.lax.stop_gradient(state)

        embeddings, states = map_chunks(encode, images, chunks=chunks)
        return embeddings, jax.tree.map(lambda x: x.mean(axis=0), states) if train else variables['batch_stats'][name]

    def _apply(
        self, encoder: nn.Module, variables: Variables, name: str, images: jax.Array, train: bool
    ) -> tuple[jax.Array, Any]:
        """Embeddings, and the batch statistics after this batch."""
        own = {'params': variables['params'][name], 'batch_stats': variables['batch_stats'][name]}
        if not train:
            return encoder.apply(own, images, train=False), own['batch_stats']
        embeddings, state = encoder.apply(own, images, train=True, mutable=['batch_stats'])
        return embeddings, state['batch_stats']


def pool_views(gallery: jax.Array, pooling: str) -> jax.Array:
    """Shapes [G, V, D] without a query, [G, D]: 'mean', 'unit_mean' or 'max' of their views."""
    if pooling == 'max':
        return max_views(gallery)
    return scores.l2_normalize(mean_views(gallery)) if pooling == 'unit_mean' else mean_views(gallery)


def view_input(views: jax.Array) -> jax.Array:
    """Views uint8 to [-1, 1]."""
    return views.astype(jnp.float32) / 127.5 - 1
