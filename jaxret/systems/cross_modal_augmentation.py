"""How training changes points and meshes, object by object, inside the compiled step.

Letters: B objects, N points, F faces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
from ml_collections import ConfigDict

from jaxret.augmentation.points import augment_points, jitter_faces, stretch_and_turn_faces
from jaxret.systems.base import Batch
from jaxret.systems.encoding import global_rows

CHOICES = {'model.mesh_noise': ('relative', 'absolute'), 'shape_augmentation.meshes': ('jitter', 'stretch')}
RANGES = {'0 or above': ('shape_augmentation.turn',)}
LATER = {'model.mesh_noise': 'relative', 'shape_augmentation.meshes': 'jitter', 'shape_augmentation.turn': 180.0}


@dataclass(frozen=True)
class ShapeAugmentation:
    """Changes of points and faces.

    Attributes:
      turn: largest angle about the up axis, degrees.
      meshes: 'jitter', as the papers do; 'stretch': they are stretched and turned too, as points are.
      absolute_noise: jitter of corners before they become relative to their centre.
    """

    turn: float = 180.0
    meshes: str = 'jitter'
    absolute_noise: bool = False

    @classmethod
    def from_config(cls, config: ConfigDict) -> 'ShapeAugmentation':
        """By the config's keys, checked."""
        group = config.shape_augmentation
        return cls(group.turn, group.meshes, config.model.mesh_noise == 'absolute')

    def __call__(self, batch: Batch, point_key: jax.Array, mesh_key: jax.Array, axis_name: str | None) -> Batch:
        """The batch with other 'points' [B, N, 3] and 'faces' [B, F, 15]."""
        objects = global_rows(batch['label'].shape[0], axis_name)
        points = _each(partial(augment_points, degrees=self.turn), point_key, objects, batch['points'])
        return {**batch, 'points': points, 'faces': _each(self._faces, mesh_key, objects, batch['faces'])}

    def _faces(self, key: jax.Array, faces: jax.Array) -> jax.Array:
        jittered = jitter_faces(key, faces, absolute=self.absolute_noise)
        if self.meshes == 'jitter':
            return jittered
        return stretch_and_turn_faces(jax.random.fold_in(key, 1), jittered, degrees=self.turn)


def _each(
    change: Callable[[jax.Array, jax.Array], jax.Array],
    key: jax.Array,
    objects: tuple[jax.Array, int],
    values: jax.Array,
) -> jax.Array:
    """`change` of every object with a key of its own, the same however the batch is split over devices."""
    mine, total = objects
    return jax.vmap(lambda own, value: change(own, value[None])[0])(jax.random.split(key, total)[mine], values)
