"""Pictures as the input of a network with published weights. Letters: H, W pixels of a picture; h, w of the input."""

import numpy as np
from PIL import Image

from jaxret.pretrained.network_configs import ImageInput


def network_picture(picture: np.ndarray, images: ImageInput) -> np.ndarray:
    """A picture scaled, cut in the middle, brought to [0, 1] and normalised.

    Args:
      picture: uint8 [H, W, 3].
      images: how; what is cut out beyond the borders of a smaller picture is black.

    Returns:
      float32 [h, w, 3].
    """
    height, width = picture.shape[:2]
    if isinstance(images.resize, int):
        long = int(images.resize * max(height, width) / min(height, width))
        down, across = (images.resize, long) if height <= width else (long, images.resize)
    else:
        down, across = images.resize
    scaled = Image.fromarray(picture).resize((across, down), Image.Resampling[images.interpolation.upper()])
    h, w = images.size
    top, left = (down - h) // 2, (across - w) // 2
    cut = np.asarray(scaled.crop((left, top, left + w, top + h)), np.float32) / np.float32(255)
    return (cut - np.asarray(images.mean, np.float32)) / np.asarray(images.std, np.float32)
