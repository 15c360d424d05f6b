"""Grids of learnt positions for images of another size than the one that they were learnt for.

Letters: h, w rows and columns of the old grid, H, W of the new one, D width.
"""

import jax
import jax.numpy as jnp
import numpy as np

# Ways to resample positions: Keys' parameter a of the cubic kernel (None: a linear one), whether the kernel widens
# where the grid shrinks, what is added to the number of new cells, and whether the corners' centres stay in place.
RESAMPLINGS: dict[str, tuple[float | None, bool, float, bool]] = {
    'bicubic': (-0.75, False, 0.0, False),  # PyTorch without antialiasing: DINOv2, CLIP and SigLIP of Hugging Face
    'bicubic_antialias': (-0.5, True, 0.0, False),  # PyTorch with it: timm, OpenCLIP, DINOv2 with registers
    'bicubic_offset': (-0.75, False, 0.1, False),  # DINOv2 without registers of Meta
    'bilinear_corners': (None, False, 0.0, True),  # scipy.ndimage.zoom: big_vision
}


def resampling_matrix(old: int, new: int, kind: str) -> np.ndarray:
    """Weights that make `new` values of `old` ones on a line, float32 [new, old].

    Args:
      old, new: numbers of values.
      kind: a key of `RESAMPLINGS`.
    """
    a, antialias, offset, corners = RESAMPLINGS[kind]
    at = np.linspace(0, old - 1, new) if corners else (np.arange(new) + 0.5) * old / (new + offset) - 0.5
    reach = max(1.0, old / new) if antialias else 1.0
    cells = np.arange(-2, old + 2)
    x = np.abs(at[:, None] - cells) / reach
    if a is None:
        weights = np.maximum(0, 1 - x)
    else:  # Keys 1981, equation 4
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = a * (((x - 5) * x + 8) * x - 4)
        weights = np.where(x <= 1, near, np.where(x < 2, far, 0))
    inner = weights[:, 2:-2].copy()
    if antialias:  # what would lie outside is left out
        inner /= inner.sum(axis=1, keepdims=True)
    else:  # the border is repeated
        inner[:, 0] += weights[:, :2].sum(axis=1)
        inner[:, -1] += weights[:, -2:].sum(axis=1)
    return inner.astype(np.float32)


def resample_grid(grid: jax.Array, shape: tuple[int, int], kind: str) -> jax.Array:
    """[h, w, D] -> [H, W, D].

    Args:
      grid: float.
      shape: (H, W).
      kind: a key of `RESAMPLINGS`.
    """
    rows, columns = (resampling_matrix(*sides, kind) for sides in zip(grid.shape[:2], shape, strict=True))
    return jnp.einsum('Hh,hwd,Ww->HWd', rows, grid, columns, precision='highest')
