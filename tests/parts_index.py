"""An index as of the built-in model, of random embeddings in two parts, and known photos; without models."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from small_index import SIDE, VIEWS, PlainModel

import jaxret
from jaxret.geometry.render import ViewRing
from jaxret.index.build import commit
from jaxret.index.files import Source
from jaxret.index.references import Photo, References
from jaxret.index.shards import ShapeRow, Shard, write_shard
from jaxret.preprocessing.reference_pictures import ReferencePicture
from jaxret.preprocessing.shapes import ShapeInputs
from jaxret.search.parts import Parts, unit
from jaxret.search.references import Fusion

LATE, CLASS, CELLS = 24, 8, 64
WIDTH = LATE + CLASS
FUSION = Fusion(weight=0.5, temperature=0.1, view_temperature=0.1, background=0.2, standardized_from=None)
PARTS = Parts(
    {'late': (0, LATE), 'class': (LATE, WIDTH)},
    {'mixed': {'late': 1.0, 'class': 0.5}, 'class': {'late': 0.0, 'class': 1.0}},
    {'late': 1.0, 'class': 1.0},
    cells=CELLS,
    outline=0.5,
)
_RING = ViewRing(views=VIEWS, size=SIDE)


@dataclass
class PartsModel(PlainModel):
    """What an index takes of the built-in model, with silhouettes."""

    system: str = 'pretrained'
    similarity: str = 'best_views'
    shape_inputs: ShapeInputs = ShapeInputs(
        'views', ring=_RING, view_ids=tuple(range(VIEWS)), side=SIDE, outlines=_RING
    )
    projection: None = None
    fusion: Fusion = FUSION
    parts: Parts = PARTS


@dataclass
class World:
    """Shapes that differ, and photos of them that differ far more, all in the same directions.

    Attributes:
      views: [G, V, D]; outlines: bool [G, V, C]; shared: [D', D], the directions; own: [G, D].
    """

    views: np.ndarray
    outlines: np.ndarray
    shared: np.ndarray
    own: np.ndarray

    @classmethod
    def of(cls, shapes: int, *, seed: int = 0) -> 'World':
        rng = np.random.default_rng(seed)
        own = rng.normal(size=(shapes, WIDTH))
        views = own[:, None] + 0.5 * rng.normal(size=(shapes, VIEWS, WIDTH))
        return cls(by_parts(views), rng.random((shapes, VIEWS, CELLS)) < 0.5, rng.normal(size=(4, WIDTH)), own)

    def photos(self, owner, *, seed: int = 1, spread: float = 2.0, noise: float = 0.5, outlined=True) -> np.ndarray:
        """Photos of shapes int [R]: float32 [R, D + C], the cells 0 where they are not outlined, bool or bool [R]."""
        rng = np.random.default_rng(seed)
        shown = self.own[owner] + spread * rng.normal(size=(len(owner), len(self.shared))) @ self.shared
        cells = self.outlines[owner, 0] ^ (rng.random((len(owner), CELLS)) < 0.1)
        cells = cells & np.broadcast_to(outlined, len(owner))[:, None]
        return np.concatenate([by_parts(shown + noise * rng.normal(size=shown.shape)), cells], axis=1, dtype=np.float32)


def by_parts(vectors: np.ndarray) -> np.ndarray:
    """Each part of unit length."""
    return np.concatenate([unit(vectors[..., slice(*PARTS.slices[name])]) for name in PARTS.slices], axis=-1)


def parts_index(folder: Path, world: World, *, model: PartsModel | None = None, facts=()) -> jaxret.Index:
    """The index of a world's shapes, open."""
    names = [f'{number:03d}.obj' for number in range(len(world.views))]
    bits = np.packbits(world.outlines, axis=-1)
    content = Shard(world.views.astype(np.float16), [b'picture'] * len(names), names, {'outlines': bits}, facts)
    shard = write_shard(folder, content, key='key')
    rows = [
        ShapeRow(name, ('odd', 'even')[number % 2], 0, f'sum {number}', [1, 2], shard, number)
        for number, name in enumerate(names)
    ]
    commit(folder, model or PartsModel(), [Source('/models', 'y', '')], rows, failed=0)
    return jaxret.Index.open(folder)


def teach(index: jaxret.Index, embeddings: np.ndarray, owner) -> None:
    """Adds photos by their embeddings."""
    picture, first = ReferencePicture(b'jpeg', None, None), index.references.count()
    photos = [
        (index.ids[shape], Photo('photo', f'{first + number:064}', picture, embedding))
        for number, (embedding, shape) in enumerate(zip(embeddings, owner, strict=True))
    ]
    References(index.folder).add(photos, key=index.fingerprint, origin='csv')
