"""Image networks as rows of segments, which can be cut in two: a part whose weights stay, and a part that is trained.

Segment 0 is the stem, then comes one a block; the last ends the network (last convolution or norm, mean over the
image). A network has these attributes beside its own:

  first, last  run the segments first .. last - 1 alone (None: to the end); from images where first is 0, else from what
               segment first - 1 gives. The names of variables do not depend on them: the two parts of a network
               together have its variables.
  taps         segments whose outputs' means over the image are the features, [B, C_tap + ...] in their order; () for
               the end alone. The middle of a network tells instances apart better than its end, which tells classes
               apart. Nothing behind the last of them is run.
  pooled       False ends with the map [B, h, w, F] before the mean over the image.
  depth        number of segments.

Letters: B batch, h, w height and width of a map, F and C channels.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.errors import ConfigError

TRAIN = ('all', 'last_blocks', 'heads')


class CutNetwork(NamedTuple):
    """A network in two parts, either of which may be missing.

    Attributes:
      frozen: from images to what `trained` takes, never trained; None where all is trained.
      trained: from there to features, or the map; None where nothing is trained.
    """

    frozen: nn.Module | None
    trained: nn.Module | None


def cut_network(network: nn.Module, *, train: str, last_blocks: int, key: str) -> CutNetwork:
    """A network in a frozen and a trained part.

    Args:
      network: whole.
      train: 'all', 'heads' (nothing of the network) or 'last_blocks'.
      last_blocks: segments that 'last_blocks' trains, the end of the network among them.
      key: config key that names the network, for messages.

    Raises:
      ConfigError: a network that cannot be cut, more segments than there are, or taps in the frozen part of one that is
        cut in the middle.
    """
    if train == 'all':
        return CutNetwork(None, network)
    if not hasattr(network, 'depth'):
        raise ConfigError(f"config.model.train: {train!r}, but the network of config.{key} is trained whole; use 'all'")
    check_taps(network, key)
    if train == 'heads':
        return CutNetwork(network, None)
    if not 0 < last_blocks < network.depth:
        raise ConfigError(
            f'config.model.last_blocks: {last_blocks}, but the network of config.{key} has {network.depth} segments; '
            f'use 1 .. {network.depth - 1}'
        )
    at = network.depth - last_blocks
    if early := [tap for tap in network.taps if tap < at]:
        raise ConfigError(
            f'config.model.taps: segment {early[0]} is frozen, and only its last output is kept; use segments of '
            f'{at} and above, or train more'
        )
    return CutNetwork(network.clone(last=at, taps=()), network.clone(first=at))


def parse_taps(text: str) -> tuple[int, ...]:
    """Taps of a config: '8,11' is (8, 11), '' is ().

    Raises:
      ConfigError: something else than numbers.
    """
    parts = [part.strip() for part in text.split(',')] if text else []
    if wrong := [part for part in parts if not part.isdecimal()]:
        raise ConfigError(f"config.model.taps: {wrong[0]!r} is no number of a segment; give such as '8,11', or ''")
    return tuple(map(int, parts))


def check_taps(network: nn.Module, key: str) -> None:
    """Raises ConfigError for taps that are no segments."""
    if wrong := [tap for tap in network.taps if not 0 <= tap < network.depth]:
        raise ConfigError(
            f'config.model.taps: {wrong[0]}, but the network of config.{key} has segments 0 .. {network.depth - 1}'
        )


def segments_to_run(network: nn.Module) -> tuple[range, tuple[int, ...]]:
    """The segments that a network with these attributes runs, and those whose means are its features.

    The second is empty where the network gives a map.

    Raises:
      ConfigError: no such segments, or taps that are not among those which run.
    """
    end = network.depth if network.last is None else network.last
    if not 0 <= network.first < end <= network.depth:
        raise ConfigError(f'segments {network.first} to {end} of a network of {network.depth}')
    if end < network.depth or not network.pooled:
        if network.taps:
            raise ConfigError(f'taps {tuple(network.taps)} of a network that gives a map')
        return range(network.first, end), ()
    taps = tuple(network.taps) or (network.depth - 1,)
    if outside := [tap for tap in taps if not network.first <= tap < end]:
        raise ConfigError(f'taps {outside} of a network that has segments {network.first} to {end - 1}')
    return range(network.first, max(taps) + 1), taps


def spatial_mean(maps: jax.Array) -> jax.Array:
    """Mean over the image, [B, h, w, C] to float32 [B, C]."""
    return maps.astype(jnp.float32).mean(axis=(1, 2))
