"""Screenshots of models from random cameras, and the plain baseline that compares them with views.

Imports neither JAX nor what does, as processes of their own render.

Letters: V views, S side in pixels, C cells of a picture.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from jaxret.geometry.render import render_file
from jaxret.geometry.view_ring import ViewRing
from jaxret.preprocessing.framing import place_object

SIZE = 512
VIEWS = ViewRing(size=96, supersample=2)  # of the baseline: twelve, 30 degrees above the horizon
_CELLS, _MARGIN = 32, 0.04

Render = tuple[Path, str, ViewRing]  # file, up axis, cameras


def draw_camera(generator: np.random.Generator) -> ViewRing:
    """One camera: azimuth from all around, 5 to 45 degrees above the horizon, field of view 25 to 55 degrees; a light
    of its own."""

    def between(low: float, high: float) -> float:
        return float(generator.uniform(low, high))

    ambient = between(0.15, 0.35)
    return ViewRing.of(
        ((between(5, 45), 1, between(0, 360)),),
        size=SIZE,
        supersample=2,
        field_of_view=between(25, 55),
        light_azimuth=between(-60, 60),
        light_elevation=between(0, 60),
        ambient=ambient,
        diffuse=between(0.4, 0.9 - ambient),
    )


def screenshot(item: Render) -> np.ndarray:
    """uint8 [S, S, 4]: a model on white, and how much of each pixel it covers.

    Raises:
      DataError: the file cannot be rendered.
    """
    return _covered(item)[0]


def baseline_views(item: Render) -> np.ndarray:
    """`baseline_features` of all views of a model, [V, 2 C C]. Raises as `screenshot`."""
    return np.stack([baseline_features(view) for view in _covered(item)])


def baseline_features(picture: np.ndarray) -> np.ndarray:
    """float32 [2 C C]: silhouette and grey of a screenshot [S, S, 4], placed alike, each without mean and of unit
    length, so that a product of two is twice the mean of their correlations."""
    mask = np.where(picture[..., 3] > 127, np.uint8(255), np.uint8(0))
    framed, placed = place_object(picture[..., :3], mask, size=_CELLS, margin=_MARGIN)
    grey, covered = framed[..., 0].astype(np.float32).ravel(), placed.astype(np.float32).ravel()
    centred = [values - values.mean() for values in (covered, grey)]
    return np.concatenate([values / max(np.linalg.norm(values), 1e-6) for values in centred])


def save(picture: np.ndarray, path: Path) -> None:
    """Writes a PNG file with transparency."""
    Image.fromarray(picture, 'RGBA').save(path)


def _covered(item: Render) -> np.ndarray:
    """Views with coverage, uint8 [V, S, S, 4]: what is seen on white and on black differs where the ground shows."""
    path, up_axis, ring = item
    white, black = (render_file(path, _grounded(ring, level), up_axis).astype(np.int16) for level in (255, 0))
    coverage = 255 - np.clip(white - black, 0, 255)
    return np.stack([white, white, white, coverage], axis=-1).astype(np.uint8)


def _grounded(ring: ViewRing, level: int) -> ViewRing:
    return ViewRing.from_json(ring.to_json() | {'background': level})
