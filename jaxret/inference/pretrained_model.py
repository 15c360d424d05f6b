"""The built-in model: published weights as they are, which need no training run and no photos of the models.

    model = jaxret.load_pretrained()
    queries = model.embed_photos(['chair.jpg'], purpose='instance')

Views and photos are embedded alike, as the parts of `encoders.picture_parts`. A shape keeps all of them; a query has
them weighted, by what is searched for (`PURPOSES`) and by whether the object's silhouette is known. A shape's score is
the mean of its two best views' products with a photo; meshes, clouds and scans are rendered as the shapes are, and
compared view by view in their best heading.

Letters: B batch, V views, S side in pixels, D embedding.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from jaxret.encoders.image_backbones import Triple, image_network, normalization
from jaxret.encoders.outlines import OutlineOptions
from jaxret.encoders.picture_parts import PARTS, PictureParts
from jaxret.errors import CheckpointError, ConfigError
from jaxret.geometry.view_ring import Ring, ViewRing
from jaxret.inference.loading import load, made_model
from jaxret.inference.model import Model
from jaxret.inference.text import TextEncoder, check_one_space, load_text_encoder
from jaxret.platforms import check_platforms
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs
from jaxret.pretrained.networks import network_weights
from jaxret.pretrained.packaged import PACKAGED_NAMES, packaged_weights
from jaxret.pretrained.text_files import names_text
from jaxret.pretrained.vit_files import read_vision_transformer
from jaxret.pretrained.weight_files import read_weights
from jaxret.search.references import Fusion
from jaxret.systems.base import QueryKind, TrainedSystem, Variables

PRETRAINED = 'pretrained'  # `Model.system`
DEFAULT = 'efficientnet-lite0'
NAMES = tuple(name.replace('_', '-') for name in PACKAGED_NAMES)
PURPOSES = ('mixed', 'instance', 'class')  # the first is the default
_BATCH = 4  # shapes; their maps take memory
_FUSION = Fusion(standardized_from=None)  # queries are weighted, which mean and spread of references are not
_PLAIN, _MASKED = 'without mask', 'with mask'


def _weights() -> dict[str, dict[str, tuple[float, ...]]]:
    return {
        'mixed': {_PLAIN: (1.0, 0.7, 0.0, 0.0), _MASKED: (1.0, 0.7, 1.0, 0.5)},
        'instance': {_PLAIN: (1.0, 0.3, 0.0, 0.0), _MASKED: (1.0, 0.3, 1.0, 0.5)},
        'class': {_PLAIN: (0.2, 1.0, 0.0, 0.0), _MASKED: (0.2, 1.0, 0.2, 0.0)},
    }


@dataclass(frozen=True)
class Settings:
    """How pictures are embedded.

    Attributes:
      size: S.
      segment: whose output is the instance map; None takes the one two thirds through the network.
      cells: a side of the instance map.
      rings: cameras, as (elevation, number, azimuth of the first).
      supersample: rays per pixel of a view along each side.
      view_margin: free around what a view shows, as a share of its longer side; None leaves views as rendered.
      photo_margin: likewise around the object of a photo with a mask or box.
      frame_margin: white around a photo with neither.
      outlines: of the parts that need a silhouette.
      weights: of the parts, in the order of `PARTS`, by purpose, without and with mask. They change no embedding of a
        shape.
    """

    size: int = 224
    segment: int | None = 11
    cells: int = 7
    rings: tuple[Ring, ...] = ((10.0, 6, 0.0), (30.0, 6, 30.0))
    supersample: int = 1
    view_margin: float | None = None
    photo_margin: float = 0.15
    frame_margin: float = 0.0
    outlines: OutlineOptions = OutlineOptions()
    weights: Mapping[str, Mapping[str, tuple[float, ...]]] = field(default_factory=_weights)

    def __post_init__(self):
        if set(self.weights) != set(PURPOSES):
            raise ConfigError(f'weights of {", ".join(self.weights)}: give those of {", ".join(PURPOSES)}')
        for purpose, masks in self.weights.items():
            for name in (_PLAIN, _MASKED):
                values = masks.get(name, ())
                if len(values) != len(PARTS) or min(values) < 0 or not sum(values) > 0:
                    raise ConfigError(
                        f'weights, {purpose} {name}: {values}; give {len(PARTS)} numbers from 0 on, not all 0'
                    )

    @property
    def shape_inputs(self) -> ShapeInputs:
        """What is made of a model file."""
        ring = ViewRing.of(self.rings, size=self.size, supersample=self.supersample)
        views = tuple(range(ring.count))
        return ShapeInputs('views', ring=ring, view_ids=views, side=self.size, margin=self.view_margin)

    @property
    def photo_inputs(self) -> PhotoInputs:
        """What is made of a photo."""
        return PhotoInputs('cutout', self.size, margin=self.photo_margin, frame_margin=self.frame_margin)


# From a function that gives the parts of views uint8 [N, S, S, C] as they are, to what is subtracted of some of them.
Centres = Callable[[Callable[[np.ndarray], dict[str, np.ndarray]]], Mapping[str, np.ndarray]]


def load_pretrained(
    name_or_folder: str | Path = DEFAULT, *, settings: Settings | None = None, centres: Centres | None = None
) -> Model:
    """The built-in model.

    Args:
      name_or_folder: one of `NAMES`, whose ImageNet weights a package brings; or a folder with a vision transformer
        (DINOv2, CLIP, SigLIP, a plain ViT; see `pretrained.vit_files`).
      settings: how pictures are embedded; None takes the defaults for this network.
      centres: makes the vectors that are subtracted of parts before these have unit length; None subtracts nothing.

    Raises:
      ConfigError: neither a name nor a folder, settings that do not fit the network, the weights' package is not
        installed, or the environment asks JAX for devices that are not there.
      DataError: a folder without such weights.
    """
    check_platforms()
    name = str(name_or_folder)
    words = None
    if name in NAMES:
        network, statistics, variables = _packaged(name.replace('-', '_'))
        settings, place = settings or Settings(), Path(name)
    elif Path(name).exists():
        read = read_vision_transformer(Path(name))
        network, statistics, variables = read.module, (read.input.mean, read.input.std), read.variables
        settings, place = settings or _fitting(network), Path(name).absolute()
        words = place if names_text(place) else None
    else:
        raise ConfigError(f'model {name!r}: neither one of {", ".join(NAMES)} nor a folder with a vision transformer')
    return network_model(network, statistics, variables, place, settings=settings, centres=centres, words=words)


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


def _fitting(network: Any) -> Settings:
    """Settings of a vision transformer: pictures of whole patches, near the default's size."""
    size = max(1, round(Settings.size / network.patch)) * network.patch
    return replace(Settings(), size=size, segment=None)


