"""Text transformers of CLIP, OpenCLIP and SigLIP from local files: the network, its variables and its tokenizer."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxret.encoders.text_transformer import TextTransformer
from jaxret.errors import refused
from jaxret.pretrained.text_configs import TextDescription, describe_text
from jaxret.pretrained.tokenizer import Tokenizer, read_tokenizer
from jaxret.pretrained.vit_configs import check_kind
from jaxret.pretrained.vit_weights import Tower, find_tower, tower_values
from jaxret.pretrained.weight_folders import read_config, read_folder_weights, weights_file

_LEFT_OUT = re.compile(r'(^|[./])(visual|vision_model|img)[./]')  # image parts
_CONFIGS = ('config.json', 'open_clip_config.json', 'tokenizer_config.json')
_LOGITS = re.compile(r'(?:.*\.)?(logit_scale|logit_bias)')
_SIZED = ('tokens', 'positions', 'blocks/mlp/fc1/bias', 'blocks/scale1', 'projection/bias', 'projection/kernel')


@dataclass(frozen=True)
class PretrainedText:
    """A text transformer with published weights.

    Attributes:
      module: the network.
      variables: {'params': ...}, float32.
      tokenizer: of its texts.
      logit_scale: by which the cosine of a text and an image is multiplied; 1 where the file has none.
      logit_bias: that is added then; 0 where the file has none.
      sha256: of the files of weights, hexadecimal.
    """

    module: TextTransformer
    variables: dict[str, Any]
    tokenizer: Tokenizer
    logit_scale: float
    logit_bias: float
    sha256: str


def names_text(path: Path) -> bool:
    """Whether the JSON files beside weights are those of a network with a text part.

    Args:
      path: a folder, or the file of weights.

    Raises:
      DataError: one of them cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    config, open_clip = (read_config(folder / name) for name in _CONFIGS[:2])
    if config is not None and config.value('model_type', str, '') in ('clip', 'siglip'):
        return True
    return open_clip is not None and bool(open_clip.part('model_cfg').part('text_cfg').values)


def read_text_transformer(path: Path) -> PretrainedText:
    """Reads the text part of CLIP, OpenCLIP, SigLIP or SigLIP 2. Nothing in the files is run.

    Args:
      path: a folder as Hugging Face or OpenCLIP store it, or its file of weights; the JSON files and those of the
        tokenizer lie beside. Sharded weights are read by their index.

    Raises:
      ConfigError: the library of tokenizers (extra `text`) is not installed.
      DataError: no such file, no text part, or JSON files or a tokenizer that are missing or do not fit it.
    """
    file = weights_file(path)
    where = str(file)
    configs = {name: config for name in _CONFIGS if (config := read_config(file.parent / name))}
    if 'config.json' in configs:
        check_kind(configs['config.json'])
    arrays, sha256 = read_folder_weights(file, left_out=_LEFT_OUT)
    logits = {match[1]: array for name, array in arrays.items() if (match := _LOGITS.fullmatch(name))}
    tower = find_tower(_text_arrays(arrays), where=where, text=True)
    described = describe_text(tower, configs, where=where)
    module = TextTransformer(**_options(tower, described, where))
    tokens = jax.ShapeDtypeStruct((1, module.context), jnp.int32)
    shapes = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), tokens)['params'])
    values = tower_values(tower, {path: leaf.shape for path, leaf in shapes.items()}, where=where)
    tokenizer = read_tokenizer(
        file.parent, context=module.context, cleaning=described.cleaning, filled_seen=not module.causal
    )
    _check_tokenizer(tokenizer, module, file.parent)
    scale = math.exp(_number(logits.get('logit_scale'), where))
    return PretrainedText(
        module, {'params': unflatten_dict(values)}, tokenizer, scale, _number(logits.get('logit_bias'), where), sha256
    )


def _text_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those that may be the text part's; OpenCLIP's projection in the order that linear layers have in PyTorch."""
    return {
        name: array.T if re.fullmatch(r'(.*\.)?text_projection', name) else array
        for name, array in arrays.items()
        if not _LEFT_OUT.search(name) and not _LOGITS.fullmatch(name)
    }


def _options(tower: Tower, described: TextDescription, where: str) -> dict[str, Any]:
    """Attributes of `TextTransformer`: what the arrays show, then what the config says."""
    shape = {path: () if (array := tower.array(path)) is None else array.shape for path in _SIZED}
    if len(shape['tokens']) != 2 or len(shape['projection/kernel']) != 2:
        found = 'a text part without projection, so in no space with images'
        raise refused(where, found, 'use the weights of CLIP or SigLIP, images and texts in one')
    vocabulary, width = shape['tokens']
    options = {
        'vocabulary': vocabulary,
        'width': width,
        'context': math.prod(shape['positions']) // max(1, width),
        'blocks': tower.blocks,
        'mlp_width': math.prod(shape['blocks/mlp/fc1/bias']),
        'projection': shape['projection/kernel'][0],
        'projection_bias': bool(shape['projection/bias']),
        'layer_scale': bool(shape['blocks/scale1']),
        **described.options,
    }
    for name, value in described.expected.items():
        if value != options[name]:
            raise refused(where, f'{name} {options[name]}, but its config says {value}', 'use the files of one network')
    if width % options['heads']:
        found = f'a width of {width}, which {options["heads"]} heads cannot share'
        raise refused(where, found, 'check its config')
    return options


def _check_tokenizer(tokenizer: Tokenizer, module: TextTransformer, folder: Path) -> None:
    """Raises DataError for a tokenizer of another network, as far as a text's tokens show it."""
    tokens = tokenizer.encode(['a'])[0]
    action = 'use the tokenizer that is published with the weights'
    if tokens.max() >= module.vocabulary:
        found = f'a tokenizer that gives token {tokens.max()}, for a network that has {module.vocabulary}'
        raise refused(str(folder), found, action)
    if module.pooling == 'end' and module.end not in tokens:
        raise refused(str(folder), f'a tokenizer that does not end a text with token {module.end}', action)


def _number(array: np.ndarray | None, where: str) -> float:
    if array is None:
        return 0.0
    if array.size != 1 or not math.isfinite(value := float(array.reshape(-1)[0])) or abs(value) > 100:
        raise refused(where, 'a logit scale or bias that is no usual number', 'get the file anew from its authors')
    return value
