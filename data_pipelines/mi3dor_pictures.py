"""Photos and views as square PNG files. Runs in worker processes. Letters: V views, S size in pixels."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from data_pipelines.domains import ShapeFiles
from jaxret.errors import DataError, Problem
from jaxret.geometry.render import ViewRing, render_file
from jaxret.photos import read_photo, square_picture


def photo_png(path: Path, *, size: int, fit: str) -> bytes:
    """A photo's file as a square colour PNG file. Raises DataError: it cannot be read."""
    return _png(square_picture(read_photo(path), size=size, fit=fit))


def shape_pngs(shape: ShapeFiles, *, ring: ViewRing, fit: str, channels: int, up_axis: str) -> list[bytes]:
    """Views of a shape as square PNG files: rendered from its mesh, or read from its pictures.

    Args:
      shape: names its files.
      ring: cameras and light; for pictures only the size S counts.
      fit: how pictures become square.
      channels: 1 (grey) or 3.
      up_axis: axis that points up in mesh files.

    Returns:
      V PNG files.

    Raises:
      DataError: with all that is wrong with its files.
    """
    if shape.mesh is not None:
        return [_png(view) for view in render_file(shape.mesh, ring, up_axis)]
    pictures, problems = [], []
    for path in shape.views:
        try:
            picture = square_picture(read_photo(path), size=ring.size, fit=fit)
        except DataError as error:
            problems += error.problems
            continue
        if channels == 1 and (picture != picture[:, :, :1]).any():
            action = 'start again: it changed since it was checked'
            problems.append(Problem(str(path), 'coloured, where all views were grey', action))
        pictures.append(_png(picture[:, :, 0] if channels == 1 else picture))
    if problems:
        raise DataError(problems)
    return pictures


def _png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, 'PNG', compress_level=3)
    return buffer.getvalue()
