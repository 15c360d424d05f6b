"""Weights under PyTorch's names (`jaxret.pretrained.torch_names`) for the image networks of `jaxret.encoders`.

Letters: H, W height and width of a kernel, h, w of AlexNet's last map, I and O input and output channels.

Kernels are [O, I, H, W] in PyTorch and [H, W, I, O] here, linear ones [O, I] and [I, O]; AlexNet's first linear layer
reads its map in the order channel, height, width there and height, width, channel here. Batch norm's running variance
is used as it is.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jaxret.errors import DataError, refused
from jaxret.pretrained.torch_names import FIRST_KERNELS, TreePath, of_missing_classifier, torch_names

FIRST_CONVOLUTIONS = ('random', 'mean', 'sum')
_WRAPPERS = ('module', '_orig_mod')  # of data-parallel training and of compilation: parts of names that say nothing
# Of several networks in a file, the one that its training was for (others are moving averages or targets).
_TRAINED = ('encoder_q', 'model', 'student', 'online_network', 'online_encoder')
_SHOWN = 3  # entries named in a message
_RGB = 3


def network_weights(
    weights: Mapping[str, np.ndarray],
    network: Mapping[str, Any],
    *,
    where: str,
    first_convolution: str = 'sum',
    whole: Mapping[str, Any] | None = None,
) -> dict[TreePath, np.ndarray]:
    """The values of a network's variables that a file gives.

    Names lose the prefix under which the file has the network (`find_network`). Counters of batches, and the classifier
    where the network has none, are left out. The first convolution is left as initialised ('random', whatever its
    channels, so that networks of one, three and four start alike) or taken ('mean', 'sum'): of as many input channels
    as the file's as it is; from RGB weights for one channel (grey) as the mean or the sum of the three, which gives
    what grey repeated to three channels gives; for four (RGB and a mask) with zeros for the fourth.

    Args:
      weights: by name.
      network: its variables {'params': ..., 'batch_stats': ...}, or their shapes.
      where: the file, for messages.
      first_convolution: 'random', 'mean' or 'sum'.
      whole: where the network is some segments of one that was cut, the variables of the one, or their shapes. The file
        has to fit it; what the segments lack is left out.

    Returns:
      float32 arrays by path ('params', module, ..., leaf), of the network's shapes; without what stays as initialised.

    Raises:
      DataError: names that are missing or unknown, other shapes, values that are no floats or not finite: their number
        and the first ones.
    """
    if whole is not None:
        values = network_weights(weights, whole, where=where, first_convolution=first_convolution)
        return {path: values[path] for path in flatten_dict(dict(network)) if path in values}
    part = find_network(weights, network, where=where)
    found, lines = dict(part.arrays), [*part.twice]
    needed = {path: tuple(leaf.shape) for path, leaf in flatten_dict(dict(network)).items()}
    alexnet = ('params', 'fc6', 'kernel') in needed
    names = torch_names(needed)
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
        other_channels = path in FIRST_KERNELS and _only_channels_differ(array.shape, needed[path])
        if path in FIRST_KERNELS and first_convolution == 'random' and (other_channels or array.shape == needed[path]):
            continue
        if other_channels:
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
        if not of_missing_classifier(name, names.values())
    ]
    if lines:
        raise _misfit(lines, where, alexnet=alexnet)
    return values


@dataclass(frozen=True)
class NetworkPart:
    """The entries of a file that are a network's.

    Attributes:
      arrays: by PyTorch's names in the network itself.
      prefix: what stands before these names in the file, as far as it says something ('encoder_q.'), or ''.
      others: names of the file's other entries.
      twice: what is said of names that mean the same as another one there.
    """

    arrays: Mapping[str, np.ndarray]
    prefix: str
    others: tuple[str, ...]
    twice: tuple[str, ...]


def find_network(weights: Mapping[str, np.ndarray], network: Mapping[str, Any], *, where: str) -> NetworkPart:
    """The network in a file, which may have it under any prefix, beside other entries.

    The parts 'module' and '_orig_mod' of names are left out wherever they stand. The prefix is the one under which most
    of the network's names are; counters of batches are left out.

    Args:
      weights: by name.
      network: its variables, or their shapes.
      where: the file, for messages.

    Raises:
      DataError: several prefixes have as many of its names, and none is known as that of the trained network.
    """
    needed = set(torch_names(flatten_dict(dict(network))).values())
    plain = {full: [part for part in full.split('.') if part not in _WRAPPERS] for full in weights}
    prefix = _prefix(plain.values(), needed, where)
    before = f'{prefix}.' if prefix else ''
    arrays, others, twice = {}, [], []
    for full, parts in plain.items():
        name = '.'.join(parts)
        if not name.startswith(before):
            others.append(full)
        elif not name.endswith('num_batches_tracked'):
            name = name.removeprefix(before)
            twice += [f'{ascii(full)[1:-1]}: a second {ascii(name)[1:-1]}'] if name in arrays else []
            arrays[name] = weights[full]
    return NetworkPart(arrays, before, tuple(others), tuple(twice))


def _prefix(names: Iterable[Sequence[str]], needed: Collection[str], where: str) -> str:
    """The parts of names, with '.' between, under which the network is; names are given as lists of parts."""
    longest = max(name.count('.') for name in needed) + 1
    counts = Counter(
        '.'.join(parts[:start])
        for parts in names
        for start in range(max(0, len(parts) - longest), len(parts))
        if '.'.join(parts[start:]) in needed
    )
    most = max(counts.values(), default=0)
    prefixes = [prefix for prefix, count in counts.items() if count == most] or ['']
    if len(prefixes) == 1:
        return prefixes[0]
    for name in ('', *_TRAINED):
        for prefix in prefixes:
            if prefix.rpartition('.')[2] == name:
                return prefix
    listed = ', '.join(ascii(prefix)[1:-1] for prefix in prefixes[:_SHOWN])
    raise refused(where, f'{len(prefixes)} such networks: {listed}', 'store the weights of one of them alone')


def replace_values(
    variables: Mapping[str, Any], scope: TreePath, values: Mapping[TreePath, np.ndarray]
) -> dict[str, Any]:
    """Variables with some leaves replaced, whether they are trained or frozen.

    Args:
      variables: {'params': tree, 'batch_stats': tree, ..., 'frozen': {'params': ..., ...}} of a system.
      scope: modules from the top of each tree to the network.
      values: of `network_weights`.

    Raises:
      KeyError: a path that the variables have not.
    """
    wanted = {(path[0], *scope, *path[1:]): value for path, value in values.items()}
    keys, structure = jax.tree_util.tree_flatten_with_path(variables)
    leaves = []
    for key, leaf in keys:
        path = tuple(entry.key for entry in key)
        value = wanted.pop(path[1:] if path[0] == 'frozen' else path, None)
        leaves.append(leaf if value is None else jnp.asarray(value, leaf.dtype))
    if wanted:
        raise KeyError(f'no variables {", ".join("/".join(path) for path in wanted)}')
    return jax.tree.unflatten(structure, leaves)


def network_part(variables: Mapping[str, Any], scope: TreePath) -> dict[str, Any]:
    """Variables {'params': ..., 'batch_stats': ...} of the network at a scope, trained and frozen ones together."""
    part = {}
    for collection in ('params', 'batch_stats'):
        trees = variables.get(collection, {}), variables.get('frozen', {}).get(collection, {})
        for name in scope:
            trees = tuple(tree.get(name, {}) for tree in trees)
        part[collection] = {**trees[0], **trees[1]}
    return part


def _misfit(lines: Sequence[str], where: str, *, alexnet: bool) -> DataError:
    """The number of the entries that do not fit, and the first of them."""
    entries = f'{len(lines)} entries do not fit' + (', such as ' if len(lines) > _SHOWN else ': ')
    images = ', and images of the size that they were trained on' if alexnet else ''
    action = f'use weights of the network that config.model names{images}'
    return refused(where, f'not the weights of this network; {entries}{"; ".join(lines[:_SHOWN])}', action)


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


def _text(shape: tuple[int, ...]) -> str:
    return f'[{", ".join(map(str, shape))}]'
