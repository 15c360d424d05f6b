"""What `retrieval_dataset.prepare` left on disk, read into numpy tables.

Letters: n photos, G shapes, V views, S size in pixels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_pipelines.layout import Pix3DLayout
from data_pipelines.quiet import tfds
from data_pipelines.record_folder import as_text, read_records
from jaxret.errors import StorageError
from jaxret.geometry.render import ViewRing

SPLITS = ('train', 'val', 'test')
QUERIES, GALLERY = 'retrieval_queries', 'retrieval_gallery'


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: its folder, and the layout less what could not be prepared (on_bad_file='skip')."""

    folder: Path
    layout: Pix3DLayout
    size: int
    ring: ViewRing


@dataclass(frozen=True, eq=False)
class QueryTable:
    """Photos of one split, in order of their names. n photos.

    Attributes:
      images_encoded: PNG bytes, [S, S, 3] each.
      masks_encoded: PNG bytes, [S, S, 1] each.
      category: int32 [n], index into the layout's categories.
      shape: int32 [n], index into the gallery.
      names: path of each photo below the data folder.
    """

    images_encoded: list[bytes]
    masks_encoded: list[bytes]
    category: np.ndarray
    shape: np.ndarray
    names: list[str]


@dataclass(frozen=True, eq=False)
class GalleryTable:
    """Gallery shapes with their views, in order of their names. G shapes, V views.

    Attributes:
      views: uint8 [G, V, S, S, 1], textured [G, V, S, S, 3].
      category: int32 [G], index into the layout's categories.
      names: path of each mesh below the data folder.
      paths: the mesh files.
    """

    views: np.ndarray
    category: np.ndarray
    names: list[str]
    paths: list[Path]


def load_queries(prepared: Prepared, split: str) -> QueryTable:
    """Photos of a split, still encoded; an empty table for a split without photos.

    Args:
      prepared: from `prepare`.
      split: 'train', 'val' or 'test'.

    Returns:
      the table.
    """
    if split not in SPLITS:
        raise ValueError(f'split={split!r}: use one of {", ".join(SPLITS)}')
    keep = {'image': tfds.decode.SkipDecoding(), 'mask': tfds.decode.SkipDecoding()}
    rows = list(read_records(prepared.folder, QUERIES, split, keep))
    return QueryTable(
        images_encoded=[bytes(row['image']) for row in rows],
        masks_encoded=[bytes(row['mask']) for row in rows],
        category=np.array([row['category'] for row in rows], np.int32),
        shape=np.array([row['shape'] for row in rows], np.int32),
        names=[as_text(row['name']) for row in rows],
    )


def load_gallery(prepared: Prepared) -> GalleryTable:
    """All gallery shapes with their views.

    Args:
      prepared: from `prepare`.

    Returns:
      the table.
    """
    rows = read_records(prepared.folder, GALLERY, 'gallery', None)
    shapes, ring = prepared.layout.shapes, prepared.ring
    views = np.empty((len(shapes), ring.views, ring.size, ring.size, ring.channels), np.uint8)
    category, names = np.empty(len(shapes), np.int32), []
    for index, row in enumerate(rows):
        views[index], category[index] = row['views'], row['category']
        names.append(as_text(row['name']))
    if names != [shape.model for shape in shapes]:
        raise StorageError(f'{prepared.folder}: holds another gallery; delete the folder to prepare it again')
    return GalleryTable(views, category, names, [shape.path for shape in shapes])
