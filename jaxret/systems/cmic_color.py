"""CMIC's colour augmentation of photos: colour transfer within the batch, or shifts of hue, saturation and value.

Letters: B photos, S image side.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.augmentation import color
from jaxret.errors import ConfigError
from jaxret.systems.base import Batch
from jaxret.systems.encoding import global_rows

CHOICES = {
    'color.mode': ('lab', 'ruderman', 'hsv', 'none'),
    'color.ratio': ('style_over_content', 'content_over_style'),
    'color.source': ('other', 'permutation'),
}


@dataclass(frozen=True)
class ColorAugmentation:
    """The config's group `color`.

    Attributes:
      mode: colour space of the transfer, 'hsv' for shifts, or 'none'.
      ratio: of the deviations by which colours are scaled.
      source: of the colours: 'other', another photo, every photo's once; 'permutation', at random, perhaps its own.
      probability: of a photo to be changed.
      hsv_range: largest shifts of hue, saturation and value.
    """

    mode: str
    ratio: str
    source: str
    probability: float
    hsv_range: tuple[float, float, float]

    @classmethod
    def from_config(cls, group: ConfigDict) -> 'ColorAugmentation':
        """From the group, whose choices are checked. Raises ConfigError for a range that is not three numbers."""
        if len(group.hsv_range) != 3:
            raise ConfigError(
                f'config.color.hsv_range: {group.hsv_range!r} is not three numbers (hue, saturation, value)'
            )
        return cls(group.mode, group.ratio, group.source, group.probability, tuple(group.hsv_range))

    def of_batch(self, batch: Batch, rng: jax.Array, axis_name: str | None) -> Batch:
        """The batch with other colours, where it holds photos 'image', uint8 [B, S, S, 3]."""
        if 'image' not in batch:
            return batch
        return {**batch, 'image': self(batch['image'].astype(jnp.float32) / 255, rng, axis_name)}

    def __call__(self, images: jax.Array, rng: jax.Array, axis_name: str | None) -> jax.Array:
        """Photos [B, S, S, 3] in [0, 1] with other colours: those of other photos of the (global) batch, or shifted.

        Source: Lin et al., ICCV 2021, Eq. 1 and section 4.3.
        """
        if self.mode == 'none':
            return images
        mine, total = global_rows(len(images), axis_name)
        order_key, chance_key = jax.random.split(rng)
        if self.mode == 'hsv':
            hue, saturation, value = self.hsv_range
            shift = color.random_hsv_shift(
                order_key, total, hue=hue, saturation=saturation, value=value, probability=self.probability
            )
            return color.shift_hsv(images, jax.tree.map(lambda x: x[mine], shift))
        content = color.color_statistics(images, space=self.mode)
        every = content if axis_name is None else jax.lax.all_gather(content, axis_name, tiled=True)
        source = color_sources(order_key, total, self.source)[mine]
        style = jax.tree.map(lambda x: x[source], every)
        changed = color.transfer_color(images, content, style, space=self.mode, ratio=self.ratio)
        chosen = jax.random.uniform(chance_key, (total,))[mine] < self.probability
        return jnp.where(chosen[:, None, None, None], changed, images)


def color_sources(key: jax.Array, total: int, source: str) -> jax.Array:
    """For each photo of a batch the one whose colours it takes, int32 [B]: a permutation.

    Args:
      key: random key.
      total: B.
      source: 'other': the next one on a random circle of all photos, so never the photo itself (but where it is the
        only one); 'permutation': any, as in CMIC's public code, where a photo a batch on average takes its own.
    """
    order = jax.random.permutation(key, total)
    if source == 'permutation':
        return order
    return jnp.zeros(total, order.dtype).at[order].set(jnp.roll(order, 1))
