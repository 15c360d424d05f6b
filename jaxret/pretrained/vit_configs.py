"""What the JSON files beside weights say: of the network what its arrays do not show, and how images are prepared."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from jaxret.encoders.vit import STATISTICS
from jaxret.errors import refused
from jaxret.pretrained.network_configs import Description, ImageInput, Reader
from jaxret.pretrained.vit_weights import Tower

# Names in JSON files -> keys of `jaxret.encoders.transformer.ACTIVATIONS`.
ACTIVATIONS = {
    'gelu': 'gelu',
    'gelu_new': 'gelu_tanh',
    'gelu_pytorch_tanh': 'gelu_tanh',
    'quick_gelu': 'quick_gelu',
    'quickgelu': 'quick_gelu',
}
_REFUSED = {
    'dinov3_vit': 'DINOv3, whose rotary positions are not read',
    'siglip2': 'SigLIP 2 for images of any shape (NaFlex); that of a fixed size is read',
    'siglip2_vision_model': 'SigLIP 2 for images of any shape (NaFlex); that of a fixed size is read',
}
_INTERPOLATIONS = ('nearest', 'lanczos', 'bilinear', 'bicubic')  # in the order of Pillow's numbers


@dataclass(frozen=True)
class _Family:
    """What Hugging Face's classes, and published networks, have where a config is silent.

    Attributes:
      resize, size: of the images in pixels, where it is not that of the positions.
    """

    activation: str
    epsilon: float
    statistics: str
    squash: bool = False
    interpolation: str = 'bicubic'
    resize: int | None = None
    size: tuple[int, int] | None = None


_FAMILIES = {
    'dinov2': _Family('gelu', 1e-6, 'imagenet', resize=256, size=(224, 224)),
    'clip': _Family('quick_gelu', 1e-5, 'clip'),
    'siglip': _Family('gelu_pytorch_tanh', 1e-6, 'half', squash=True),
    'vit': _Family('gelu', 1e-12, 'half', squash=True, interpolation='bilinear'),
}
_MODEL_TYPES = {
    'dinov2': 'dinov2',
    'dinov2_with_registers': 'dinov2',
    'clip': 'clip',
    'clip_vision_model': 'clip',
    'siglip': 'siglip',
    'siglip_vision_model': 'siglip',
    'vit': 'vit',
}
# Parts of names of timm's architectures that have another activation than the exact GELU, or other heads than others of
# their width.
_TIMM_ACTIVATIONS = {
    'quickgelu': 'quick_gelu',
    r'patch32_siglip|giantopt|so400m_patch16_siglip|large_patch16_siglip(_gap)?_512': 'gelu_tanh',
}
_TIMM_SIXTEEN_HEADS = r'giantopt|vit_base_patch16_gap'
_TIMM_POOLINGS = {'token': 'class', 'avg': 'mean', 'map': 'attention', '': ''}
_EXPECTED = {'width': 'hidden_size', 'blocks': 'num_hidden_layers', 'patch': 'patch_size'}


def _hugging_face(tower: Tower, configs: Mapping[str, Reader], family: str) -> Description:
    """Of config.json and preprocessor_config.json; where these are missing or silent, what the family has."""
    default, config = _FAMILIES[family], configs.get('config.json', Reader({}, ''))
    vision, heads = config, {}
    if kind := config.value('model_type', str, ''):
        if _MODEL_TYPES.get(kind) != family:
            raise config.refuse('model_type', f'{config.values["model_type"]!r:.100}, but the weights are of {family}')
        vision = config.part('vision_config') if 'vision_config' in config.values else config
        heads = {'heads': vision.count('num_attention_heads', 12)}
    preprocessing = configs.get('preprocessor_config.json')
    if preprocessing is None:
        preprocessing = configs.get('processor_config.json', Reader({}, '')).part('image_processor')
    side = vision.sides('image_size', 224) if heads else None
    return Description(
        options={
            'activation': vision.choice('hidden_act', ACTIVATIONS, default.activation),
            'epsilon': vision.fraction('layer_norm_eps', default.epsilon),
            'resampling': 'bicubic' if tower.array('registers') is None else 'bicubic_antialias',
            **heads,
        },
        side=side,
        expected={name: value for name, key in _EXPECTED.items() if isinstance(value := vision.values.get(key), int)},
        input=_preprocessing(default, default.size or side or (224, 224), preprocessing),
    )


def _preprocessing(default: _Family, side: tuple[int, int], given: Reader) -> ImageInput:
    whole = dict(zip(('height', 'width'), side, strict=True))
    mean, std = STATISTICS[default.statistics]
    defaults = {
        'size': whole if default.squash else {'shortest_edge': default.resize or min(side)},
        'crop_size': whole,
        'do_center_crop': not default.squash,
        'resample': _INTERPOLATIONS.index(default.interpolation),
        'do_rescale': True,
        'rescale_factor': 1 / 255,
        'do_normalize': True,
        'image_mean': list(mean),
        'image_std': list(std),
    }
    values = Reader(defaults | {key: value for key, value in given.values.items() if value is not None}, given.where)
    factor = values.value('rescale_factor', (int, float), None)
    if not values.value('do_rescale', bool, None) or not math.isclose(factor, 1 / 255, rel_tol=1e-3):
        raise values.refuse('rescale_factor', f'{factor}: images that are not brought to [0, 1]')
    number = values.value('resample', int, None)
    if not 0 <= number < len(_INTERPOLATIONS):
        raise values.refuse('resample', f'{number}')
    cut, resize = values.value('do_center_crop', bool, None), _edges(values, 'size')
    if isinstance(values.values['size'], int) and not cut:
        resize = (resize, resize)
    size = _edges(values, 'crop_size') if cut else resize
    normalised = values.value('do_normalize', bool, None)
    return ImageInput(
        size if isinstance(size, tuple) else (size, size),
        resize,
        _INTERPOLATIONS[number],
        values.channels('image_mean', ()) if normalised else (0.0,) * 3,
        values.channels('image_std', ()) if normalised else (1.0,) * 3,
    )


def _edges(values: Reader, key: str) -> int | tuple[int, int]:
    """The shorter side, or height and width."""
    if not isinstance(values.values[key], dict):
        return values.sides(key)[0]
    part = values.part(key)
    if short := part.sides('shortest_edge'):
        return short[0]
    height, width = part.sides('height'), part.sides('width')
    if not height or not width:
        raise values.refuse(key, f'{part.values!r:.100}, neither a shortest edge nor height and width')
    return height[0], width[0]


def _timm(tower: Tower, config: Reader) -> Description:
    """Of timm's config.json; the activation goes by the name of the architecture."""
    name, arguments = config.value('architecture', str, ''), config.part('model_args')
    if 'rpn' in name or arguments.value('pool_include_prefix', bool, False):
        raise config.refuse('architecture', f'{name!r:.100}, which is not read')
    norm_last = 'fc_norm.' in tower.files.get('norm.weight', '')
    pooling = config.choice('global_pool', _TIMM_POOLINGS, '') or arguments.choice('global_pool', _TIMM_POOLINGS, '')
    said, heads = {}, 16 if re.search(_TIMM_SIXTEEN_HEADS, name) else 0
    if heads or 'num_heads' in arguments.values:
        said['heads'] = arguments.count('num_heads', heads)
    if pooling or norm_last:
        said['pooling'] = pooling or 'mean'
    images = _timm_input(config.part('pretrained_cfg') if 'pretrained_cfg' in config.values else config)
    return Description(
        options={
            'activation': next((kind for part, kind in _TIMM_ACTIVATIONS.items() if re.search(part, name)), 'gelu'),
            'resampling': 'bicubic_antialias',
            'epsilon': 1e-6 if tower.array('pre_norm/scale') is None else 1e-5,
            'norm_last': norm_last,
            **said,
        },
        side=arguments.sides('img_size') or images.size,
        input=images,
    )


