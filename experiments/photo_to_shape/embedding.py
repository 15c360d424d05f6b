"""Photos and shapes of a run as embeddings, by way of the features of frozen networks where there are any."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from frozen_features import FrozenFeatures, items_at_once
from ml_collections import ConfigDict
from photo_to_shape.built_in import BuiltIn, built_in

from data_pipelines.batching import Batch, feature_batches
from data_pipelines.photo_to_shape.batches import gallery_batches, query_batches
from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from data_pipelines.random_crops import Augmentation
from jaxret.runs.config import flatten
from jaxret.systems.base import Variables
from jaxret.training.embedder import Embedder


@dataclass
class Pictures:
    """The pictures of a run, for its networks.

    Attributes:
      config: of the run.
      crops: of photos, of views.
      frozen: features that take the place of pictures; None where no network is frozen.
    """

    config: ConfigDict
    crops: tuple[Augmentation, Augmentation]
    frozen: FrozenFeatures | None = None

    @cached_property
    def built_in(self) -> BuiltIn | None:
        """The built-in model of search, where it has the network of the photos."""
        return built_in(self.config)

    def photos(self, embedder: Embedder, variables: Variables, queries: QueryTable, split: str) -> np.ndarray:
        """Embeddings [Q, D] of the photos of a split."""
        size = self.config.evaluation.batch_size
        if self.frozen:
            batches = feature_batches('photo_features', self.photo_features(queries, split)[:, 0], size)
        else:
            batches = query_batches(queries, size=self.config.data.image_size, batch_size=size)
        return embedder.embed(variables, batches, 'photo', valid='valid')

    def shapes(
        self, embedder: Embedder, variables: Variables, gallery: GalleryTable, name: str = 'gallery'
    ) -> np.ndarray:
        """Embeddings [G, V, D] of the views of a gallery; each shape is encoded once."""
        size = self.config.evaluation.batch_size
        if self.frozen:
            batches = feature_batches('views_features', self.view_features(gallery, name)[:, 0], size)
        else:
            batches = gallery_batches(gallery, batch_size=size)
        return embedder.embed(variables, batches, 'views', valid='valid')

    def training_features(self, queries: Mapping[str, QueryTable], gallery: GalleryTable) -> dict[str, np.ndarray]:
        """What takes the place of pictures in training batches; {} where every step encodes them anew.

        Copies are made of the held-out photos, too: the same for every choice of these.
        """
        copies = self.config.frozen
        if not self.frozen or not copies.photo_copies:
            return {}
        known, rows = joined(queries['train'], queries['val'])
        return {
            'photo_features': self.photo_features(known, 'train, val', copies=copies.photo_copies)[rows],
            'views_features': self.view_features(gallery, 'gallery', copies=max(1, copies.view_copies)),
        }

    def photo_features(self, queries: QueryTable, split: str, *, copies: int = 1) -> np.ndarray:
        """[Q, copies, ...]."""

        def pictures(rows: np.ndarray, copy: int) -> Iterator[Batch]:
            options = {'rows': rows, 'copy': copy, 'augmentation': self.crops[0]}
            size = items_at_once(self.config, copy)
            return query_batches(queries, size=self.config.data.image_size, batch_size=size, **options)

        sources = [image + mask for image, mask in zip(queries.images_encoded, queries.masks_encoded, strict=True)]
        how = f'{self.crops[0]} {flatten(self.config.color)}'
        return self.frozen.features('photo', split, sources, pictures, valid='valid', copies=copies, how=how)

    def view_features(self, gallery: GalleryTable, name: str, *, copies: int = 1) -> np.ndarray:
        """[G, copies, V, ...]."""

        def pictures(rows: np.ndarray, copy: int) -> Iterator[Batch]:
            options = {'rows': rows, 'copy': copy, 'augmentation': self.crops[1]}
            size = max(1, items_at_once(self.config, copy) // 4)  # of shapes, with all their views
            return gallery_batches(gallery, batch_size=size, **options)

        sources, how = [views.tobytes() for views in gallery.views], str(self.crops[1])
        options = {'copies': copies, 'how': how, 'views': gallery.views.shape[1]}
        return self.frozen.features('views', name, sources, pictures, valid='valid', **options)


def joined(table: QueryTable, other: QueryTable) -> tuple[QueryTable, np.ndarray]:
    """Photos of two tables in the order of their names, and the rows of the first table's."""
    names = [*table.names, *other.names]
    order = np.argsort(names, kind='stable')
    both = {
        field.name: [*getattr(table, field.name), *getattr(other, field.name)] for field in dataclasses.fields(table)
    }
    sorted_ = {
        name: np.array(values)[order] if name in ('category', 'shape') else [values[row] for row in order]
        for name, values in both.items()
    }
    return QueryTable(**sorted_), np.argsort(order)[: len(table.names)]
