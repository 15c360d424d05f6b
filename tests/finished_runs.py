"""Work directories of runs that never trained: config of the smoke preset, random weights in a checkpoint."""

import json
from pathlib import Path

import jax
import numpy as np
import optax
from overrides import apply_overrides, load_config
from references_encoders import random_variables

from jaxret.runs.config import flatten
from jaxret.systems.cmic import CMIC
from jaxret.systems.cross_modal_center import CrossModalCenter
from jaxret.systems.hifa import Hifa
from jaxret.systems.scan_cad import ScanCad
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.state import create_state

CLASSES = ['bed', 'chair', 'sofa']
CONFIGS = {'cmic': 'pix3d', 'cross_modal_center': 'modelnet40', 'hifa': 'mi3dor', 'scan_cad': 'scan_cad'}


def write_run(folder: Path, system: str, *, seed: int = 0, average: bool = True, **changes: str):
    """Writes a work directory of one of the four systems; returns the config and the variables to evaluate."""
    config, _ = load_config(f'{CONFIGS[system]}.py:smoke')
    apply_overrides(config, changes)
    folder.mkdir(parents=True)
    (folder / 'config.json').write_text(json.dumps(flatten(config)))
    (folder / 'split.json').write_text(json.dumps({'categories': CLASSES}))
    made, example = _system(config, system)
    variables = random_variables(made, example, seed=seed)
    state = create_state(variables, optax.sgd(0.1), seed=0, average=average)
    if average:  # so that they differ from the weights of training
        wanted = jax.tree.map(lambda x: x * np.float32(0.5), variables)
        state = state.replace(average=(wanted['params'], {k: v for k, v in wanted.items() if k != 'params'}))
    state = jax.tree.map(jax.numpy.asarray, state.replace(step=np.int32(3)))
    metric = 'progress' if config.select == 'last' else f'val_{config.select}'
    with Checkpoints(folder / 'checkpoints', metric=metric) as checkpoints:
        checkpoints.save(state, {metric: 0.5})
        checkpoints.wait()
    return config, state.evaluation_variables


def _system(config, name):
    size = config.data.image_size if 'image_size' in config.data else 0
    if name == 'cmic':
        return CMIC.from_config(config), {
            'image': np.zeros((1, size, size, 3), np.uint8),
            'mask': np.zeros((1, size, size, 1), np.uint8),
            'views': np.zeros((1, 1, size, size, 1), np.uint8),
        }
    if name == 'cross_modal_center':
        data = config.data
        return CrossModalCenter.from_config(config, classes=len(CLASSES)), {
            'image': np.zeros((1, 2, size, size, 1), np.uint8),
            'points': np.zeros((1, data.points, 3), np.float32),
            'faces': np.zeros((1, data.faces, 15), np.float32),
            'neighbors': np.zeros((1, data.faces, 3), np.int32),
        }
    if name == 'hifa':
        return Hifa.from_config(config, classes=len(CLASSES), steps=1), {
            'photo': np.zeros((1, size, size, 3), np.uint8),
            'views': np.zeros((1, 2, size, size, 1), np.uint8),
        }
    return ScanCad.from_config(config), {'scan': np.zeros((1, 32, 32, 32), np.uint8)}
