"""Photos and shapes of a run as embeddings, by way of the features of frozen networks where there are any."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from domain_adaptation.data import all_batches
from frozen_features import FrozenFeatures
from ml_collections import ConfigDict

from data_pipelines.batching import Batch, feature_batches
from data_pipelines.domain_adaptation.prepare import PhotoTable, ShapeTable
from data_pipelines.random_crops import Augmentation
from jaxret.preprocessing.inputs import spaced
from jaxret.systems.base import Variables
from jaxret.training.embedder import Embedder

Table = PhotoTable | ShapeTable


@dataclass
class Pictures:
    """The pictures of a run, for its network.

    Attributes:
      config: of the run.
      crops: of photos, of views.
      frozen: features that take the place of pictures; None where the whole network is trained.
    """

    config: ConfigDict
    crops: tuple[Augmentation, Augmentation]
    frozen: FrozenFeatures | None = None

    def embed(self, embedder: Embedder, variables: Variables, table: Table, name: str) -> np.ndarray:
        """Embeddings [N, D] of the photos of a split or the shapes of a part, `name` of it."""
        photos = isinstance(table, PhotoTable)
        if self.frozen:
            key = 'photo_features' if photos else 'views_features'
            batches = feature_batches(key, self.plain_features(table, name), self.config.evaluation.batch_size)
        else:
            batches = all_batches(self.config, table)
        return embedder.embed(variables, batches, 'photo' if photos else 'shape', valid='valid')

    def plain_features(self, table: Table, name: str) -> np.ndarray:
        """Features of pictures as they are: [N, ...] of photos, [N, K, ...] of the views that an evaluation shows."""
        features = self.features(table, name)[:, 0]
        if isinstance(table, PhotoTable):
            return features
        return features[:, list(spaced(self.config.evaluation.views, features.shape[1]))]

    def training_features(self, photos: PhotoTable, shapes: ShapeTable) -> dict[str, np.ndarray]:
        """What takes the place of pictures in training batches; {} where every step encodes them anew."""
        copies = self.config.frozen
        if not self.frozen or not copies.photo_copies:
            return {}
        return {
            'photo_features': self.features(photos, 'train', copies=copies.photo_copies),
            'views_features': self.features(shapes, 'train', copies=max(1, copies.view_copies)),
        }

    def features(self, table: Table, name: str, *, copies: int = 1) -> np.ndarray:
        """[N, copies, ...] of photos, [N, copies, V, ...] of all views of shapes."""
        photos = isinstance(table, PhotoTable)
        crop = self.crops[0 if photos else 1]
        encoded = table.images_encoded if photos else map(b''.join, table.views_encoded)

        def pictures(rows: np.ndarray, copy: int) -> Iterator[Batch]:
            return all_batches(self.config, table, chosen=False, rows=rows, copy=copy, augmentation=crop)

        modality = 'photo' if photos else 'shape'
        views = 0 if photos else table.views_encoded.shape[1]
        options = {'valid': 'valid', 'copies': copies, 'how': str(crop), 'views': views}
        return self.frozen.features(modality, name, list(encoded), pictures, **options)
