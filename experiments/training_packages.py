"""What training needs beside the library: the extra `train`."""

from importlib.util import find_spec

from jaxret.errors import ConfigError

_PACKAGES = ('tensorflow', 'tensorflow_datasets', 'array_record', 'tensorboard', 'h5py')


def check_training_packages() -> None:
    """Raises ConfigError where one of the packages is missing; imports none."""
    if missing := [name for name in _PACKAGES if find_spec(name) is None]:
        raise ConfigError(f"training needs {', '.join(missing)}: pip install -e '.[train]'")
