"""Values of the JSON files beside weights, and what they say of a network and of its images."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxret.errors import DataError, refused


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

    def __init__(self, values: Mapping[str, Any], where: str):
        self.values, self.where = values, where

    def part(self, key: str) -> 'Reader':
        return Reader(self.value(key, dict, {}), f'{self.where}: {key}')

    def value(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self.values.get(key)
        if value is None:
            return default
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise self.refuse(key, f'{value!r:.100}')
        return value

    def count(self, key: str, default: int) -> int:
        value = self.value(key, int, default)
        if not 0 < value < 1 << 16:
            raise self.refuse(key, str(value)[:100])
        return value

    def sides(self, key: str, default: Any = None) -> tuple[int, int] | None:
        """Height and width, given as one number or two."""
        value = self.value(key, (int, list), default)
        if value is None:
            return None
        pair = (value, value) if isinstance(value, int) else tuple(value)
        if len(pair) != 2 or not all(type(side) is int and 0 < side < 1 << 16 for side in pair):
            raise self.refuse(key, f'{value!r:.100}')
        return pair

    def fraction(self, key: str, default: float) -> float:
        value = self.value(key, (int, float), default)
        if not 0 < value <= 1:
            raise self.refuse(key, f'{value!r:.100}')
        return float(value)

    def channels(self, key: str, default: tuple[float, ...]) -> tuple[float, ...]:
        values = self.value(key, list, list(default))
        if len(values) != 3 or not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            raise self.refuse(key, f'{values!r:.100}')
        return tuple(map(float, values))

    def choice(self, key: str, choices: Mapping[str, Any], default: str) -> Any:
        value = self.value(key, str, default)
        if value not in choices:
            raise self.refuse(key, f'{value!r:.100}, not one of {", ".join(choices)}')
        return choices[value]

    def refuse(self, key: str, found: str) -> DataError:
        return refused(f'{self.where}: {key}', found, 'keep the JSON files as they were beside the weights')