def network_model(
    network: Any,
    statistics: tuple[Triple, Triple],
    variables: Variables,
    place: Path,
    *,
    settings: Settings,
    centres: Centres | None = None,
    words: Path | None = None,
) -> Model:
    """The built-in model with any image network.

    Args:
      network: whole, with the attributes of `encoders.segments`.
      statistics: mean and spread of red, green and blue in [0, 1] of its images.
      variables: of the network.
      place: what an index names to load it again (`Model.workdir`).
      settings, centres: as for `load_pretrained`.
      words: folder of a text part whose features are in the space of the network's; None for none.

    Raises:
      ConfigError: settings that do not fit the network.
    """
    segment = round(2 / 3 * (network.depth - 1)) if settings.segment is None else settings.segment
    parts = PictureParts(network, statistics, segment, settings.cells, settings.outlines)
    slices = parts.slices(variables, settings.size)
    inputs = settings.shape_inputs
    variables = {'network': variables, 'centres': {}}
    if centres is not None:
        variables['centres'] = _checked_centres(centres(partial(_plain_parts, parts, variables, inputs)), slices)
    if 'class' in variables['centres']:  # views are then no longer where texts are
        words = None
    mesh = QueryKind(inputs, 'views')
    system = TrainedSystem(
        name=PRETRAINED,
        embed=partial(_embed, parts, inputs),
        shape_inputs=inputs,
        gallery='views',
        queries={'photo': QueryKind(settings.photo_inputs, 'photo'), 'mesh': mesh, 'points': mesh, 'scan': mesh},
        similarity='best_views',
        purposes=PURPOSES,
        weigh=partial(_weighed, _weight_rows(settings, slices), slices['outline']),
        stored=np.dtype(np.float16),
        texts=None if words is None else partial(_of_texts, cache(partial(load_text_encoder, words)), slices),
    )
    return made_model(
        system, variables, place, step=0, batch_size=_BATCH, fusion=_FUSION, also=_embedding_settings(settings, segment)
    )


