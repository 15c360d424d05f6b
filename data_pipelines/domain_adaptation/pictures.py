"""Photos and shapes of two domains as square PNG files. Runs in worker processes."""

from pathlib import Path

from data_pipelines.domain_adaptation.dataset import ShapeFiles
from jaxret.errors import DataError, Problem
from jaxret.geometry.render import ViewRing, render_file
from jaxret.preprocessing.framing import square_picture
from jaxret.preprocessing.photo_files import png_file, read_photo


def photo_png(path: Path, *, size: int, fit: str) -> bytes:
    """A photo's file as a square colour PNG file. Raises DataError: it cannot be read."""
    return png_file(square_picture(read_photo(path), size=size, fit=fit))


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
        return [png_file(view) for view in render_file(shape.mesh, ring, up_axis)]
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
        pictures.append(png_file(picture[:, :, 0] if channels == 1 else picture))
    if problems:
        raise DataError(problems)
    return pictures
