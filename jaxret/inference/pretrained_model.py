"""The built-in model: published weights as they are, which need no training run and no photos of the models.

    model = jaxret.load_pretrained()
    queries = model.embed_photos(['chair.jpg'])

Views and photos are embedded alike, as the parts of `encoders.picture_parts`; how a query weighs them, by what is
searched for, is `search.parts`. A shape's score is the mean of its two best views' products with a photo; where the
object's silhouette is known, the shape's silhouettes count as well. Meshes, clouds and scans are rendered as the shapes
are, and compared view by view in their best heading.

Letters: B batch, V views, S side in pixels, R cells a side of a silhouette, D embedding.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxret.encoders.image_backbones import Triple, image_network, normalization
from jaxret.encoders.picture_parts import PARTS, PictureParts
from jaxret.errors import CheckpointError, ConfigError
from jaxret.geometry.view_ring import Ring, ViewRing
from jaxret.inference.loading import load, made_model
from jaxret.inference.model import Model
from jaxret.inference.text import TextEncoder, check_one_space, load_text_encoder
from jaxret.platforms import check_platforms
from jaxret.preprocessing.inputs import OUTLINE_CELLS, PhotoInputs, ShapeInputs
from jaxret.pretrained.networks import network_weights
from jaxret.pretrained.packaged import MODEL_NAMES, check_model, packaged_weights
from jaxret.pretrained.text_files import names_text
from jaxret.pretrained.vit_files import read_vision_transformer
from jaxret.pretrained.weight_files import read_weights
from jaxret.search.parts import Parts
from jaxret.search.references import Fusion
from jaxret.systems.base import QueryKind, TrainedSystem, Variables, shape_queries

PRETRAINED = 'pretrained'  # `Model.system`
DEFAULT = 'efficientnet-lite0'
NAMES = MODEL_NAMES
_BATCH = 4  # shapes; their maps take memory
_KNOWN_DEPTH = 18  # segments of EfficientNet-Lite0, of which the defaults name two
_FUSION = Fusion(weight=2 / 3, temperature=0.06, view_temperature=0.025, background=0.2, standardized_from=None)
_WEIGHTS = {
    'mixed': {'middle': 1.0, 'late': 1.0, 'class': 0.5},
    'instance': {'middle': 1.0, 'late': 1.0, 'class': 0.0},
    'class': {'middle': 0.0, 'late': 0.5, 'class': 1.0},
}
_REFERENCES = {'middle': 0.0, 'late': 1.0, 'class': 1.0}


@dataclass(frozen=True)
class Settings:
    """How pictures are embedded, and how queries weigh their parts.

    Attributes:
      size: S.
      segments: whose outputs are the two maps; None takes those two thirds and five sixths through the network.
      cells: a side of the maps.
      rings: cameras, as (elevation, number, azimuth of the first).
      outline_rings: cameras of the silhouettes, likewise.
      outline_size: pixels a side, of which silhouettes are made.
      margin: free around what a view or photo shows, as a share of its longer side.
      weights: of the parts by purpose, where photos are compared with views.
      references: of the parts, where photos are compared with photos.
      outline: weight of silhouettes beside the parts.
    """

    size: int = 224
    segments: tuple[int, int] | None = (11, 15)
    cells: int = 7
    rings: tuple[Ring, ...] = ((5.0, 6, 0.0), (20.0, 6, 30.0))
    outline_rings: tuple[Ring, ...] = tuple((12.0 * ring, 24, 7.5 * (ring % 2)) for ring in range(5))
    outline_size: int = 96
    margin: float = 0.04
    weights: Mapping[str, Mapping[str, float]] = field(default_factory=lambda: dict(_WEIGHTS))
    references: Mapping[str, float] = field(default_factory=lambda: dict(_REFERENCES))
    outline: float = 2.0

    @property
    def shape_inputs(self) -> ShapeInputs:
        """What is made of a model file."""
        ring = ViewRing.of(self.rings, size=self.size)
        outlines = ViewRing.of(self.outline_rings, size=self.outline_size)
        views = tuple(range(ring.count))
        return ShapeInputs('views', ring=ring, view_ids=views, side=self.size, margin=self.margin, outlines=outlines)

    @property
    def photo_inputs(self) -> PhotoInputs:
        """What is made of a photo."""
        return PhotoInputs('cutout', self.size, margin=self.margin, frame_margin=self.margin)


def load_pretrained(name_or_folder: str | Path = DEFAULT, *, settings: Settings | None = None) -> Model:
    """The built-in model.

    Args:
      name_or_folder: one of `NAMES`, whose ImageNet weights a package brings; or a folder with a vision transformer
        (DINOv2, CLIP, SigLIP, a plain ViT; see `pretrained.vit_files`).
      settings: how pictures are embedded; None takes the defaults for this network.

    Raises:
      ConfigError: neither a name nor a folder, settings that do not fit the network, the weights' package is not
        installed, or the environment asks JAX for devices that are not there.
      DataError: a folder without such weights.
    """
    check_platforms()
    check_model(name_or_folder)
    name = str(name_or_folder)
    words = None
    if name in NAMES:
        network, statistics, variables = _packaged(name.replace('-', '_'))
        settings, place = settings or _fitting(network, Settings.size), Path(name)
    else:
        read = read_vision_transformer(Path(name))
        network, statistics, variables = read.module, (read.input.mean, read.input.std), read.variables
        size = max(1, round(Settings.size / network.patch)) * network.patch
        settings, place = settings or _fitting(network, size), Path(name).absolute()
        words = place if names_text(place) else None
    return network_model(network, statistics, variables, place, settings=settings, words=words)


def load_model(system: str, workdir: str | Path, *, gallery: str | None = None, default: str = '') -> Model:
    """The built-in model where the system is `PRETRAINED`, as an index stores it; else that of a run (see `load`).

    Raises:
      CheckpointError, ConfigError: as `load` and `load_pretrained`.
    """
    if system != PRETRAINED:
        return load(workdir, gallery=gallery, default=default)
    if gallery is not None:
        raise ConfigError(f'gallery {gallery!r}: only cross-modal centers leave a choice')
    if str(workdir) not in NAMES and not Path(workdir).exists():
        raise CheckpointError(f'{workdir}: no folder of weights there')
    return load_pretrained(workdir)


def _packaged(name: str) -> tuple[Any, tuple[Triple, Triple], dict[str, Any]]:
    """A network by name, its normalisation, and its variables."""
    network = image_network(name)
    file = packaged_weights(name)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), image)
    values = network_weights(read_weights(file).arrays, shapes, where=str(file))
    return network, normalization(name), unflatten_dict(values)


def _fitting(network: Any, size: int) -> Settings:
    """The defaults, where they do not know the network with maps two thirds and five sixths through it."""
    known = network.depth == _KNOWN_DEPTH
    return Settings(size=size) if known else Settings(size=size, segments=None)


def network_model(
    network: Any,
    statistics: tuple[Triple, Triple],
    variables: Variables,
    place: Path,
    *,
    settings: Settings,
    words: Path | None = None,
) -> Model:
    """The built-in model with any image network.

    Args:
      network: whole, with the attributes of `encoders.segments`.
      statistics: mean and spread of red, green and blue in [0, 1] of its images.
      variables: of the network.
      place: what an index names to load it again (`Model.workdir`).
      settings: as for `load_pretrained`.
      words: folder of a text part whose features are in the space of the network's; None for none.

    Raises:
      ConfigError: settings that do not fit the network.
    """
    last = network.depth - 1
    late = min(round(5 / 6 * last), last - 1)
    segments = settings.segments or (min(round(2 / 3 * last), late - 1), late)
    pictures = PictureParts(network, statistics, segments, settings.cells)
    slices = pictures.slices(variables, settings.size)
    parts = Parts(
        {name: (part.start, part.stop) for name, part in slices.items()},
        settings.weights,
        settings.references,
        cells=OUTLINE_CELLS**2,
        outline=settings.outline,
        places=dict.fromkeys(PARTS[:2], settings.cells**2) if settings.cells else {},
    )
    inputs = settings.shape_inputs
    system = TrainedSystem(
        name=PRETRAINED,
        embed=partial(_embed, pictures),
        shape_inputs=inputs,
        gallery='views',
        queries={'photo': QueryKind(settings.photo_inputs, 'photo'), **shape_queries(inputs, 'views', one_by_one=True)},
        similarity='best_views',
        stored=np.dtype(np.float16),
        texts=None if words is None else partial(_of_texts, cache(partial(load_text_encoder, words)), parts),
    )
    also = json.dumps([segments, settings.cells, settings.size, settings.margin])
    made = {'fusion': _FUSION, 'embedding': parts, 'also': also}
    return made_model(system, variables, place, step=0, batch_size=_BATCH, **made)


def _of_texts(load_encoder: Callable[[], TextEncoder], parts: Parts, texts: Sequence[str]) -> np.ndarray:
    """Queries [Q, D] by texts: the class part, which a network of images and texts has in the space of both."""
    encoder, part = load_encoder(), slice(*parts.slices['class'])
    check_one_space(encoder.folder, part.stop - part.start, encoder.dimensions)
    embeddings = np.zeros((len(texts), parts.width), np.float32)
    embeddings[:, part] = encoder.embed(texts)
    return embeddings


def _embed(pictures: PictureParts, variables: Variables, arrays: Mapping[str, jax.Array], modality: str) -> jax.Array:
    """Photos [B, S, S, 3] with silhouettes [B, R, R] to [B, D + R R], or views [B, V, S, S, C] to [B, V, D]."""
    if modality == 'photo':
        cells = arrays['outline'].reshape(arrays['outline'].shape[0], -1).astype(jnp.float32)
        return jnp.concatenate([pictures.embed(variables, arrays['photo']), cells], axis=1)
    views = arrays['views']
    flat = jnp.broadcast_to(views, (*views.shape[:-1], 3)).reshape(-1, *views.shape[2:4], 3)
    return pictures.embed(variables, flat).reshape(*views.shape[:2], -1)
