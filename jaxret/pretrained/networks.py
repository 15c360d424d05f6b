"""Weights under torchvision's (and timm's) names for the ResNets and AlexNet of `jaxret.encoders`.

Letters: H, W height and width of a kernel, h, w of AlexNet's last map, I and O input and output channels.

Kernels are [O, I, H, W] in PyTorch and [H, W, I, O] here, linear ones [O, I] and [I, O]; AlexNet's first linear layer
reads its map in the order channel, height, width there and height, width, channel here. Batch norm's running variance
is used as it is.
"""

import math
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jaxret.errors import DataError, Problem

FIRST_CONVOLUTIONS = ('random', 'mean', 'sum')
TreePath = tuple[str, ...]

_ALEXNET = {
    'conv1': 'features.0',
    'conv2': 'features.3',
    'conv3': 'features.6',
    'conv4': 'features.8',
    'conv5': 'features.10',
    'fc6': 'classifier.1',
    'fc7': 'classifier.4',
    'fc8': 'classifier.6',
}
_LEAVES = {'kernel': 'weight', 'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var'}
_PREFIXES = ('module.', 'backbone.')  # of data-parallel training, and of models that hold the network as a part
_RGB = 3


def network_weights(
    weights: Mapping[str, np.ndarray], network: Mapping[str, Any], *, where: str, first_convolution: str = 'random'
) -> dict[TreePath, np.ndarray]:
    """The values of a network's variables that a file gives.

    Names lose the prefixes 'module.' and 'backbone.'. Counters of batches, and the classifier where the network has
    none, are left out. A first convolution of as many input channels as the file's is taken as it is. That of RGB
    weights in a network of one channel (grey) is left as initialised ('random'), or the mean or the sum of the three;
    the sum gives what grey repeated to three channels gives. In a network of four channels (RGB and a mask) it is left
    as initialised ('random'), else the fourth channel starts with zeros ('mean', 'sum').

    Args:
      weights: by name.
      network: its variables {'params': ..., 'batch_stats': ...}, or their shapes.
      where: the file, for messages.
      first_convolution: 'random', 'mean' or 'sum'.

    Returns:
      float32 arrays by path ('params', module, ..., leaf), of the network's shapes; without what stays as initialised.

    Raises:
      DataError: names that are missing or unknown, other shapes, values that are no floats or not finite: all of them.
    """
    found, lines = _plain_names(weights)
    needed = {path: tuple(leaf.shape) for path, leaf in flatten_dict(dict(network)).items()}
    alexnet = ('params', 'fc6', 'kernel') in needed
    names = {path: _torch_name(path, alexnet=alexnet) for path in needed}
    values = {}
    for path, name in names.items():
        if name not in found:
            lines.append(f'{name}: absent there, {_text(needed[path])} here')
            continue
        array = found.pop(name)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            lines.append(f'{name}: values of type {array.dtype}, no floats')
            continue
        array = _transposed(array, path, needed)
        if path == ('params', 'conv1', 'kernel') and _only_channels_differ(array.shape, needed[path]):
            if first_convolution == 'random':
                continue
            array = _adapted(array, needed[path][2], first_convolution)
        if array.shape != needed[path]:
            lines.append(
                f'{name}: {_text(array.shape)} there, {_text(needed[path])} here (in the order of {"/".join(path)})'
            )
            continue
        with np.errstate(over='ignore', invalid='ignore'):
            values[path] = np.ascontiguousarray(array, np.float32)
        if not np.all(np.isfinite(values[path])):
            lines.append(f'{name}: values that are not finite in float32')
    lines += [
        f'{ascii(name)[1:-1]}: {_text(array.shape)} there, absent here'
        for name, array in found.items()
        if not _left_out(name, names.values())
    ]
    if lines:
        raise DataError(
            Problem(
                where,
                f'not the weights of this network; {len(lines)} entries do not fit:\n  ' + '\n  '.join(lines),
                'use weights of the network that config.model names'
                + (', and images of the size that they were trained on' if alexnet else ''),
            )
        )
    return values


