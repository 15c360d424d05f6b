"""A run that starts from published weights: files of the config group `pretrained`, checked before any long work."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from jaxret.encoders.image_backbones import NETWORKS, image_network
from jaxret.encoders.vit import VIT_NAMES, statistics, vision_transformer
from jaxret.errors import CheckpointError, ConfigError, DataError, refused
from jaxret.files import write_atomically
from jaxret.pretrained.networks import NetworkPart, find_network, network_part, network_weights, replace_values
from jaxret.pretrained.packaged import packaged_weights
from jaxret.pretrained.torch_names import FIRST_KERNELS, TreePath
from jaxret.pretrained.vit_files import read_vision_transformer
from jaxret.pretrained.weight_files import WeightFile, read_weights
from jaxret.runs.config import flatten
from jaxret.runs.workdir import has_checkpoints
from jaxret.systems.base import Batch, System, Variables

FILE = 'pretrained.json'
IMAGENET, PUBLISHED = 'imagenet', 'published'  # values of the group, beside files


def pretrained_start(
    config: ConfigDict, workdir: Path, system: System, example: Batch, *, first_convolution: str = 'sum'
) -> Callable[[Variables], Variables] | None:
    """What puts the weights of the config's files into the initial variables of a new run.

    A run that has a checkpoint goes on from that: it needs the files no more. Names and fingerprints of the files of a
    new run are kept in its work directory.

    Args:
      config: with a key of the group `pretrained` for each network of `system.BACKBONES` (see `weight_files`).
      workdir: of the run.
      system: says where its networks are.
      example: a batch of the shapes to come; one item of each is enough.
      first_convolution: as for `network_weights`, of networks that are trained whole; frozen ones keep theirs.

    Returns:
      From initial variables to those that training starts with; None where nothing is to change.

    Raises:
      DataError: files that cannot be used, with all that does not fit, of all networks.
    """
    if has_checkpoints(workdir):
        return None
    networks = {key: flatten(config)[backbone.key] for key, backbone in system.BACKBONES.items()}
    files = weight_files(config, networks)
    if not files:
        with contextlib.suppress(OSError):  # of an earlier start that saved nothing
            (workdir / FILE).unlink()
        return None
    if config.model.train != 'all':
        first_convolution = 'sum'
    shapes = jax.eval_shape(system.init, jax.random.key(0), example)
    values, stored, problems = {}, {}, []
    for key, path in files.items():
        name, scope = networks[key], system.BACKBONES[key].scope
        read = _read_transformer if name in VIT_NAMES else partial(_read_network, first_convolution=first_convolution)
        try:
            values[scope], facts = read(name, path, network_part(shapes, scope))
            stored[key] = {'file': str(path), **facts}
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    write_atomically(workdir / FILE, json.dumps(stored, indent=2) + '\n')
    return partial(_replaced, values)


def _read_network(
    name: str, path: Path, part: Variables, *, first_convolution: str
) -> tuple[Mapping[TreePath, np.ndarray], dict[str, str]]:
    """Values of the network's variables that are in `part`, and what the report says of the file."""
    file, where = read_weights(path), str(path)
    whole = None
    if name in NETWORKS:  # of which some segments may be missing
        channels = next(leaf.shape[2] for key, leaf in flatten_dict(part).items() if key in FIRST_KERNELS)
        image = jax.ShapeDtypeStruct((1, 64, 64, channels), np.float32)
        whole = jax.eval_shape(image_network(name).init, jax.random.key(0), image)
    values = network_weights(file.arrays, part, where=where, first_convolution=first_convolution, whole=whole)
    facts = {'sha256': file.sha256}
    if note := _seen_through(file, find_network(file.arrays, whole or part, where=where)):
        facts['read_as'] = note
    return values, facts


def _read_transformer(name: str, path: Path, part: Variables) -> tuple[Mapping[TreePath, np.ndarray], dict[str, str]]:
    """The same of a vision transformer, which has to be the one that is named, but for how positions are resampled."""
    read, named = read_vision_transformer(path), vision_transformer(name)
    other = [
        f'{field.name} {getattr(read.module, field.name)!r} there, {getattr(named, field.name)!r} here'
        for field in dataclasses.fields(named)
        if field.name not in ('parent', 'name', 'num_classes', 'dtype', 'resampling')
        and getattr(read.module, field.name) != getattr(named, field.name)
    ]
    if (read.input.mean, read.input.std) != statistics(name):
        other.append(f'mean and spread {read.input.mean}, {read.input.std} there, {statistics(name)} here')
    if other:
        raise refused(str(path), f'not a {name}: {"; ".join(other[:3])}', 'name that network in config.model')
    values = flatten_dict(read.variables)
    needed = {key: leaf.shape for key, leaf in flatten_dict(part).items()}
    if wrong := [key for key, shape in needed.items() if values[key].shape != shape]:
        there = f'{"/".join(wrong[0])} of {values[wrong[0]].shape}, {needed[wrong[0]]} here'
        raise refused(str(path), there, 'give images of three channels (config.model.mask, config.model.train)')
    return {key: values[key] for key in needed}, {'sha256': read.sha256}


def weight_files(config: ConfigDict, networks: Mapping[str, str]) -> dict[str, Path]:
    """The file of every network that does not start at random, by key of the group `pretrained`.

    Args:
      config: with that group.
      networks: name of the network by key.

    Raises:
      ConfigError: 'imagenet' for a network whose package of weights is not installed, or that has none; or 'published',
        which stands for a file that the user has to name.
    """
    files = {}
    for key, network in networks.items():
        value = config.pretrained[key]
        if value == PUBLISHED:
            raise ConfigError(
                f'config.pretrained.{key}: the published system starts from ImageNet weights of {network}; give the '
                f"file, --config.pretrained.{key}={network}.pth (the state_dict of torchvision's network, or timm's), "
                f"or start at random, --config.pretrained.{key}=''"
            )
        if value:
            files[key] = packaged_weights(network) if value == IMAGENET else Path(value)
    return files


def pretrained_facts(workdir: Path) -> dict[str, str]:
    """Rows for the banner and the report: file and fingerprint of every network that did not start at random.

    Raises:
      CheckpointError: the file that keeps them is damaged.
    """
    path = workdir / FILE
    if not path.exists():
        return {}
    try:
        return {
            f'Pretrained {name}': f'{entry["file"]} (SHA-256 {entry["sha256"]}){_after(entry)}'
            for name, entry in json.loads(path.read_text()).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f'{path}: damaged ({error}); delete it: it only tells the report which weights the run started from'
        ) from error


def _seen_through(file: WeightFile, part: NetworkPart) -> str:
    """Where in its file a network was found, and what else is there; '' for a file of the network alone."""
    notes = [f'the entry {ascii(file.wrapper)}'] if file.wrapper else []
    notes += [f'names without {ascii(part.prefix)}'] if part.prefix else []
    if part.others:
        listed = ', '.join(ascii(name)[1:-1] for name in part.others[:3])
        more = ', ...' if len(part.others) > 3 else ''
        notes.append(f'{len(part.others)} other entries left out ({listed}{more})')
    return '; '.join(notes)


def _after(entry: Mapping[str, str]) -> str:
    return f'; {entry["read_as"]}' if 'read_as' in entry else ''


def _replaced(parts: Mapping[tuple[str, ...], Mapping[tuple[str, ...], np.ndarray]], variables: Variables) -> Variables:
    for scope, values in parts.items():
        variables = replace_values(variables, scope, values)
    return variables
