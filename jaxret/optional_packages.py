"""Packages that only some commands need: the extras of the installation."""

import importlib
from types import ModuleType

from jaxret.errors import ConfigError


def need(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Imports a module of an extra.

    Args:
      module: dotted name.
      extra: of `pip install 'jaxret[extra]'` that brings it.
      purpose: what needs it, for the message.

    Raises:
      ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or '').startswith('jaxret'):
            raise
        raise ConfigError(f"{purpose} needs {error.name}: pip install 'jaxret[{extra}]'") from error
