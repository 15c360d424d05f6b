"""Training that starts from the weights of another run."""

from pathlib import Path

import jax

from jaxret.errors import CheckpointError
from jaxret.systems.base import Variables
from jaxret.training.checkpoints import Checkpoints


def start_variables(variables: Variables, workdir: Path, *, metric: str) -> Variables:
    """The variables of another run's best checkpoint (their moving average where it kept one).

    Args:
      variables: of the new run as initialised: they say what is needed.
      workdir: of the other run.
      metric: that picks its best checkpoint.

    Returns:
      Variables of the same structure, shapes and types.

    Raises:
      CheckpointError: no checkpoint there, or of another architecture: all arrays that differ are listed.
    """
    folder = workdir / 'checkpoints'
    if not folder.is_dir():
        raise CheckpointError(f'{folder}: no such folder; give the work directory of a finished run')
    with Checkpoints(folder, metric=metric, read_only=True) as checkpoints:
        if checkpoints.best_step is None:
            raise CheckpointError(f'{folder}: no checkpoint; give the work directory of a finished run')
        stored = checkpoints.stored_variables(step=checkpoints.best_step)
    needed, found = ({jax.tree_util.keystr(path, simple=True, separator='/'): leaf
                      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)} for tree in (variables, stored))
    lines = [f'{name}: {_shape(found.get(name))} there, {_shape(needed.get(name))} here'
             for name in sorted(needed.keys() | found.keys()) if _shape(found.get(name)) != _shape(needed.get(name))]
    if lines:
        raise CheckpointError(f'{workdir}: its network is another one; {len(lines)} arrays differ:\n  '
                              + '\n  '.join(lines) + '\nuse the same config.model values as that run')
    _, structure = jax.tree.flatten(variables)
    return jax.tree.unflatten(structure, [found[name].astype(leaf.dtype) for name, leaf in needed.items()])


def _shape(array: jax.Array | None) -> str:
    return 'absent' if array is None else f'[{", ".join(map(str, array.shape))}]'
