"""The systems, found by the task that each class names, among the modules of `jaxret.systems`."""

import importlib
import pkgutil
from functools import cache

from jaxret import systems
from jaxret.systems.base import System


@cache
def system_classes() -> dict[str, type[System]]:
    """The systems by task (`config.experiment`)."""
    classes = {}
    for found in pkgutil.iter_modules(systems.__path__, f'{systems.__name__}.'):
        module = importlib.import_module(found.name)
        own = (value for value in vars(module).values() if getattr(value, '__module__', '') == found.name)
        classes |= {value.TASK: value for value in own if isinstance(getattr(value, 'TASK', None), str)}
    return classes
