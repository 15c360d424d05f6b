"""A run that starts from published weights: files of the config group `pretrained`, checked before any long work."""

import contextlib
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxret.errors import CheckpointError, DataError
from jaxret.files import write_atomically
from jaxret.pretrained.networks import NetworkPart, find_network, network_part, network_weights, replace_values
from jaxret.pretrained.packaged import packaged_weights
from jaxret.pretrained.weight_files import WeightFile, read_weights
from jaxret.runs.config import flatten
from jaxret.runs.workdir import has_checkpoints
from jaxret.systems.base import Batch, System, Variables

FILE, IMAGENET = 'pretrained.json', 'imagenet'


def pretrained_start(
    config: ConfigDict, workdir: Path, system: System, example: Batch, *, first_convolution: str = 'random'
) -> Callable[[Variables], Variables] | None:
    """What puts the weights of the config's files into the initial variables of a new run.

    A run that has a checkpoint goes on from that: it needs the files no more. Names and fingerprints of the files of a
    new run are kept in its work directory.

    Args:
      config: with a key of the group `pretrained` for each network of `system.BACKBONES`: a file, 'imagenet' for the
        installed package of weights, or ''.
      workdir: of the run.
      system: says where its networks are.
      example: a batch of the shapes to come; one item of each is enough.
      first_convolution: as for `network_weights`.

    Returns:
      From initial variables to those that training starts with; None where nothing is to change.

    Raises:
      DataError: files that cannot be used, with all that does not fit, of all networks.
    """
    if has_checkpoints(workdir):
        return None
    files = weight_files(config, system)
    if not files:
        with contextlib.suppress(OSError):  # of an earlier start that saved nothing
            (workdir / FILE).unlink()
        return None
    shapes = jax.eval_shape(system.init, jax.random.key(0), example)
    values, stored, problems = {}, {}, []
    for name, path in files.items():
        try:
            file, network = read_weights(path), network_part(shapes, system.BACKBONES[name].scope)
            values[name] = network_weights(file.arrays, network, where=str(path), first_convolution=first_convolution)
            stored[name] = {'file': str(path), 'sha256': file.sha256}
            if note := _seen_through(file, find_network(file.arrays, network, where=str(path))):
                stored[name]['read_as'] = note
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(problems)
    write_atomically(workdir / FILE, json.dumps(stored, indent=2) + '\n')
    return partial(_replaced, {system.BACKBONES[name].scope: part for name, part in values.items()})


def weight_files(config: ConfigDict, system: System) -> dict[str, Path]:
    """The file of every network that does not start at random, by key of the group `pretrained`.

    Raises:
      DataError: 'imagenet' for a network whose package of weights is not installed, or that has none.
    """
    networks = {name: flatten(config)[backbone.key] for name, backbone in system.BACKBONES.items()}
    return {
        name: packaged_weights(network) if config.pretrained[name] == IMAGENET else Path(config.pretrained[name])
        for name, network in networks.items()
        if config.pretrained[name]
    }


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