def _timm_input(given: Reader) -> ImageInput:
    shape = given.value('input_size', list, [3, 224, 224])
    side = Reader({'input_size': shape[1:]}, given.where).sides('input_size') or (224, 224)
    cut, mode = given.fraction('crop_pct', 0.875), given.value('crop_mode', str, 'center')
    if cut < 0.1 or mode not in ('center', 'squash') or (mode == 'center' and side[0] != side[1]):
        raise given.refuse('crop_mode', f'{mode!r:.100} with crop_pct {cut} of images {list(side)}, which is not read')
    resize = tuple(math.floor(length / cut) for length in side)
    mean, std = STATISTICS['imagenet']
    return ImageInput(
        side,
        resize if mode == 'squash' else resize[0],
        given.choice('interpolation', {name: name for name in _INTERPOLATIONS}, 'bicubic'),
        given.channels('mean', mean),
        given.channels('std', std),
    )


def _open_clip(tower: Tower, config: Reader) -> Description:
    """Of open_clip_config.json."""
    model, given = config.part('model_cfg'), config.part('preprocess_cfg')
    vision = model.part('vision_cfg')
    side = vision.sides('image_size', 224)
    if vision.value('attentional_pool', (bool, str), False):
        raise vision.refuse('attentional_pool', 'pooling by attention (CoCa), which is not read')
    name = vision.value('timm_model_name', str, '')
    if bool(name) != (tower.layout.kind == 'timm'):
        raise vision.refuse('timm_model_name', f'{name!r:.100}, but the weights are those of {tower.layout.kind}')
    if name:
        vision.choice('timm_proj', {'linear': None, 'none': None}, 'linear')
        if vision.value('timm_proj_bias', bool, False):
            raise vision.refuse('timm_proj_bias', 'a projection with a bias, which is not read')
        named = {'architecture': name, 'global_pool': vision.value('timm_pool', str, 'avg')}
        options, expected = _timm(tower, Reader(named, config.where)).options, {}
    else:
        approximate = vision.part('act_kwargs').value('approximate', str, 'none')
        quick = model.value('quick_gelu', bool, False)
        width = vision.count('width', 768)
        options = {
            'activation': 'quick_gelu' if quick else 'gelu_tanh' if approximate == 'tanh' else 'gelu',
            'epsilon': vision.part('norm_kwargs').fraction('eps', 1e-5),
            'resampling': 'bicubic_antialias',
            'heads': width // vision.count('head_width', 64),
            'pooling': vision.choice('pool_type', {'tok': 'class', 'avg': 'mean'}, 'tok'),
        }
        options['norm_last'] = options['pooling'] == 'mean' and vision.value('final_ln_after_pool', bool, False)
        expected = {'width': width, 'blocks': vision.count('layers', 12), 'patch': vision.count('patch_size', 16)}
    mean, std = STATISTICS['clip']
    return Description(
        options,
        side,
        expected,
        ImageInput(
            side,
            given.choice('resize_mode', {'shortest': min(side), 'squash': side}, 'shortest'),
            given.choice('interpolation', {name: name for name in ('bicubic', 'bilinear')}, 'bicubic'),
            given.channels('mean', mean),
            given.channels('std', std),
        ),
    )


