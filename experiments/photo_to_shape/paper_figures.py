"""The figures of CMIC that show data alone: shapes that look alike across categories, and the colour augmentations."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from photo_to_shape.built_in import decoded
from photo_to_shape.data import PhotoData
from photo_to_shape.pictures import front_views, short_name
from PIL import Image

from data_pipelines.photo_to_shape.prepare import GalleryTable
from jaxret.augmentation import color
from jaxret.baselines.light_field import light_field_descriptors, light_field_distances
from jaxret.reports.cards import drawn_rows
from jaxret.reports.picture_grid import Cell, draw_grid

_PAIRS, _TARGETS, _CHANGES = 12, 5, 4
_PAIRS_A_ROW = 3


def draw_look_alikes(data: PhotoData, background: int) -> Image.Image | None:
    """Pairs of gallery shapes of different categories with the nearest silhouettes; None of a single category.

    Args:
      data: of a run.
      background: grey level of the views' ground.
    """
    gallery, categories = data.gallery, data.dataset.categories
    pairs = look_alikes(gallery, background)
    if not pairs:
        return None
    views = front_views(gallery)
    cells: list[Cell] = []
    for a, b, distance in pairs:
        for shape, extra in ((a, ''), (b, f'; distance {distance:.2f}')):
            cells.append((views[shape], f'{categories[gallery.category[shape]]}: {_name(gallery, shape)}{extra}'))
    width = 2 * _PAIRS_A_ROW
    cells += [None] * (-len(cells) % width)
    rows = [cells[start : start + width] for start in range(0, len(cells), width)]
    return draw_grid(rows, groups=range(2, width, 2))


def look_alikes(gallery: GalleryTable, background: int) -> list[tuple[int, int, float]]:
    """Up to 12 pairs of shapes of different categories, nearest first by light-field distance, each shape once."""
    outlines = [light_field_descriptors((views != background).any(axis=-1)) for views in gallery.views]
    distances = light_field_distances(np.stack(outlines))
    first, second = np.triu_indices(len(distances), 1)
    other = gallery.category[first] != gallery.category[second]
    first, second = first[other], second[other]
    found: list[tuple[int, int, float]] = []
    used: set[int] = set()
    for place in np.argsort(distances[first, second], kind='stable'):
        a, b = int(first[place]), int(second[place])
        if not used & {a, b} and len(found) < _PAIRS:
            used |= {a, b}
            found.append((a, b, float(distances[a, b])))
    return found


def draw_colors(config: ConfigDict, data: PhotoData) -> Image.Image:
    """Training photos with the colours of others, beside random shifts of hue, saturation and value.

    Args:
      config: of the run, for its ranges and colour space; a run without transfer shows that of 'lab'.
      data: of the run.
    """
    photos, group = data.queries['train'], config.color
    chosen = drawn_rows(photos.category, _TARGETS + _CHANGES, seed=0)
    images = np.stack([decoded(photos.images_encoded[row]) for row in chosen]).astype(np.float32) / 255
    sources, targets = images[:_CHANGES], images[_CHANGES:]
    changes = jax.jit(partial(_changed, space=group.mode if group.mode in color.SPACES else 'lab', group=group))
    rows: list[Sequence[Cell]] = [[None, *((image, 'source') for image in _pixels(sources)), *[None] * _CHANGES]]
    for number, target in enumerate(targets):
        changed = _pixels(changes(target, sources, jax.random.key(number)))
        rows.append([(_pixels(target), 'target'), *((image, '') for image in changed)])
    heads = ['', *['colour transfer'] * _CHANGES, *['random HSV'] * _CHANGES]
    return draw_grid(rows, heads=heads, groups=(1, 1 + _CHANGES))


def _changed(target: jax.Array, sources: jax.Array, key: jax.Array, *, space: str, group: ConfigDict) -> jax.Array:
    """A photo with the colours of each source, then with as many random shifts: [2 N, S, S, 3]."""
    repeated = jnp.broadcast_to(target, sources.shape)
    content, style = (color.color_statistics(images, space=space) for images in (repeated, sources))
    transferred = color.transfer_color(repeated, content, style, space=space, ratio=group.ratio)
    hue, saturation, value = group.hsv_range
    shift = color.random_hsv_shift(key, len(sources), hue=hue, saturation=saturation, value=value, probability=1.0)
    return jnp.concatenate([transferred, color.shift_hsv(repeated, shift)])


def _pixels(images: np.ndarray) -> np.ndarray:
    return np.round(255 * np.asarray(images)).astype(np.uint8)


def _name(gallery: GalleryTable, shape: int) -> str:
    return short_name(gallery.names[shape]).rpartition('/')[2]
