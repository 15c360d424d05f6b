"""The work directory of a finished run, read without its data: config, classes, the weights of the best checkpoint."""

import json
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from jaxret.errors import CheckpointError
from jaxret.run_config import read_run_config, selection_metric
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
            names = json.loads(path.read_text())['categories']
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
                raise ValueError('no list of names under "categories"')
            return tuple(names)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CheckpointError(f'{path}: missing or damaged ({error}), and without it the classes of the run are '
                                  f'unknown; copy the whole work directory') from error


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
            raise CheckpointError(f'{folder / "checkpoints"}: no checkpoint has metrics, so none is known to be the '
                                  f'best; go on with the training until its next evaluation')
        return FinishedRun(folder, config, checkpoints.stored_variables(step=step), step)
