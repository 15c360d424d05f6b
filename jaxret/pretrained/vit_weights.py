"""The transformer of images or of texts in a file of weights: found by its names, and its arrays in our order.

Letters: H, W height and width of a kernel, I and O input and output channels, D width.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxret.errors import refused
from jaxret.pretrained.vit_layouts import BESIDE, LAYOUTS, TEXT_LAYOUTS, Layout, layout_names

Arrays = Mapping[str, np.ndarray]
_SHOWN = 3  # entries named in a message
_WRAPPERS = ('module', '_orig_mod')  # of data-parallel training and of compilation: parts of names that say nothing
_ACTION = 'use weights of DINOv2, CLIP, SigLIP or a plain ViT'
_TEXT_ACTION = 'use weights of CLIP, OpenCLIP or SigLIP with their text part'
_TOKENS = ('class_token', 'registers')
_OTHERS = {
    r'rope_embed|storage_tokens|(^|\.)layer\.0\.attention\.q_proj': 'DINOv3, whose rotary positions are not read',
    r'(^|\.)layer1\.0\.conv1\.weight$': 'a ResNet',
    r'qweight|weight_scale|\.absmax|\.SCB$': 'quantised weights',
}
_IGNORED = re.compile(
    r'(.*mask_token|.*position_ids|pooler\..*|pre_logits\..*|head\.(weight|bias|kernel)|classifier\..*|decoder.*)'
)


class Tower(NamedTuple):
    """A transformer in a file.

    Attributes:
      layout: of its names.
      arrays: by the layout's names.
      files: the file's names, by the layout's.
    """

    layout: Layout
    arrays: Arrays
    files: Mapping[str, str]

    def array(self, path: str) -> np.ndarray | None:
        """That of a parameter, by its path here ('blocks/norm1/scale' for the first block's); None for none."""
        names = layout_names(self.layout, path)
        return self.arrays.get(names[0]) if names else None

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        pattern = re.escape(layout_names(self.layout, 'blocks/norm1/bias')[0]).replace('0', r'(\d+)', 1)
        return sum(bool(re.fullmatch(pattern, name)) for name in self.arrays)


def find_tower(arrays: Arrays, *, where: str, text: bool = False) -> Tower:
    """The transformer in a file, which may have it under any prefix, beside other networks.

    The parts 'module' and '_orig_mod' of names are left out wherever they stand.

    Args:
      arrays: by the file's names.
      where: the file, for messages.
      text: whether that of texts is meant, not that of images.

    Raises:
      DataError: none, several, or one that is known not to be read.
    """
    kind, action = ('text transformer', _TEXT_ACTION) if text else ('vision transformer', _ACTION)
    layouts, first = (TEXT_LAYOUTS, 'tokens') if text else (LAYOUTS, 'patches/kernel')
    found = [candidate for layout in layouts for candidate in _candidates(arrays, layout, first)]
    if not found:
        raise refused(where, f'no {kind} of a known layout ({_content(arrays)})', action)
    if len(found) > 1:
        listed = ', '.join(ascii(prefix)[1:-1] for _, prefix, _ in found[:_SHOWN])
        raise refused(where, f'{len(found)} {kind}s: {listed}', 'store the weights of one of them alone')
    layout, prefix, files = found[0]
    own = {name.removeprefix(prefix): file for name, file in files.items() if name.startswith(prefix)}
    parent = re.sub(r'[^.]+\.$', '', prefix)
    names = (name for leaf in ('kernel', 'bias') for name in layout_names(layout, f'projection/{leaf}'))
    for name in names if prefix else ():
        if (beside := parent + name.removeprefix(BESIDE)) in files:
            own.setdefault(name, files[beside])
    return Tower(layout, {name: arrays[file] for name, file in own.items()}, own)


def _candidates(arrays: Arrays, layout: Layout, first: str) -> list[tuple[Layout, str, dict[str, str]]]:
    """Networks of a layout that have a parameter: it, what stands before their names, and the file's names by the
    layout's.
    """
    first, second = (layout_names(layout, path)[0] for path in (first, 'blocks/norm1/scale'))
    files = {_plain(name, layout): name for name in arrays}
    prefixes = {name.removesuffix(first) for name in files if re.search(rf'(^|\.){re.escape(first)}$', name)}
    return [(layout, prefix, files) for prefix in sorted(prefixes) if prefix + second in files]


def _plain(name: str, layout: Layout) -> str:
    name = '.'.join(part for part in name.split('.') if part not in _WRAPPERS)
    for pattern, other in layout.renamed:
        name = re.sub(pattern, other, name)
    return name


def _content(arrays: Arrays) -> str:
    for pattern, text in _OTHERS.items():
        if any(re.search(pattern, name) for name in arrays):
            return f'its names are those of {text}'
    if not arrays:
        return 'nothing but other parts'
    return f'{len(arrays)} entries, such as {", ".join(ascii(name)[1:-1] for name in list(arrays)[:_SHOWN])}'


def tower_values(
    tower: Tower, shapes: Mapping[tuple[str, ...], Sequence[int]], *, where: str
) -> dict[tuple[str, ...], np.ndarray]:
    """The values of a module's parameters.

    Args:
      tower: the file's.
      shapes: of the parameters, by path ('blocks_0', 'norm1', 'scale').
      where: the file, for messages.

    Returns:
      float32 arrays by path.

    Raises:
      DataError: names that are missing or unknown, other shapes, values that are no floats or not finite: their number
        and the first ones.
    """
    arrays = {**tower.arrays, **_tokens(tower, shapes)}
    lines, values, used = [], {}, set()
    for path, shape in shapes.items():
        names, order = _located(tower.layout, '/'.join(path))
        used.update(names)
        absent = [name for name in names or ('/'.join(path),) if name not in arrays]
        if absent:
            lines += [f'{name}: absent there, {list(shape)} here' for name in absent]
            continue
        values[path] = _array([arrays[name] for name in names], path[-1], shape, order)
        if problem := _problem(values[path], shape):
            lines.append(f'{ascii(tower.files[names[0]])[1:-1]}: {problem}')
    unused = [name for name in arrays if name not in used and not _IGNORED.fullmatch(name)]
    lines += [f'{ascii(tower.files[name])[1:-1]}: {list(arrays[name].shape)} there, absent here' for name in unused]
    if lines:
        entries = f'{len(lines)} entries do not fit' + (', such as ' if len(lines) > _SHOWN else ': ')
        kind, action = ('text', _TEXT_ACTION) if ('tokens',) in shapes else ('vision', _ACTION)
        found = f'not the weights of a {kind} transformer that is known; {entries}{"; ".join(lines[:_SHOWN])}'
        raise refused(where, found, action)
    return values


def _located(layout: Layout, path: str) -> tuple[tuple[str, ...], str]:
    """Names of the parts of a parameter, and the order of their axes: 'Flax', 'PyTorch', or '' for ours."""
    block = re.match(r'blocks_(\d+)/', path)
    path = path if block is None else f'blocks/{path[block.end() :]}'
    order = '' if path in layout.names else 'Flax' if layout.flax else 'PyTorch'
    return layout_names(layout, path, 0 if block is None else int(block[1])), order


def _tokens(tower: Tower, shapes: Mapping[tuple[str, ...], Sequence[int]]) -> dict[str, np.ndarray]:
    """Positions of the patches alone, and the other tokens with theirs added, by the layout's names.

    Positions of the class token, then of the registers, stand before those of the patches, where there are any.
    """
    *sides, width = shapes['positions',]
    names = {path: layout_names(tower.layout, path)[0] for path in ('positions', *_TOKENS) if (path,) in shapes}
    arrays = {path: tower.arrays.get(name) for path, name in names.items()}
    if any(array is None or _problem(array) or array.shape[-1] != width for array in arrays.values()):
        return {}  # reported like all others
    arrays = {path: array.astype(np.float32).reshape(-1, width) for path, array in arrays.items()}
    positions = arrays['positions']
    before = len(positions) - math.prod(sides)
    for path in _TOKENS:
        if path in arrays and before > 0:
            count = min(before, len(arrays[path]))
            arrays[path] = arrays[path] + np.pad(positions[:count], ((0, len(arrays[path]) - count), (0, 0)))
            positions, before = positions[count:], before - count
    return {names[path]: array for path, array in (arrays | {'positions': positions}).items()}


def _array(parts: Sequence[np.ndarray], leaf: str, shape: Sequence[int], order: str) -> np.ndarray:
    """Parts of a kernel, bias or parameter as one float32 array in the order that it has here.

    One that then has not the shape, or parts that are no floats or do not fit each other, are given as they are.
    """
    for part in parts:
        if _problem(part):
            return part
    arrays = [_in_order(part.astype(np.float32), leaf, shape, order) for part in parts]
    if len({array.shape[:-1] for array in arrays}) > 1 or arrays[0].ndim == 0:
        return arrays[0]
    return np.ascontiguousarray(np.concatenate(arrays, axis=-1))


def _in_order(array: np.ndarray, leaf: str, shape: Sequence[int], order: str) -> np.ndarray:
    """A part; the parts are concatenated along the last axis."""
    if leaf == 'bias':
        return array.ravel()
    if leaf == 'kernel' and order == 'PyTorch':
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if leaf == 'kernel':
        flat = order == 'Flax' and len(shape) == 2 and shape[0] > 0 and array.size % shape[0] == 0
        return array.reshape(shape[0], -1) if flat else array
    return array.reshape(shape) if array.size == math.prod(shape) else array


def _problem(array: np.ndarray, shape: Sequence[int] | None = None) -> str:
    """What is wrong with an array that is to have a shape, or ''."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return f'values of type {array.dtype}, no floats (quantised weights are not read)'
    if shape is None:
        return ''
    if array.shape != tuple(shape):
        return f'{list(array.shape)} there, {list(shape)} here'
    return '' if np.all(np.isfinite(array)) else 'values that are not finite in float32'
