"""Vision transformers from local files: the network, its variables, and how images are prepared for it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxret.encoders.vit import STATISTICS, VisionTransformer
from jaxret.errors import refused
from jaxret.pretrained.network_configs import Description, ImageInput
from jaxret.pretrained.vit_configs import check_kind, describe
from jaxret.pretrained.vit_weights import Tower, find_tower, tower_values
from jaxret.pretrained.weight_folders import read_config, read_folder_weights, weights_file

# Entries that are not read: text parts, whose tables are large, and the state of the training.
_LEFT_OUT = re.compile(r'(^|[./])(text|text_model|txt|token_embedding)[./]|^opt/(?!target/)')
_CONFIGS = ('config.json', 'open_clip_config.json', 'preprocessor_config.json', 'processor_config.json')
_ACTION = 'use weights of DINOv2, CLIP, SigLIP or a plain ViT'
_SIZED = (
    'positions',
    'class_token',
    'registers',
    'pre_norm/scale',
    'blocks/scale1',
    'blocks/mlp/fc1/bias',
    'blocks/mlp/fc2/kernel',
    'pooling/probe',
    'projection/kernel',
    'head/bias',
)


@dataclass(frozen=True)
class PretrainedNetwork:
    """A network with published weights.

    Attributes:
      module: the network; `module.clone(pooling='mean')` takes other features of the same variables.
      variables: {'params': ...}, float32.
      input: of its images.
      sha256: of the files of weights, hexadecimal.
    """

    module: VisionTransformer
    variables: dict[str, Any]
    input: ImageInput
    sha256: str


def read_vision_transformer(path: Path, *, classifier: bool = False) -> PretrainedNetwork:
    """Reads a vision transformer: DINOv2 (also with registers), CLIP, OpenCLIP, SigLIP, SigLIP 2, a plain ViT.

    Of networks of images and text the image part alone is read. Nothing in the files is run.

    Args:
      path: a folder as Hugging Face, timm or OpenCLIP store it, or a file of weights (.safetensors, .pth, .pt, .bin;
        big_vision's .npz), beside which its JSON files lie. Sharded weights are read by their index.
      classifier: whether the linear layer of classes is read, too.

    Raises:
      DataError: no such file, not such weights, or JSON files that are missing or do not fit them.
    """
    file = weights_file(path)
    where = str(file)
    configs = {name: config for name in _CONFIGS if (config := read_config(file.parent / name))}
    if 'config.json' in configs:
        check_kind(configs['config.json'])
    arrays, sha256 = read_folder_weights(file, left_out=_LEFT_OUT)
    tower = find_tower(arrays, where=where)
    described = describe(tower, configs, where=where)
    module = VisionTransformer(**_options(tower, described, where, classifier=classifier))
    size = tuple(side * module.patch for side in module.grid)
    image = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    shapes = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), image)['params'])
    values = tower_values(tower, {path: leaf.shape for path, leaf in shapes.items()}, where=where)
    images = described.input or ImageInput(size, size, 'bilinear', *STATISTICS['half'])  # big_vision
    return PretrainedNetwork(module, {'params': unflatten_dict(values)}, images, sha256)


def _options(tower: Tower, described: Description, where: str, *, classifier: bool) -> dict[str, Any]:
    """Attributes of `VisionTransformer`: what the arrays show, then what the config says."""
    patch, width = _patches(tower, where)
    size = {path: 0 if (array := tower.array(path)) is None else array.size for path in _SIZED}
    if not size['positions']:
        raise refused(where, 'no positions (DINOv3 and EVA have rotary ones, which are not read)', _ACTION)
    hidden = size['blocks/mlp/fc2/kernel'] // width
    options = {
        'patch': patch,
        'width': width,
        'blocks': tower.blocks,
        'heads': _heads(width, class_token=bool(size['class_token'])),
        'mlp_width': hidden,
        'class_token': bool(size['class_token']),
        'registers': size['registers'] // width,
        'pre_norm': bool(size['pre_norm/scale']),
        'layer_scale': bool(size['blocks/scale1']),
        'pooling': 'attention' if size['pooling/probe'] else 'class' if size['class_token'] else 'mean',
        'projection': size['projection/kernel'] // width or None,
        **described.options,
    }
    if hidden and size['blocks/mlp/fc1/bias'] == 2 * hidden:
        options['activation'] = 'swiglu'
    if classifier:
        options['num_classes'] = size['head/bias']
        if not size['head/bias']:
            raise refused(where, 'no classifier', 'read it without one')
    _check(options, described, where)
    cells = tuple(side // patch for side in described.side or ())
    before = options['class_token'] + options['registers']
    return options | {'grid': _grid(size['positions'] // width, before, cells, where)}


def _heads(width: int, *, class_token: bool) -> int:
    """Those of published networks: of 64 channels each, but 16 above a width of 1024; the giant of DINOv2 has 24."""
    return 16 if width > 1024 and (width, class_token) != (1536, True) else max(1, width // 64)


def _patches(tower: Tower, where: str) -> tuple[int, int]:
    """Side of the patches, and the width."""
    shape = tower.array('patches/kernel').shape
    sides, width = (shape[:2], shape[-1]) if tower.layout.flax else (shape[2:], shape[0])
    if len(shape) != 4 or sides[0] != sides[1] or not all(shape):
        raise refused(where, f'patches with weights {list(shape)} (NaFlex, for images of any shape?)', _ACTION)
    return sides[0], width


def _check(options: Mapping[str, Any], described: Description, where: str) -> None:
    for name, value in (described.expected or {}).items():
        if value != options[name]:
            raise refused(where, f'{name} {options[name]}, but its config says {value}', 'use the files of one network')
    width, heads = options['width'], options['heads']
    if width % heads:
        raise refused(where, f'a width of {width}, which {heads} heads cannot share', 'check its config')


def _grid(count: int, before: int, cells: tuple[int, ...], where: str) -> tuple[int, int]:
    """Rows and columns of positions, of which up to `before` are of other tokens: those of the config, or a square."""
    for extra in range(before + 1):
        if cells and math.prod(cells) + extra == count:
            return cells
    for extra in range(before + 1):
        if (side := math.isqrt(max(0, count - extra))) ** 2 == count - extra > 0:
            return side, side
    raise refused(where, f'{count} positions, which are no square', _ACTION)
