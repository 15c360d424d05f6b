"""One embedding of a picture from several parts, each of unit length, of a network that was not trained for the task.

  middle, late  two maps of the network, averaged to few cells and flattened: what is where, which tells instances of a
                category apart where pictures are aligned
  class         the network's features, which tell categories apart

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
from jaxret.encoders.vit import VisionTransformer
from jaxret.errors import ConfigError

PARTS = ('middle', 'late', 'class')
_TINY = 1e-6  # features shorter than it are none


@dataclass(frozen=True)
class PictureParts:
    """A network and what is taken of it.

    Attributes:
      network: whole, with the attributes of `jaxret.encoders.segments`.
      normalization: mean and spread of red, green and blue in [0, 1] of its images.
      segments: whose outputs are the two maps, the earlier one first.
      cells: P, or 0 for the maps as they are.
    """

    network: nn.Module
    normalization: tuple[Triple, Triple]
    segments: tuple[int, int]
    cells: int

    def __post_init__(self):
        if not 0 <= self.segments[0] < self.segments[1] < self.network.depth - 1:
            raise ConfigError(
                f'segments {self.segments} of a network with segments 0 to {self.network.depth - 1}: the maps are '
                f'those of two before the last, in order'
            )

    def features(self, variables: Mapping[str, Any], images: jax.Array) -> dict[str, jax.Array]:
        """The parts of pictures, before they are scaled to unit length.

        Args:
          variables: of the network.
          images: uint8 [N, S, S, 3].

        Returns:
          float [N, D_part] by the names of `PARTS`.
        """
        mean, spread = (jnp.array(values, jnp.float32)[None, None, None] for values in self.normalization)
        x = (images.astype(jnp.float32) / 255 - mean) / spread
        found, first = {}, 0
        for name, segment in zip(PARTS, self.segments, strict=False):
            x = self.network.clone(first=first, last=segment + 1).apply(variables, x)
            found[name] = self._pooled(self._map(x, images.shape[1:3])).reshape(images.shape[0], -1)
            first = segment + 1
        return found | {PARTS[-1]: self.network.clone(first=first).apply(variables, x)}

    def embed(self, variables: Mapping[str, Any], images: jax.Array) -> jax.Array:
        """The parts, each of unit length, one after the other: float32 [N, D]. Arguments as for `features`."""
        parts = []
        for values in self.features(variables, images).values():
            values = values.astype(jnp.float32)
            parts.append(values / jnp.maximum(jnp.linalg.norm(values, axis=1, keepdims=True), _TINY))
        return jnp.concatenate(parts, axis=1)

    def slices(self, variables: Mapping[str, Any], size: int) -> dict[str, slice]:
        """Where each part is in the embeddings of pictures with this side in pixels."""
        found = jax.eval_shape(self.features, variables, jax.ShapeDtypeStruct((1, size, size, 3), np.uint8))
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
