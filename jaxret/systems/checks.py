"""Config values that no system accepts, refused before any work."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxret.errors import ConfigError

RULES = {
    'above 0': lambda value: value > 0,
    '0 or above': lambda value: value >= 0,
    'at least 0 and below 1': lambda value: 0 <= value < 1,
}


def check_values(
    config: ConfigDict, *, choices: Mapping[str, Sequence[Any]], ranges: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Refuses values that are not one of their choices, or out of range.

    Args:
      config: with the groups that the keys name.
      choices: what a key ('model.dtype') may be.
      ranges: keys by their rule, one of `RULES`.

    Raises:
      ConfigError: naming the first such value.
    """

    def value_of(key: str) -> Any:
        group, name = key.split('.')
        return config[group][name]

    for key, valid in choices.items():
        if value_of(key) not in valid:
            raise ConfigError(f'config.{key}: {value_of(key)!r} is not one of {", ".join(valid)}')
    for rule, keys in (ranges or {}).items():
        for key in keys:
            if not RULES[rule](value_of(key)):
                raise ConfigError(f'config.{key}: {value_of(key)!r} must be {rule}')
