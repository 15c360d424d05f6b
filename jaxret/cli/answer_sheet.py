"""One picture of queries and what was found for them. Letters: H, W, S pixels; K results."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jaxret.errors import DataError
from jaxret.geometry.distance_grids import read_distances
from jaxret.geometry.grid_meshes import mesh_from_grid
from jaxret.geometry.mesh import load_mesh
from jaxret.geometry.render import render_views
from jaxret.index.index import Hit
from jaxret.inference.query_files import QueryFile
from jaxret.preprocessing.photo_files import read_photo
from jaxret.preprocessing.points import point_arrays
from jaxret.preprocessing.shapes import THUMBNAIL
from jaxret.reports.drawing import centred, height, paste, wrap, write
from jaxret.reports.palette import INK, LINE, MUTED, PAPER

_CELL, _GAP, _LINE = 112, 10, 20  # side of a picture, between pictures, the score under it
_MOST_POINTS = 4000


@dataclass(frozen=True, eq=False)
class Row:
    """A query and its hits.

    Attributes:
      query: its name.
      picture: uint8 [H, W] or [H, W, 3].
      hits: best first.
      thumbnails: PNG files of the hits.
    """

    query: str
    picture: np.ndarray
    hits: Sequence[Hit]
    thumbnails: Sequence[bytes]


def draw_answers(rows: Sequence[Row], *, title: str) -> Image.Image:
    """One row a query: its picture, then its hits with score, where there is one the view's azimuth, name, category."""
    shown = max(len(row.hits) for row in rows)
    width = max(480, (1 + shown) * (_CELL + _GAP) + 5 * _GAP)
    title = wrap(title, width - 2 * _GAP, 20)
    queries = [wrap(row.query, width - 2 * _GAP, 12) for row in rows]
    names = [[wrap(_named(hit), _CELL, 12) for hit in row.hits] for row in rows]
    heights = [
        height(query, 12) + _CELL + _LINE + max((height(name, 12) for name in own), default=0) + 2 * _GAP
        for query, own in zip(queries, names, strict=True)
    ]
    top = 2 * _GAP + height(title, 20)
    sheet = Image.new('RGB', (width, top + sum(heights) + _GAP * len(rows)), PAPER)
    draw = ImageDraw.Draw(sheet)
    write(draw, title, _GAP, _GAP, INK, 20)
    for row, query, own, tall in zip(rows, queries, names, heights, strict=True):
        draw.rectangle((_GAP // 2, top, width - _GAP // 2 - 1, top + tall - 1), outline=LINE)
        write(draw, query, _GAP, top + 4, INK, 12)
        left, level = _GAP, top + height(query, 12) + _GAP
        paste(sheet, draw, Image.fromarray(row.picture), left, level, INK, 2, cell=_CELL)
        centred(draw, 'query', left, level, MUTED, cell=_CELL)
        left += _CELL + 2 * _GAP
        for hit, name, picture in zip(row.hits, own, row.thumbnails, strict=True):
            paste(sheet, draw, Image.open(io.BytesIO(picture)), left, level, LINE, 1, cell=_CELL)
            azimuth = '' if hit.azimuth is None else f'  {hit.azimuth:g}\N{DEGREE SIGN}'
            centred(draw, f'{hit.score:.3f}{azimuth}', left, level, INK, cell=_CELL)
            write(draw, name, left + _CELL / 2, level + _CELL + _LINE, MUTED, 12, middle=True)
            left += _CELL + _GAP
        top += tall + _GAP
    return sheet


def _named(hit: Hit) -> str:
    """Name of a hit, and its category where the name does not hold it."""
    return hit.id if not hit.category or hit.category in Path(hit.id).parts else f'{hit.id} ({hit.category})'


def png_file(image: Image.Image) -> bytes:
    """Content of a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, 'PNG', optimize=True)
    return buffer.getvalue()


def query_picture(query: QueryFile, *, up_axis: str) -> np.ndarray:
    """How a query is shown: the photo, or a picture of the shape; uint8 [H, W] or [H, W, 3]."""
    if query.kind == 'photo':
        return read_photo(query.path)
    if query.kind == 'points':
        return _draw_points(point_arrays(query.path, count=_MOST_POINTS, up_axis=up_axis)['points'])
    try:
        if query.kind == 'mesh':
            return render_views(load_mesh(query.path, up_axis=up_axis), THUMBNAIL)[0]
        return render_views(mesh_from_grid(read_distances(query.path)), THUMBNAIL)[0]
    except (DataError, ValueError):  # it was embedded, so this is no reason to lose the answers
        return empty_picture()


def empty_picture() -> np.ndarray:
    """In the place of a query that cannot be shown: uint8 [H, W], white."""
    return np.full((THUMBNAIL.size,) * 2, 255, np.uint8)


def _draw_points(points: np.ndarray) -> np.ndarray:
    """Points in the unit sphere from the side that thumbnails show, nearer ones darker: uint8 [S, S]."""
    azimuth, elevation = np.radians([THUMBNAIL.first_azimuth, THUMBNAIL.elevation])
    across = points @ np.array([np.cos(azimuth), 0, -np.sin(azimuth)])
    back = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    depth = points @ back
    upward = points @ np.array(
        [-np.sin(elevation) * np.sin(azimuth), np.cos(elevation), -np.sin(elevation) * np.cos(azimuth)]
    )
    size = THUMBNAIL.size
    picture = np.full((size, size), 255, np.uint8)
    columns = ((across + 1) / 2 * (size - 2)).astype(int)
    rows = ((1 - upward) / 2 * (size - 2)).astype(int)
    for place in np.argsort(depth):
        picture[rows[place] : rows[place] + 2, columns[place] : columns[place] + 2] = round(150 - 110 * depth[place])
    return picture
