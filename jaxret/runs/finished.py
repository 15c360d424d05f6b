"""The work directory of a finished run, read without its data: config, classes, the weights of the best checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import jax
from ml_collections import ConfigDict

from jaxret.errors import CheckpointError
from jaxret.files import read_json
from jaxret.runs.config import read_run_config, selection_metric
from jaxret.systems.base import Variables
from jaxret.training.checkpoints import Checkpoints


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What a run left.

    Attributes:
      workdir: absolute path.
      config: as the run was started.
      variables: to evaluate with (the moving average where the run kept one), of the best checkpoint.
      step: of that checkpoint.
    """

    workdir: Path
    config: ConfigDict
    variables: Variables
    step: int

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the classes of the run, in the order of its labels.

        Raises:
          CheckpointError: `split.json` is missing, damaged, or holds no classes.
        """
        path = self.workdir / 'split.json'
        try:
            names = read_json(path)['categories']
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
                raise ValueError('no list of names under "categories"')
            return tuple(names)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f'{path}: missing or damaged ({error}), and without it the classes of the run are '
                f'unknown; copy the whole work directory'
            ) from error


def read_run(workdir: Path | str) -> FinishedRun:
    """Reads config and weights of a run.

    Args:
      workdir: of `experiments/run.py`; of its files config.json and checkpoints/ are needed.

    Raises:
      CheckpointError: a file is missing, damaged, or no run's.
    """
    folder = Path(workdir).absolute()
    config = read_run_config(folder / 'config.json')
    if not any(entry.name.isdigit() for entry in (folder / 'checkpoints').glob('*')):
        raise CheckpointError(f'{folder / "checkpoints"}: no checkpoint; give the work directory of a run that trained')
    with Checkpoints(folder / 'checkpoints', metric=selection_metric(config), read_only=True) as checkpoints:
        step = checkpoints.best_step
        if step is None:
            raise CheckpointError(
                f'{folder / "checkpoints"}: no checkpoint has metrics, so none is known to be the '
                f'best; go on with the training until its next evaluation'
            )
        return FinishedRun(folder, config, checkpoints.stored_variables(step=step), step)


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
    needed, found = (
        {
            jax.tree_util.keystr(path, simple=True, separator='/'): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for tree in (variables, stored)
    )
    lines = [
        f'{name}: {_shape(found.get(name))} there, {_shape(needed.get(name))} here'
        for name in sorted(needed.keys() | found.keys())
        if _shape(found.get(name)) != _shape(needed.get(name))
    ]
    if lines:
        raise CheckpointError(
            f'{workdir}: its network is another one; {len(lines)} arrays differ:\n  '
            + '\n  '.join(lines)
            + '\nuse the same config.model values as that run'
        )
    _, structure = jax.tree.flatten(variables)
    return jax.tree.unflatten(structure, [found[name].astype(leaf.dtype) for name, leaf in needed.items()])


def _shape(array: jax.Array | None) -> str:
    return 'absent' if array is None else f'[{", ".join(map(str, array.shape))}]'
