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
  - guesses: crop and fit of the 224 pixels (`data.crop`, `data.fit`); margin, distance and mining of triplets
    (`loss.margin` on 1 - score, `loss.mining`); camera and light (`render`); whose test masks (`data.mask_dir`).
The `paper` preset has the text's ResNet-34 for views, batch 60, 500 epochs (code: ResNet-18, 30, 400) and the code's
ImageNet weights (`pretrained`), not its checkpoint that is best on the test photos (`select` 'test_top1').

`loss.kind` 'center' trains the same encoders with another method, see `cmic_center`.

Beyond the paper, off in the `paper` preset: `loss.sampling_correction` subtracts from each shape's logit the logarithm
of its chance to be in a batch. Shapes that many photos show are in nearly every batch as negatives, so that without
it scores learn to discount them; with it they learn log p(shape | photo) as the photos are distributed (Bengio and
Senecal, IEEE TNN 2008; Yi et al., RecSys 2019).

Large batches: `model.chunk` photos, and as many shapes with all their views, are encoded at once (`encoding`); the
losses are over all of the batch, and go through blocks of photos, which changes no number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.encoders.heads import ImageEncoder
from jaxret.encoders.view_pooling import ViewAttention, ViewEncoder, pool_views
from jaxret.losses import contrastive, scores
from jaxret.losses.gradient_caching import block_size, map_queries
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs, view_ring
from jaxret.systems import cmic_color, cmic_encoders, cmic_losses, image_towers
from jaxret.systems.base import Backbone, Batch, LossAndState, QueryKind, Run, TrainedSystem, Variables, shape_queries
from jaxret.systems.checks import check_values
from jaxret.systems.cmic_center import ShapeCenters
from jaxret.systems.cmic_color import ColorAugmentation
from jaxret.systems.cmic_encoders import BACKBONES, PHOTOS, VIEWS, encoder_source, make_encoder, pixels
from jaxret.systems.cmic_losses import MatchingLoss
from jaxret.systems.encoding import apply_in_chunks, apply_network, chunk_count
from jaxret.systems.image_towers import ImageTower, frozen_collection

