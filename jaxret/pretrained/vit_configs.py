"""What the JSON files beside weights say: of the network what its arrays do not show, and how images are prepared."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxret.encoders.vit import STATISTICS
from jaxret.errors import DataError, refused
from jaxret.pretrained.vit_weights import Tower

Config = Mapping[str, Any]
_ACTIVATIONS = {
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
_ORIGINAL = 'keep the JSON files as they were beside the weights'


@dataclass(frozen=True)
class ImageInput:
    """How an image becomes the input of a network: scaled, cut, brought to [0, 1], normalised.

    Attributes:
      size: height and width in pixels of the part in the middle that is cut out.
      resize: pixels of the shorter side that the image is scaled to before, or height and width that it is squashed to.
      interpolation: of the scaling: 'nearest', 'lanczos', 'bilinear' or 'bicubic', with antialiasing, as Pillow does.
      mean, std: of the red, green and blue channel, subtracted and divided by.
    """

    size: tuple[int, int]
    resize: int | tuple[int, int]
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Description:
    """Of a network what its arrays do not show.

    Attributes:
      options: attributes of `VisionTransformer` by name; without those that nothing is said of.
      side: height and width in pixels of the images that its positions are for; None where nothing is said.
      expected: what the config says of the sizes that the arrays show, by attribute.
      input: of its images; None where nothing is said.
    """

    options: Mapping[str, Any]
    side: tuple[int, int] | None = None
    expected: Mapping[str, int] | None = None
    input: ImageInput | None = None


class Reader:
    """Values of a JSON object by key, with messages that name file and key."""

    def __init__(self, values: Config, where: str):
        self.values, self.where = values, where

    def part(self, key: str, default: Config | None = None) -> 'Reader':
        return Reader(self.get(key, dict, {} if default is None else default), f'{self.where}: {key}')

    def get(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.refuse(key, f'{value!r:.100}')
        return value

    def sides(self, key: str, default: Any = None) -> tuple[int, int] | None:
        """Height and width, given as one number or two."""
        value = self.get(key, (int, list), default)
        pair = (value, value) if isinstance(value, int) else tuple(value or ())
        if pair and (len(pair) != 2 or not all(type(side) is int and 0 < side < 1 << 16 for side in pair)):
            raise self.refuse(key, f'{value!r:.100}')
        return pair or None

    def channels(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        values = self.get(key, list, list(default))
        if len(values) != 3 or not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            raise self.refuse(key, f'{values!r:.100}')
        return tuple(map(float, values))

    def choice(self, key: str, choices: Mapping[str, str], default: str) -> str:
        value = self.get(key, str, default)
        if value not in choices:
            raise self.refuse(key, f'{value!r:.100}, not one of {", ".join(choices)}')
        return choices[value]

    def refuse(self, key: str, found: str) -> DataError:
        return refused(f'{self.where}: {key}', found, _ORIGINAL)


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
_EXPECTED = {'width': 'hidden_size', 'blocks': 'num_hidden_layers', 'patch': 'patch_size'}


def hugging_face(family: str, config: Reader | None, preprocessing: Reader | None, *, registers: bool) -> Description:
    """Of config.json and preprocessor_config.json.

    Args:
      family: 'dinov2', 'clip', 'siglip' or 'vit', as the arrays show.
      config: None where there is none.
      preprocessing: None where there is none: what the family's published networks have.
      registers: whether the network has some.
    """
    default = _FAMILIES[family]
    vision, heads = Reader({}, ''), {}
    if config is not None:
        if _MODEL_TYPES.get(config.get('model_type', str, '')) != family:
            raise config.refuse('model_type', f'{config.values["model_type"]!r:.100}, but the weights are of {family}')
        vision = config.part('vision_config') if 'vision_config' in config.values else config
        heads = {'heads': vision.get('num_attention_heads', int, 12)}
    side = None if config is None and default.size else vision.sides('image_size', 224)
    return Description(
        options={
            'activation': vision.choice('hidden_act', _ACTIVATIONS, default.activation),
            'epsilon': vision.get('layer_norm_eps', (int, float), default.epsilon),
            'resampling': 'bicubic_antialias' if registers else 'bicubic',
            **heads,
        },
        side=side,
        expected={name: vision.values[key] for name, key in _EXPECTED.items() if key in vision.values},
        input=_preprocessing(default, default.size or side, preprocessing or Reader({}, '')),
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
    factor = values.get('rescale_factor', (int, float), None)
    if not values.get('do_rescale', bool, None) or not math.isclose(factor, 1 / 255, rel_tol=1e-3):
        raise values.refuse('rescale_factor', f'{factor}: images that are not brought to [0, 1]')
    number = values.get('resample', int, None)
    if not 0 <= number < len(_INTERPOLATIONS):
        raise values.refuse('resample', f'{number}')
    cut, resize = values.get('do_center_crop', bool, None), _edges(values, 'size')
    if isinstance(values.values['size'], int) and not cut:
        resize = (resize, resize)
    size = _edges(values, 'crop_size') if cut else resize
    normalised = values.get('do_normalize', bool, None)
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


def describe(tower: Tower, configs: Mapping[str, Reader], *, where: str) -> Description:
    """What the JSON files say of a network.

    Args:
      tower: its arrays.
      configs: by the names of their files, those that there are.
      where: the file of weights, for messages.

    Raises:
      DataError: one is missing that says what nothing else does, is of another network, or of one that is not read.
    """
    config = configs.get('config.json')
    if config is not None:
        kind = config.get('model_type', str, '')
        if kind in _REFUSED:
            raise config.refuse('model_type', f'{kind}, {_REFUSED[kind]}')
        if 'quantization_config' in config.values:
            raise config.refuse('quantization_config', 'quantised weights, which are not read')
    kind = tower.layout.kind
    if kind in ('dinov2', 'vit', 'clip'):
        family = 'siglip' if kind == 'clip' and tower.array('class_token') is None else kind
        if config is None or 'model_type' not in config.values:
            config = None
            if family in ('clip', 'vit'):
                raise _missing(where, 'config.json')
        preprocessing = configs.get('preprocessor_config.json')
        if preprocessing is None and 'processor_config.json' in configs:
            preprocessing = configs['processor_config.json'].part('image_processor')
        return hugging_face(family, config, preprocessing, registers=tower.array('registers') is not None)
    raise _missing(where, 'config.json')


def _missing(where: str, name: str) -> DataError:
    found = f'no {name} of this network beside it, which says its activation, its heads and how images are prepared'
    return refused(where, found, f'put {name} beside the weights')
