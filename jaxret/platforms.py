"""Before JAX is imported: the devices that the environment asks for, and what libraries may say."""

import os

from jaxret.errors import ConfigError

_ASKING = ('JAX_PLATFORMS', 'JAX_PLATFORM_NAME')  # the second is JAX's older name


def check_platforms() -> None:
    """Starts the devices that a variable of the environment asks for; imports JAX only where one does.

    Raises:
      ConfigError: this machine, or the installed JAX, has none of that kind.
    """
    asked = {name: os.environ[name] for name in _ASKING if os.environ.get(name)}
    if not asked:
        return
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # with a plugin that is not installed it is an AssertionError
        named = ', '.join(f'{name}={value}' for name, value in asked.items())
        reason = f' ({str(error).splitlines()[0]})' if str(error) else ''
        unset = f'unset {"it" if len(asked) == 1 else "them"} or install jaxret[cuda12]'
        raise ConfigError(f'{named}: no such device here{reason}; {unset}') from error


def quiet_libraries() -> None:
    """Keeps notes of libraries, on which a user cannot act, off the terminal. To be called before JAX is imported."""
    from absl import logging

    logging.set_verbosity(logging.ERROR)  # of Orbax
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')  # a compilation of minutes is an error to XLA
