"""A CMIC model of random weights, as `jaxret.load` would return it, and a photo to ask it with."""

from pathlib import Path

from random_steps import photos_and_views, random_variables  # before JAX: see measuring.py

# isort: split
import jax
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from jaxret.inference.loading import model_of
from jaxret.inference.model import Model
from jaxret.runs.finished import FinishedRun
from jaxret.systems.cmic import CMIC

CATEGORIES = 4


def random_model(config: ConfigDict) -> Model:
    """What `jaxret.load` would return, with random weights."""
    batch = photos_and_views(config, CATEGORIES)
    variables = random_variables(jax.eval_shape(CMIC.from_config(config, shapes=1).init, jax.random.key(0), batch))
    return model_of(FinishedRun(Path('random'), config, variables, step=0))


def write_photo(folder: Path) -> Path:
    """A photo-like picture: smooth, with a little noise."""
    rng = np.random.default_rng(2)
    small = Image.fromarray(rng.integers(256, size=(12, 16, 3), dtype=np.uint8)).resize((640, 480))
    noisy = np.clip(np.asarray(small) + rng.normal(0, 8, (480, 640, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(folder / 'photo.jpg', quality=90)
    return folder / 'photo.jpg'