CHOICES = {
    'model.pooling': ('attention', 'mean', 'max', 'unit_mean'),
    **cmic_encoders.CHOICES,
    **cmic_losses.CHOICES,
    **cmic_color.CHOICES,
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
    matching: MatchingLoss
    color: ColorAugmentation
    centers: ShapeCenters | None = None  # of loss.kind 'center'
    chunk: int = 0  # photos, and shapes, encoded at once in training; 0 is all
    towers: Mapping[str, ImageTower] = field(default_factory=lambda: {'photo': PHOTOS, 'views': VIEWS})

    TASK: ClassVar[str] = 'photo_to_shape'
    LATER: ClassVar[Mapping[str, Any]] = {
        'color.source': 'permutation',
        'data.mask_dir': '',
        'data.split_file': '',
        'evaluation.photos': 'test',
        'evaluation.references': 0.0,
        'evaluation.reference_temperature': 0.05,
        **image_towers.LATER,
    }
    GALLERIES: ClassVar[tuple[str, ...]] = ('views',)
    BACKBONES: ClassVar[Mapping[str, Backbone]] = BACKBONES

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
        check_values(config, choices=CHOICES)
        model = config.model
        photo, query_encoder = make_encoder(config, PHOTOS, 'query_encoder', axis_name=axis_name)
        views, view_encoder = make_encoder(config, VIEWS, 'view_encoder', axis_name=axis_name)
        return cls(
            query_encoder=query_encoder,
            view_encoder=ViewEncoder(view_encoder),
            attention=ViewAttention(),
            embedding_dim=model.embedding_dim,
            pooling=model.pooling,
            mask=model.mask,
            matching=MatchingLoss.from_config(config.loss),
            color=ColorAugmentation.from_config(config.color),
            centers=ShapeCenters.from_config(config, shapes=shapes),
            chunk=chunk,
            towers={'photo': photo, 'views': views},
        )

    @classmethod
    def trained(cls, run: Run, gallery: str) -> TrainedSystem:
        """See `System.trained`: photos and shapes find shapes by their views."""
        config, size = run.config, run.config.data.image_size
        # Centers and label head of loss.kind 'center' embed nothing; their number does not matter here.
        system = cls.from_config(config, shapes=1)
        ring = view_ring(config.render, size=size)
        photo = PhotoInputs('masked', size=size, crop=config.data.crop, margin=config.data.margin, fit=config.data.fit)
        views = tuple(range(ring.views))
        shapes = ShapeInputs(gallery, ring=ring, view_ids=views, side=size, up_axis=config.data.up_axis)
        pooled = system.pooling == 'unit_mean'
        return TrainedSystem(
            'cmic',
            system.embed_shape_vectors if pooled else system.embed,
            shapes,
            'views',
            {'photo': QueryKind(photo, 'photo'), **shape_queries(shapes, 'views', one_by_one=not pooled)},
            system.similarity,
            system.projection if system.pooling == 'attention' else None,
        )

    @property
    def similarity(self) -> str:
        """The pooling; 'dot' where a shape is one unit vector, whatever the query."""
        return 'dot' if self.pooling == 'unit_mean' else self.pooling

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables {'params', 'batch_stats'}, each {'query', 'view'}; params also hold 'attention' where that pools,
        'centers' and 'classifier' where loss.kind is 'center'."""
        keys, frozen_keys = jax.random.split(rng, 3), jax.random.split(jax.random.fold_in(rng, 1))
        pictures = (batch['image'][:1], batch['mask'][:1]), (batch['views'][:1, :1],)
        photos, views = (
            tower.init(key, pixels(tower, self.mask, *own))
            for tower, key, own in zip(self.towers.values(), frozen_keys, pictures, strict=True)
        )
        query, view = self.query_encoder.init(keys[0], photos[1]), self.view_encoder.init(keys[1], views[1])
        params = {'query': query['params'], 'view': view['params']}
        if self.pooling == 'attention':
            params['attention'] = self.attention.init(keys[2], jnp.zeros((1, self.embedding_dim)))['params']
        if self.matching.kind == 'center':
            if self.centers is None:
                raise ValueError("loss.kind 'center' has a center a shape: from_config(..., shapes=)")
            params |= self.centers.init(keys[2])
        statistics = {'query': query['batch_stats'], 'view': view['batch_stats']}
        return {'params': params, 'batch_stats': statistics, **frozen_collection(photos[0], views[0])}

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
        """Instance loss + category_weight * category loss (Eq. 4 - 6) of a batch; see `System.loss`.

        Report: instance_loss, category_loss (loss.kind 'center': label_loss, center_loss, alignment_loss), batch_top1
        (share of photos whose own shape scores best in the batch).
        """
        del step
        if train:
            batch = self.color.of_batch(batch, rng, axis_name)
        how = {'train': train, 'chunks': chunk_count(self.chunk, len(batch['positive']), axis_name)}
        photos, of_photos = encoder_source(self.towers['photo'], self.mask, variables, batch)
        views, of_views = encoder_source(self.towers['views'], self.mask, variables, batch)
        queries, query_state = apply_in_chunks(self.query_encoder, variables, 'query', photos, prepare=of_photos, **how)
        gallery, view_state = apply_in_chunks(self.view_encoder, variables, 'view', views, prepare=of_views, **how)
        labels = ('positive', 'query_category', 'shape_category', 'query_valid', 'shape_valid')
        labels += ('shape_inclusion',) * self.matching.sampling_correction
        labels += ('shape_index',) * (self.matching.kind == 'center')
        batch = {name: batch[name] for name in labels}
        if axis_name is not None:  # embeddings and labels cross devices, in rank order; images never do
            queries, gallery, batch = jax.lax.all_gather((queries, gallery, batch), axis_name, tiled=True)
        photos = {name: batch[name] for name in ('positive', 'query_category', 'query_valid')}
        terms = map_queries(
            lambda rows: self._query_terms(variables, rows, gallery, batch),
            photos | {'queries': queries},
            block=block_size(len(queries), *gallery.shape[:2]),
        )
        if self.matching.kind == 'center':
            own = pool_views(gallery, 'unit_mean')[batch['positive']]
            total, report = self.centers.losses(
                variables['params'], queries, own, batch['shape_index'][batch['positive']], batch['query_valid']
            )
        else:
            total, report = self.matching.total(terms['instance'], terms['category'])
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
        inputs = self.features(variables, inputs, modality)
        if modality == 'photo':
            return apply_network(self.query_encoder, variables, 'query', inputs, train=False)[0]
        return apply_network(self.view_encoder, variables, 'view', inputs, train=False)[0]

    def features(
        self, variables: Variables, inputs: Batch, modality: str, *, rng: jax.Array | None = None
    ) -> jax.Array:
        """What the trained part of an encoder takes, which batches may hold in place of images (`ImageTower`).

        Args:
          variables, inputs, modality: as for `embed`.
          rng: for the colour augmentation of photos as in training; None without.
        """
        if modality not in self.towers:
            raise ValueError(f"CMIC embeds 'photo' and 'views', not {modality!r}")
        if rng is not None and modality == 'photo':
            inputs = self.color.of_batch(inputs, rng, None)
        arrays, prepare = encoder_source(self.towers[modality], self.mask, variables, inputs)
        return prepare(*arrays)

    def embed_shape_vectors(self, variables: Variables, inputs: Batch, modality: str) -> jax.Array:
        """As `embed`, shapes as the scaled means [G, D] of their views, which is what pooling 'unit_mean' compares."""
        embeddings = self.embed(variables, inputs, modality)
        return pool_views(embeddings, 'unit_mean') if modality == 'views' else embeddings

    def projection(self, variables: Variables) -> jax.Array:
        """W [D, D] of the attention."""
        return variables['params']['attention']['projection']['kernel']

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
        """Every shape as each of a few queries sees it: vectors [Q, G, D] whose dot products with them are `score`."""
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
          hit [Q] bool; unless loss.kind is 'center' instance and category, each (sums of losses, counts), [Q] float.
        """
        matrix = self.score(variables, rows['queries'], gallery)
        columns = jnp.where(batch['shape_valid'][None, :], matrix, -jnp.inf)
        hit = jnp.argmax(columns, axis=1) == rows['positive']
        if self.matching.kind == 'center':
            return {'hit': hit}
        return {'hit': hit, **self.matching.of_photos(matrix, {**batch, **rows})}