def _meta(tower: Tower) -> Description:
    """DINOv2 of Meta has no JSON files."""
    default, registers = _FAMILIES['dinov2'], tower.array('registers') is not None
    options = {
        'activation': default.activation,
        'epsilon': default.epsilon,
        'resampling': 'bicubic_antialias' if registers else 'bicubic_offset',
    }
    return Description(options, input=_preprocessing(default, default.size, Reader({}, '')))


def _big_vision(tower: Tower) -> Description:
    """big_vision has no JSON files, either; the attention's arrays show the heads."""
    options = {'activation': 'gelu_tanh', 'epsilon': 1e-6, 'resampling': 'bilinear_corners'}
    kernel = tower.array('blocks/attention/qkv/kernel')
    return Description(options if kernel is None or kernel.ndim != 3 else options | {'heads': kernel.shape[1]})


def describe(tower: Tower, configs: Mapping[str, Reader], *, where: str) -> Description:
    """What the JSON files say of a network.

    Args:
      tower: its arrays.
      configs: by the names of their files, those that there are.
      where: the file of weights, for messages.

    Raises:
      DataError: one is missing that says what nothing else does, is of another network, or of one that is not read.
    """
    kind, config, open_clip = tower.layout.kind, configs.get('config.json'), configs.get('open_clip_config.json')
    keys = config.values if config else {}
    if kind in ('dinov2', 'vit', 'clip'):
        family = 'siglip' if kind == 'clip' and tower.array('class_token') is None else kind
        if keys.get('model_type') or family in ('dinov2', 'siglip'):
            return _hugging_face(tower, configs, family)
    elif kind == 'big_vision':
        return _big_vision(tower)
    elif kind == 'timm' and 'mask_token' in tower.arrays:
        return _meta(tower)
    elif kind == 'timm' and keys.get('architecture'):
        return _timm(tower, config)
    elif open_clip is not None:
        return _open_clip(tower, open_clip)
    name = 'open_clip_config.json' if kind == 'open_clip' else 'config.json'
    found = f'no {name} of this network beside it, which says its activation, its heads and how images are prepared'
    raise refused(where, found, f'put {name} beside the weights')


def check_kind(config: Reader) -> None:
    """Refuses, by config.json, networks that are known not to be read."""
    kind = config.value('model_type', str, '')
    if kind in _REFUSED:
        raise config.refuse('model_type', f'{kind}, {_REFUSED[kind]}')
    if 'quantization_config' in config.values:
        raise config.refuse('quantization_config', 'quantised weights, which are not read')
