"""Small folders of meshes, and a model that embeds them without a network, for tests of indexes."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trimesh

import jaxret
from jaxret.geometry.render import ViewRing
from jaxret.preprocessing.inputs import PhotoInputs
from jaxret.preprocessing.photos import photo_arrays
from jaxret.preprocessing.shapes import ShapeInputs, shape_record
from jaxret.search.parts import Parts
from jaxret.search.references import Fusion

VIEWS, SIDE = 3, 8


@dataclass
class PlainModel:
    """Stands for `Model`: a view's embedding is made of means of its pixels. Counts what it embeds."""

    fingerprint: str = 'a' * 64
    system: str = 'cmic'
    similarity: str = 'attention'
    workdir: Path = Path('/nowhere')
    step: int = 7
    query_kinds: tuple[str, ...] = ('photo',)
    shape_inputs: ShapeInputs = ShapeInputs(
        'views', ring=ViewRing(views=VIEWS, size=SIDE), view_ids=tuple(range(VIEWS)), side=SIDE
    )
    projection: np.ndarray | None = field(default_factory=lambda: np.eye(4, dtype=np.float32))
    fusion: Fusion = Fusion()
    parts: Parts | None = None
    takes_text: bool = False
    embedded: int = 0
    photos: int = 0

    def embed_shape_arrays(self, arrays):
        self.embedded += len(arrays)
        return np.stack([self.embed(item['views']) for item in arrays])

    def query_inputs(self, kind):
        return PhotoInputs('masked', size=SIDE)

    def embed_photos(self, photos, *, masks=None, boxes=None):
        """Unit vectors [Q, 4] of the means of red, green and blue of the object, and of 1."""
        masks, boxes = masks or [None] * len(photos), boxes or [None] * len(photos)
        inputs = self.query_inputs('photo')
        arrays = [
            photo_arrays(photo, inputs=inputs, mask=mask, box=box)
            for photo, mask, box in zip(photos, masks, boxes, strict=True)
        ]
        return self.embed_query_arrays(arrays, 'photo')

    def embed_query_arrays(self, arrays, kind):
        self.photos += len(arrays)
        rows = [[*(item['image'][item['mask'][..., 0] > 127].mean(axis=0) / 255), 1.0] for item in arrays]
        vectors = np.array(rows, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    @staticmethod
    def embed(views):
        """[V, S, S, 1] -> unit vectors [V, 4]: the means of four quarters."""
        half = SIDE // 2
        quarters = [
            views[:, rows, columns].mean(axis=(1, 2, 3))
            for rows in (slice(half), slice(half, None))
            for columns in (slice(half), slice(half, None))
        ]
        vectors = 256 - np.stack(quarters, axis=1).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_box(path: Path, *size: float) -> None:
    """A box of its own size; the format by the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh = trimesh.creation.box(extents=size)
    mesh.apply_translation([size[0] / 3, 0, 0])
    mesh.export(path)


def write_models(folder: Path, count: int = 6) -> list[str]:
    """Boxes in two categories and several formats; returns their ids."""
    suffixes = ('obj', 'off', 'ply', 'stl', 'glb')
    names = [
        f'{("tall", "wide")[number % 2]}/{number:02d}/box.{suffixes[number % len(suffixes)]}' for number in range(count)
    ]
    for number, name in enumerate(names):
        write_box(folder / name, 1, 1 + number / 3, 2)
    return sorted(names)


def opened(tmp_path):
    return jaxret.Index.open(tmp_path / 'index')


def expected_embedding(model, path):
    record = shape_record(path, inputs=model.shape_inputs, up_axis='y')
    return model.embed_shape_arrays([record.arrays])[0]


def check_index(index, model, folder, names):
    """Every shape has its own embedding, thumbnail and path, whatever happened to the index before."""
    assert index.ids == tuple(names)
    for number, name in enumerate(names):
        np.testing.assert_array_equal(index.gallery.embeddings[number], expected_embedding(model, folder / name))
        assert index.model_path(name) == folder / name
        assert index.thumbnail(name) == shape_record(folder / name, inputs=model.shape_inputs, up_axis='y').thumbnail
