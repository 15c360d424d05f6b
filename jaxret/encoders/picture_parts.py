"""One embedding of a picture from several parts, each of unit length, of a network that was not trained for the task.

  instance  the map in the middle of the network, averaged to few cells and flattened: what is where, which tells
            instances of a category apart where pictures are aligned
  class     the network's features, which tell categories apart
  outline, shading  of the object's silhouette (`outlines`); 0 where it is not known

Letters: N pictures, S side in pixels, h, w height and width of the map, C channels, F features, P cells a side.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxret.encoders.image_backbones import Triple
from jaxret.encoders.outlines import OutlineOptions, describe_outlines
from jaxret.encoders.vit import VisionTransformer
from jaxret.errors import ConfigError

PARTS = ('instance', 'class', 'outline', 'shading')
_TINY = 1e-6  # features shorter than it are none


@dataclass(frozen=True)
class PictureParts:
    """A network and what is taken of it.

    Attributes:
      network: whole, with the attributes of `jaxret.encoders.segments`.
      normalization: mean and spread of red, green and blue in [0, 1] of its images.
      segment: whose output is the instance map.
      cells: P, or 0 for the map as it is.
      outlines: of the parts that need a silhouette.
    """

    network: nn.Module
    normalization: tuple[Triple, Triple]
    segment: int
    cells: int
    outlines: OutlineOptions

    def __post_init__(self):
        if not 0 <= self.segment < self.network.depth - 1:
            raise ConfigError(
                f'segment {self.segment} of a network with segments 0 to {self.network.depth - 1}: its middle map is '
                f'that of one before the last'
            )

    def features(self, variables: Mapping[str, Any], images: jax.Array, masks: jax.Array) -> dict[str, jax.Array]:
        """The parts of pictures, before they are centred and scaled to unit length.

        Args:
          variables: of the network.
          images: uint8 [N, S, S, 3].
          masks: float [N, S, S], 1 on the object; 0 everywhere where it is not known.

        Returns:
          float32 [N, D_part] by the names of `PARTS`.
        """
        colors = images.astype(jnp.float32) / 255
        mean, spread = (jnp.array(values, jnp.float32)[None, None, None] for values in self.normalization)
        until = self.segment + 1
        middle = self.network.clone(last=until).apply(variables, (colors - mean) / spread)
        classes = self.network.clone(first=until).apply(variables, middle)
        outline, shading = describe_outlines(colors, masks, self.outlines)
        instance = self._pooled(self._map(middle, images.shape[1:3])).reshape(images.shape[0], -1)
        return dict(zip(PARTS, (instance, classes, outline, shading), strict=True))

    def embed(
        self, variables: Mapping[str, Any], images: jax.Array, masks: jax.Array, centres: Mapping[str, jax.Array]
    ) -> jax.Array:
        """The parts, each less its centre and of unit length, one after the other: float32 [N, D].

        Args:
          variables, images, masks: as for `features`.
          centres: [D_part] of some parts.
        """
        parts = []
        for name, values in self.features(variables, images, masks).items():
            values = values.astype(jnp.float32)
            if name in centres:
                missing = jnp.all(values == 0, axis=1, keepdims=True)
                values = jnp.where(missing, 0.0, values - centres[name][None])
            length = jnp.linalg.norm(values, axis=1, keepdims=True)
            parts.append(values / jnp.maximum(length, _TINY))
        return jnp.concatenate(parts, axis=1)

    def slices(self, variables: Mapping[str, Any], size: int) -> dict[str, slice]:
        """Where each part is in the embeddings of pictures with this side in pixels."""
        image, mask = jax.ShapeDtypeStruct((1, size, size, 3), np.uint8), jax.ShapeDtypeStruct((1, size, size), float)
        found = jax.eval_shape(self.features, variables, image, mask)
        stops = np.cumsum([found[name].shape[1] for name in PARTS]).tolist()
        return {name: slice(start, stop) for name, start, stop in zip(PARTS, [0, *stops], stops, strict=False)}

    def _map(self, middle: jax.Array, size: tuple[int, int]) -> jax.Array:
        """[N, h, w, C] of what a segment gives: a map, or tokens, of which those of the patches come last."""
        if not isinstance(self.network, VisionTransformer):
            return middle
        h, w = (side // self.network.patch for side in size)
        return middle[:, -h * w :].reshape(middle.shape[0], h, w, -1)

    def _pooled(self, maps: jax.Array) -> jax.Array:
        """Means over cells of equal size, whose borders may cut the map's: [N, h, w, C] to [N, P, P, C]."""
        h, w = maps.shape[1:3]
        if not self.cells or (h, w) == (self.cells, self.cells):
            return maps
        rows, columns = (jnp.asarray(_overlaps(side, self.cells)) for side in (h, w))
        return jnp.einsum('pi,nijc,qj->npqc', rows, maps, columns, precision=jax.lax.Precision.HIGHEST)


def _overlaps(side: int, cells: int) -> np.ndarray:
    """Weights [cells, side] with which equal intervals take the mean of `side` values: by how much they overlap."""
    borders = np.linspace(0, side, cells + 1)
    starts = np.maximum(borders[:-1, None], np.arange(side)[None])
    stops = np.minimum(borders[1:, None], np.arange(side)[None] + 1)
    return (np.maximum(stops - starts, 0) * cells / side).astype(np.float32)