def replace_values(
    variables: Mapping[str, Any], scope: TreePath, values: Mapping[TreePath, np.ndarray]
) -> dict[str, Any]:
    """Variables with some leaves replaced.

    Args:
      variables: {'params': tree, 'batch_stats': tree, ...} of a system.
      scope: modules from the top of each tree to the network.
      values: of `network_weights`.

    Raises:
      KeyError: a path that the variables have not.
    """
    wanted = {(path[0], *scope, *path[1:]): value for path, value in values.items()}
    keys, structure = jax.tree_util.tree_flatten_with_path(variables)
    leaves = []
    for key, leaf in keys:
        value = wanted.pop(tuple(entry.key for entry in key), None)
        leaves.append(leaf if value is None else jnp.asarray(value, leaf.dtype))
    if wanted:
        raise KeyError(f'no variables {", ".join("/".join(path) for path in wanted)}')
    return jax.tree.unflatten(structure, leaves)


def network_part(variables: Mapping[str, Any], scope: TreePath) -> dict[str, Any]:
    """Variables {'params': ..., 'batch_stats': ...} of the network at a scope (see `replace_values`)."""
    part = {}
    for collection in ('params', 'batch_stats'):
        tree = variables.get(collection, {})
        for name in scope:
            tree = tree.get(name, {})
        part[collection] = tree
    return part


def _plain_names(weights: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Weights without prefixes and counters, and a line for each name that is then there a second time."""
    found, lines = {}, []
    for full, array in weights.items():
        name = full
        while prefix := next((prefix for prefix in _PREFIXES if name.startswith(prefix)), ''):
            name = name.removeprefix(prefix)
        if name.endswith('num_batches_tracked'):
            continue
        if name in found:
            lines.append(f'{ascii(full)[1:-1]}: a second {ascii(name)[1:-1]}')
        found[name] = array
    return found, lines


def _torch_name(path: TreePath, *, alexnet: bool) -> str:
    """('params', 'layer1_0', 'downsample_bn', 'scale') -> 'layer1.0.downsample.1.weight'."""
    *modules, leaf = path[1:]
    if alexnet:
        modules = [_ALEXNET[module] for module in modules]
    else:
        modules = [
            {'downsample_conv': 'downsample.0', 'downsample_bn': 'downsample.1'}.get(module, module.replace('_', '.'))
            for module in modules
        ]
    return '.'.join((*modules, _LEAVES[leaf]))


def _transposed(array: np.ndarray, path: TreePath, needed: Mapping[TreePath, tuple[int, ...]]) -> np.ndarray:
    """A kernel in the order of Flax; one of another rank, which then fits nowhere, as it is."""
    if path[-1] != 'kernel' or array.ndim != len(needed[path]):
        return array
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if path[-2] == 'fc6':
        channels = needed['params', 'conv5', 'bias'][0]
        side = math.isqrt(array.shape[1] // channels)
        if channels * side * side == array.shape[1]:
            maps = array.reshape(array.shape[0], channels, side, side)
            return maps.transpose(2, 3, 1, 0).reshape(array.shape[::-1])
    return array.T


def _only_channels_differ(shape: tuple[int, ...], needed: tuple[int, ...]) -> bool:
    """Whether an RGB kernel [H, W, 3, O] is to become one of 1 or 4 input channels."""
    return (
        len(shape) == 4
        and (*shape[:2], shape[3]) == (*needed[:2], needed[3])
        and shape[2] == _RGB
        and needed[2] in (1, _RGB + 1)
    )


def _adapted(kernel: np.ndarray, channels: int, how: str) -> np.ndarray:
    """RGB kernel [H, W, 3, O] for 1 or 4 input channels."""
    kernel = kernel.astype(np.float32)
    if channels == 1:
        return (kernel.mean if how == 'mean' else kernel.sum)(axis=2, keepdims=True)
    return np.concatenate([kernel, np.zeros_like(kernel[:, :, :1])], axis=2)


def _left_out(name: str, names: Collection[str]) -> bool:
    """Whether a name is the classifier's, and the network has none."""
    return any(
        name in (f'{head}.weight', f'{head}.bias') and f'{head}.weight' not in names for head in ('fc', 'classifier.6')
    )


def _text(shape: tuple[int, ...]) -> str:
    return f'[{", ".join(map(str, shape))}]'
