"""The system of a finished run, found by the task that its class names among the modules of `jaxret.systems`."""

import importlib
import pkgutil
from functools import cache

from jaxret import systems
from jaxret.errors import CheckpointError, ConfigError
from jaxret.runs.finished import FinishedRun
from jaxret.systems.base import System, TrainedSystem


@cache
def system_classes() -> dict[str, type[System]]:
    """The systems by task (`config.experiment`)."""
    classes = {}
    for found in pkgutil.iter_modules(systems.__path__, f'{systems.__name__}.'):
        module = importlib.import_module(found.name)
        own = (value for value in vars(module).values() if getattr(value, '__module__', '') == found.name)
        classes |= {value.TASK: value for value in own if isinstance(getattr(value, 'TASK', None), str)}
    return classes


def trained_system(run: FinishedRun, gallery: str | None = None, *, default: str = '') -> TrainedSystem:
    """The system of a run.

    Args:
      run: of any system.
      gallery: what of a shape is embedded, where the system leaves a choice; None for `default`.
      default: of no effect where the system does not have it.

    Raises:
      CheckpointError: a run that trained nothing, or of no system.
      ConfigError: `gallery` is none of the system's choices.
    """
    classes = system_classes()
    if run.config.experiment not in classes:
        raise CheckpointError(f'{run.workdir}: experiment {run.config.experiment!r} is not one of {", ".join(classes)}')
    system = classes[run.config.experiment]
    if gallery is not None and len(system.GALLERIES) == 1:
        raise ConfigError(f'gallery {gallery!r}: only cross-modal centers leave a choice')
    if gallery is not None and gallery not in system.GALLERIES:
        raise ConfigError(f'gallery {gallery!r}: choose one of {", ".join(system.GALLERIES)}')
    return system.trained(run, gallery or (default if default in system.GALLERIES else system.GALLERIES[0]))