def _of_texts(load_encoder: Callable[[], TextEncoder], slices: Mapping[str, slice], texts: Sequence[str]) -> np.ndarray:
    """Queries [Q, D] by texts: the class part, which a network of images and texts has in the space of both."""
    encoder, part = load_encoder(), slices['class']
    check_one_space(encoder.folder, part.stop - part.start, encoder.dimensions)
    embeddings = np.zeros((len(texts), max(part.stop for part in slices.values())), np.float32)
    embeddings[:, part] = encoder.embed(texts)
    return embeddings


def _embedding_settings(settings: Settings, segment: int) -> str:
    """All that decides embeddings beside the weights of the network, for the fingerprint."""
    stored = asdict(settings) | {'segment': segment}
    del stored['weights']
    return json.dumps(stored, sort_keys=True)


def _embed(
    parts: PictureParts, inputs: ShapeInputs, variables: Variables, arrays: Mapping[str, jax.Array], modality: str
) -> jax.Array:
    """Photos [B, S, S, 3] with masks [B, S, S, 1] to [B, D], or views [B, V, S, S, C] to [B, V, D]; not weighted."""
    own = variables['network'], variables['centres']
    if modality == 'photo':
        masks = arrays['mask'][..., 0].astype(jnp.float32) / 255
        return parts.embed(own[0], arrays['photo'], masks, own[1])
    views = arrays['views']
    pictures, masks = _of_views(views.reshape(-1, *views.shape[2:]), inputs)
    return parts.embed(own[0], pictures, masks, own[1]).reshape(*views.shape[:2], -1)


def _of_views(views: jax.Array, inputs: ShapeInputs) -> tuple[jax.Array, jax.Array]:
    """Views [N, S, S, C] in three channels, and the masks [N, S, S] of what they show.

    The border is half-way from the brightest surface to the ground, which resampling blurs.
    """
    ring = inputs.ring
    border = (ring.background + 255 * (ring.ambient + ring.diffuse)) / 2
    masks = (views.min(axis=-1) < border).astype(jnp.float32)
    return jnp.broadcast_to(views, (*views.shape[:-1], 3)), masks


def _plain_parts(
    parts: PictureParts, variables: Variables, inputs: ShapeInputs, views: np.ndarray
) -> dict[str, np.ndarray]:
    """The parts of views [N, S, S, C] as they are: by name [N, D_part]."""
    pictures, masks = _of_views(jnp.asarray(views), inputs)
    return {name: np.asarray(x) for name, x in jax.jit(parts.features)(variables['network'], pictures, masks).items()}


def _checked_centres(centres: Mapping[str, np.ndarray], slices: Mapping[str, slice]) -> dict[str, np.ndarray]:
    for name, values in centres.items():
        if name not in slices or np.shape(values) != (slices[name].stop - slices[name].start,):
            raise ConfigError(f'centre of {name!r}, {list(np.shape(values))}: give one vector of a part')
    return {name: np.asarray(values, np.float32) for name, values in centres.items()}


def _weight_rows(settings: Settings, slices: Mapping[str, slice]) -> dict[str, np.ndarray]:
    """Weights of every number of an embedding, which add up to 1 over the parts: by purpose [2, D], masked second."""
    width = max(part.stop for part in slices.values())
    rows = {purpose: np.zeros((2, width), np.float32) for purpose in PURPOSES}
    for purpose, table in rows.items():
        for row, name in zip(table, (_PLAIN, _MASKED), strict=True):
            weights = settings.weights[purpose][name]
            for part, weight in zip(PARTS, weights, strict=True):
                row[slices[part]] = weight / sum(weights)
    return rows


def _weighed(rows: Mapping[str, np.ndarray], outline: slice, embeddings: jax.Array, purpose: str) -> jax.Array:
    """Embeddings [..., D] with their parts weighted; an outline that is not 0 says that the silhouette is known."""
    plain, masked = (jnp.broadcast_to(jnp.asarray(row), embeddings.shape) for row in rows[purpose])
    known = jnp.any(embeddings[..., outline] != 0, axis=-1, keepdims=True)
    return embeddings * jnp.where(known, masked, plain)
