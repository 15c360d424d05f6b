"""Values of a config that would fail only after long work, refused first."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxret.errors import ConfigError
from jaxret.geometry.render import ViewRing
from jaxret.runs.config import flatten
from jaxret.training.optimizers import check_optimizer

EVALUATED = ('test', 'all')  # evaluation.photos
# What every experiment has: rule -> keys.
POSITIVE = ('batch_size', 'epochs', 'log_every', 'checkpoint_every', 'optimizer.learning_rate')
NOT_NEGATIVE = ('processes', 'parallel.devices', 'optimizer.weight_decay', 'optimizer.clip_norm')
FRACTIONS = ('optimizer.b1', 'optimizer.b2', 'optimizer.momentum', 'optimizer.average_decay')
# Of a further optimizer, such as that of a backbone.
OPTIMIZER_POSITIVE = ('learning_rate',)
OPTIMIZER_NOT_NEGATIVE = ('weight_decay', 'clip_norm')
OPTIMIZER_FRACTIONS = ('b1', 'b2', 'momentum')


def check_values(
    config: ConfigDict,
    *,
    positive: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    fractions: Sequence[str] = (),
    probabilities: Sequence[str] = (),
    choices: Mapping[str, Sequence[str]] | None = None,
    optimizers: Sequence[str] = (),
) -> None:
    """Refuses values that would fail only after long work.

    Args:
      config: with the keys that every experiment has.
      positive: further keys that must be above 0; of a tuple, every element.
      not_negative: further keys that must be 0 or above.
      fractions: further keys that must be in [0, 1).
      probabilities: keys that must be in [0, 1].
      choices: further keys with their valid values.
      optimizers: groups of further optimizers.

    Raises:
      ConfigError: such a value.
    """
    flat = flatten(config)

    def of_optimizers(names: Sequence[str]) -> list[str]:
        return [f'{group}.{name}' for group in optimizers for name in names]

    rules: dict[str, tuple[Callable[[Any], bool], Sequence[str]]] = {
        'above 0': (lambda x: x > 0, (*POSITIVE, *of_optimizers(OPTIMIZER_POSITIVE), *positive)),
        '0 or above': (lambda x: x >= 0, (*NOT_NEGATIVE, *of_optimizers(OPTIMIZER_NOT_NEGATIVE), *not_negative)),
        'at least 0 and below 1': (lambda x: 0 <= x < 1, (*FRACTIONS, *of_optimizers(OPTIMIZER_FRACTIONS), *fractions)),
        'from 0 to 1': (lambda x: 0 <= x <= 1, probabilities),
        'a number of 32 bits': (lambda x: -(2**31) <= x < 2**31, ('seed',)),
    }
    for rule, (valid, keys) in rules.items():
        for key in keys:
            values = flat[key] if isinstance(flat[key], tuple) else (flat[key],)
            if not all(valid(value) for value in values):
                raise ConfigError(f'config.{key}: {flat[key]!r} must be {rule}')
    meshes = {'data.up_axis': ('y', 'z')} if 'data.up_axis' in flat else {}
    for key, names in {'on_bad_file': ('error', 'skip'), **meshes, **(choices or {})}.items():
        if flat[key] not in names:
            raise ConfigError(f'config.{key}: {flat[key]!r} is not one of {", ".join(names)}')
    for group in ('optimizer', *optimizers):
        check_optimizer(config[group], group=group)


def checked_view_ring(config: ConfigDict, size_key: str) -> ViewRing:
    """The cameras and light of the config's group `render`.

    Args:
      config: with that group.
      size_key: the key that gives the side of the pictures.

    Raises:
      ConfigError: a value out of range, with its key.
    """
    try:
        return ViewRing(size=flatten(config)[size_key], **config.render.to_dict())
    except ConfigError as error:
        key = size_key if error.name == 'size' else f'render.{error.name}'
        raise ConfigError(f'config.{key}: {error.message}') from None


def check_at_most(config: ConfigDict, most: int, *keys: str, of: str) -> None:
    """Refuses numbers above what there is.

    Args:
      config: with the keys.
      most: the highest value.
      keys: to check.
      of: what sets the limit, for the message ('a shape has render.views=12').

    Raises:
      ConfigError: such a number.
    """
    flat = flatten(config)
    for key in keys:
        if flat[key] > most:
            raise ConfigError(f'config.{key}: {flat[key]}, but {of}')
