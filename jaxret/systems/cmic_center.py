"""Cross-modal center loss between photos and shapes, the method that 001, Table 1 compares CMIC with.

Every shape of the gallery is a class. A label head, one center a class and the mean squared difference draw a photo and
its shape together; no shape is seen through a query (Jing et al., CVPR 2021).

Letters: B photos, D embedding, C classes (shapes of the gallery).

Differs from the paper in: the shape side is the mean of the views' embeddings, scaled to length 1, where 001 takes the
meshes of Jing et al.; photos and shapes are unit vectors, not features behind a ReLU; centers start at length 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxret.encoders.heads import MLP
from jaxret.errors import ConfigError
from jaxret.losses.center import cross_modal_center_loss
from jaxret.losses.classification import cross_modal_cross_entropy
from jaxret.losses.siamese import pairwise_mse


@dataclass(frozen=True)
class ShapeCenters:
    """The losses and their parameters.

    Attributes:
      classes: C.
      dim: D.
      label_weight, center_weight, alignment_weight: of the three losses.
    """

    classes: int
    dim: int
    label_weight: float
    center_weight: float
    alignment_weight: float

    @classmethod
    def from_config(cls, config: ConfigDict, *, shapes: int) -> 'ShapeCenters | None':
        """From the groups `model` and `loss`; None where loss.kind is another, or without shapes, to embed only.

        Raises:
          ConfigError: views are pooled so that a shape has no place of its own.
        """
        model, loss = config.model, config.loss
        if loss.kind != 'center':
            return None
        if model.pooling != 'unit_mean':
            raise ConfigError(
                f"config.model.pooling: {model.pooling!r}, but loss.kind 'center' needs 'unit_mean': "
                f'a shape has one place, whatever the query'
            )
        weights = (loss.label_weight, loss.center_weight, loss.alignment_weight)
        return cls(shapes, model.embedding_dim, *weights) if shapes else None

    @property
    def classifier(self) -> MLP:
        """The label head, of both modalities."""
        return MLP(self.dim, self.classes)

    def init(self, rng: jax.Array) -> dict[str, Any]:
        """Parameters: 'centers' [C, D], 'classifier'."""
        keys = jax.random.split(rng)
        return {
            'centers': jax.random.normal(keys[0], (self.classes, self.dim)) / self.dim**0.5,
            'classifier': self.classifier.init(keys[1], jnp.zeros((1, self.dim)))['params'],
        }

    def losses(
        self, params: Mapping[str, Any], photos: jax.Array, shapes: jax.Array, labels: jax.Array, valid: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """label_weight * cross-entropy + center_weight * center loss + alignment_weight * mean squared difference.

        Args:
          params: with those of `init`.
          photos: [B, D].
          shapes: [B, D], the shape of each photo.
          labels: [B] int, its class.
          valid: [B] bool.

        Returns:
          Scalar, and the three losses: label_loss, center_loss, alignment_loss.
        """
        features = jnp.stack([photos, shapes])  # [2, B, D]
        logits = self.classifier.apply({'params': params['classifier']}, features)
        label = cross_modal_cross_entropy(logits, labels, valid=valid)
        center = cross_modal_center_loss(features, labels, params['centers'], valid=valid)
        alignment = pairwise_mse(features, valid=valid)
        total = self.label_weight * label + self.center_weight * center + self.alignment_weight * alignment
        return total, {'label_loss': label, 'center_loss': center, 'alignment_loss': alignment}
