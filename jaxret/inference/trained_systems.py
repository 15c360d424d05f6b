"""The system of a finished run, found by the task that its class names among the modules of `jaxret.systems`."""

from jaxret.errors import CheckpointError, ConfigError
from jaxret.runs.config import flatten
from jaxret.runs.finished import FinishedRun
from jaxret.search.references import TEMPERATURE, WEIGHT, Fusion
from jaxret.systems.base import TrainedSystem
from jaxret.systems.by_task import system_classes

_MOST_WEIGHT = 0.99  # of references: at 1, shapes without any would not be told apart


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


def trained_fusion(run: FinishedRun) -> Fusion:
    """How references and views of a run's index are pooled: as in its own evaluation where that has references."""
    stored = flatten(run.config)  # of any system: not all have these keys
    return Fusion(
        weight=min(stored.get('evaluation.references') or WEIGHT, _MOST_WEIGHT),
        temperature=stored.get('evaluation.reference_temperature', TEMPERATURE),
        view_temperature=stored.get('loss.temperature', TEMPERATURE),
    )
