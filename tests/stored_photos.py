"""Photos as cameras store them, with the orientation in EXIF."""

import numpy as np
from PIL import Image


def gradient(height: int = 12, width: int = 20) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows * 20, columns * 12, (rows + columns) * 7], axis=-1).astype(np.uint8)


def as_stored(shown: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores what is to be shown."""
    turned = {3: np.rot90(shown, 2), 6: np.rot90(shown, 1), 8: np.rot90(shown, -1)}
    flipped = {2: shown[:, ::-1], 4: shown[::-1], 5: shown.swapaxes(0, 1), 7: np.rot90(shown, 2).swapaxes(0, 1)}
    return np.ascontiguousarray((turned | flipped).get(orientation, shown))


def save_stored(path, shown: np.ndarray, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {'quality': 100} if path.suffix == '.jpg' else {}
    Image.fromarray(as_stored(shown, orientation)).save(path, exif=exif, **options)
