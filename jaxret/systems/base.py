"""What training, evaluation and search expect of a system.

Letters: B a batch, Q queries, G shapes, V views, D embedding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs

Batch = Mapping[str, jax.Array]
Variables = Mapping[str, Any]
LossAndState = tuple[jax.Array, tuple[dict[str, Any], dict[str, jax.Array]]]  # loss, (collections, report)


class Run(Protocol):
    """What a system reads of a finished run: its folder, its config, the names of its classes."""

    workdir: Path
    config: ConfigDict

    @property
    def categories(self) -> Sequence[str]:
        """Raises CheckpointError where they are not stored."""
        ...


class Backbone(NamedTuple):
    """An image network that published weights fit: the config key that names it, and the modules that lead to it."""

    key: str
    scope: tuple[str, ...]


@dataclass(frozen=True)
class QueryKind:
    """How one kind of query is embedded: what is made of a file, and the modality passed on to `embed`."""

    inputs: PhotoInputs | ShapeInputs
    modality: str


def shape_queries(shapes: ShapeInputs, modality: str, *, one_by_one: bool) -> dict[str, QueryKind]:
    """Meshes, clouds and scans as queries that are embedded as the shapes that are searched, in any heading.

    Args:
      shapes: what is made of a model file.
      modality: of the shapes that are searched.
      one_by_one: a shape is one embedding a view; else one in all.
    """
    kind = QueryKind(shapes.all_around(one_by_one=one_by_one), modality)
    return {'mesh': kind, 'points': kind, 'scan': kind}


@dataclass(frozen=True)
class TrainedSystem:
    """A system as a tool.

    Attributes:
      name: of the system, as indexes store it.
      embed: (variables, arrays [B, ...] by name, modality) -> [B, D] or [B, V, D]. Of queries with headings
        (`ShapeInputs.headings`) each is one of B.
      shape_inputs: what is made of a model file.
      gallery: modality of the shapes that are searched.
      queries: by kind, some of 'photo', 'mesh', 'points', 'scan'; in the order in which they are offered. Shapes are
        embedded as those that are searched (`shape_queries`), where nothing was trained to do it otherwise.
      similarity: how embeddings are compared, one of `jaxret.search.similarity.KINDS`.
      projection: of variables the map W [D, D] that 'attention' applies to queries; None for other similarities.
      notes: what a user should know.
      stored: type in which embeddings of shapes are kept.
      texts: from texts to embeddings [Q, D] of queries; None where the system has no words.
    """

    name: str
    embed: Callable[[Variables, Batch, str], jax.Array]
    shape_inputs: ShapeInputs
    gallery: str
    queries: Mapping[str, QueryKind]
    similarity: str
    projection: Callable[[Variables], jax.Array] | None = None
    notes: tuple[str, ...] = ()
    stored: np.dtype = np.dtype(np.float32)
    texts: Callable[[Sequence[str]], np.ndarray] | None = None


class System(Protocol):
    """Modules and losses of one paper, as pure functions over variables.

    Variables are Flax's: {'params': ..., 'batch_stats': ..., ...}; every collection but 'params' and 'frozen' (weights
    that stay as they are) is state that the loss returns anew. A module of `jaxret.systems` that holds such a class is
    all that makes a system known.

    Attributes:
      TASK: `config.experiment` of its runs.
      GALLERIES: what of a shape can be embedded to be searched, the default first (`ShapeInputs.representation`).
      LATER: keys of its configs that runs of earlier versions did not store, with the value that does what those runs
        did. A key that is added to its config files is added here too.
      BACKBONES: its image networks by their key in `config.pretrained`.
      similarity: how `score` compares embeddings, one of `jaxret.search.similarity.KINDS`.
    """

    TASK: ClassVar[str]
    GALLERIES: ClassVar[tuple[str, ...]]
    LATER: ClassVar[Mapping[str, Any]]
    BACKBONES: ClassVar[Mapping[str, Backbone]]

    @property
    def similarity(self) -> str: ...

    @classmethod
    def trained(cls, run: Run, gallery: str) -> TrainedSystem:
        """The system of a finished run as a tool.

        Args:
          run: of this task.
          gallery: one of `GALLERIES`.

        Raises:
          CheckpointError: a run that trained nothing, or without its classes.
        """
        ...

    def init(self, rng: jax.Array, batch: Batch) -> Variables:
        """Variables for batches like this one."""
        ...

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
        """Scalar loss, (collections after the step, report of float32 scalars).

        With `axis_name` the batch is one device's share; loss and report are then those of the whole batch.
        """
        ...

    def embed(self, variables: Variables, inputs: Batch, modality: str) -> jax.Array:
        """Embeddings of one modality's inputs, in evaluation mode."""
        ...

    def features(
        self, variables: Variables, inputs: Batch, modality: str, *, rng: jax.Array | None = None
    ) -> jax.Array:
        """What the trained part of a network takes of one modality's inputs; see `systems.image_towers`.

        Only of systems that can keep a part frozen. With `rng` inputs are changed as in training.
        """
        ...

    def score(self, variables: Variables, queries: jax.Array, gallery: jax.Array) -> jax.Array:
        """Similarity [Q, G] of query embeddings and gallery embeddings; higher is closer."""
        ...
