"""Photos and views of a run as the built-in model of search sees them: what its references are compared by."""

import hashlib
import io

import numpy as np
from frozen_features import kept_rows
from ml_collections import ConfigDict
from overrides import cache_folder
from PIL import Image

from data_pipelines.photo_to_shape.prepare import GalleryTable, QueryTable
from jaxret.inference.model import Model
from jaxret.inference.pretrained_model import NAMES, load_pretrained
from jaxret.preprocessing.photos import photo_arrays
from jaxret.preprocessing.shapes import placed_views
from jaxret.pretrained.packaged import PACKAGED_NAMES
from jaxret.search.parts import Parts, photos_centre, views_centre
from jaxret.search.whitening import learn_whitening

_BATCH = 64  # photos


def built_in(config: ConfigDict) -> 'BuiltIn | None':
    """The built-in model with the network of a run's photos, where a package brings its weights and it starts so."""
    network = config.model.query_encoder
    if network not in PACKAGED_NAMES or config.pretrained.query != 'imagenet':
        return None
    return BuiltIn(load_pretrained(NAMES[PACKAGED_NAMES.index(network)]), config)


class BuiltIn:
    """Embeddings by the built-in model, kept on disk as frozen features are.

    Args:
      model: the built-in model.
      config: of the run, for its cache.

    Attributes:
      parts: of embeddings.
      fingerprint: of the model.
    """

    def __init__(self, model: Model, config: ConfigDict):
        self._model, self._folder = model, cache_folder(config) / 'features'
        self.parts: Parts = model.parts
        self.fingerprint = model.fingerprint

    def photos(self, table: QueryTable) -> np.ndarray:
        """Embeddings float32 [Q, D + C] of photos with their masks."""
        inputs = self._model.query_inputs('photo')

        def encoded(missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = []
            for start in range(0, len(missing), _BATCH):
                pairs = [
                    (decoded(table.images_encoded[n]), decoded(table.masks_encoded[n]))
                    for n in missing[start : start + _BATCH]
                ]
                arrays = [photo_arrays(image, inputs=inputs, mask=_object(mask)) for image, mask in pairs]
                found.append(self._model.embed_query_arrays(arrays, 'photo'))
            return missing, np.concatenate(found)

        sources = [image + mask for image, mask in zip(table.images_encoded, table.masks_encoded, strict=True)]
        return kept_rows(self._path('photo'), [hashlib.sha256(source).hexdigest() for source in sources], encoded)

    def views(self, gallery: GalleryTable) -> np.ndarray:
        """Embeddings [G, V, D] of the shapes' views."""
        inputs = self._model.shape_inputs

        def encoded(missing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            arrays = [{'views': placed_views(gallery.views[number], inputs)} for number in missing]
            return missing, self._model.embed_shape_arrays(arrays)

        return kept_rows(
            self._path(f'{gallery.views.shape[1]}-views'),
            [hashlib.sha256(views.tobytes()).hexdigest() for views in gallery.views],
            encoded,
        )

    def _path(self, kind: str):
        return self._folder / f'{self.fingerprint[:32]}-{kind}.npz'


def photo_vectors(
    parts: Parts, views: np.ndarray, photos: np.ndarray, references: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Photos [Q, D + C] and references [R, D + C] as unit vectors that are compared, by what references teach.

    Args:
      parts: of the embeddings.
      views: [G, V, D] of the gallery.
      photos, references: embeddings.
      owner: int [R], the shape of each reference.
    """
    centre = photos_centre(views_centre(views), references)
    vectors = parts.photo_vectors(photos, centre), parts.photo_vectors(references, centre)
    try:
        whitening = learn_whitening(vectors[1], owner)
    except ValueError:  # no shape has two photos that differ
        return vectors
    return whitening(vectors[0]), whitening(vectors[1])


def decoded(content: bytes) -> np.ndarray:
    """The pixels of a stored picture."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def _object(mask: np.ndarray) -> np.ndarray:
    """A stored mask [S, S], whose border is grey, as object and ground; without an object all of it."""
    inside = mask > 127
    return inside if inside.any() else np.ones_like(inside)
