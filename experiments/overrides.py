"""From `--config=NAME[:PRESET]` and `--config.key=value` to a config, with one clear error for every mistake."""

import ast
import difflib
import importlib.util
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from jaxret.compilation_cache import default_cache
from jaxret.errors import ConfigError
from jaxret.runs.config import flatten

FOLDER = Path(__file__).parent / 'configs'
RUN_ARGUMENTS = (
    '--config, --config.KEY=VALUE, --workdir, --mode, --report, --coordinator, --num_processes, --process_id or --help'
)


_KINDS = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a word'}


def config_names() -> list[str]:
    """Names that `--config` takes without a folder."""
    return sorted(path.name for path in FOLDER.glob('[!_]*.py'))


def load_config(name: str) -> tuple[ConfigDict, str]:
    """Reads a config file.

    Args:
      name: file in experiments/configs (with or without .py) or a path, then optionally ':preset'. A file needs
        get_config(preset), and PRESETS, the first of which is the default; without PRESETS get_config().

    Returns:
      The config, and its short name, such as 'pix3d-small'.

    Raises:
      ConfigError: no such file or preset; the valid ones are listed.
    """
    file, _, preset = name.partition(':')
    path = Path(file if file.endswith('.py') else file + '.py')
    if '/' not in file and (FOLDER / path).is_file():  # whatever file of that name lies in the current folder
        path = FOLDER / path
    if not path.is_file():
        hint = _hint(path.stem, [Path(one).stem for one in config_names()])
        use = f'Use one of {", ".join(config_names())}, or the path of a config file'
        raise ConfigError(f'--config={name}: no such config.{hint} {use}')
    try:
        module = _module(path)
        choices = tuple(getattr(module, 'PRESETS', ()))
        preset = preset or next(iter(choices), '')
        config = (module.get_config(preset) if preset else module.get_config()) if preset in (choices or '') else None
        if not isinstance(config, ConfigDict | None):
            raise TypeError(f'get_config returns a {type(config).__name__}, not a ConfigDict')
    except Exception as error:
        raise ConfigError(
            f'--config={name}: {path} is not a config file ({type(error).__name__}: {error}); it needs '
            f'get_config(), or PRESETS and get_config(preset) as {FOLDER.name}/pix3d.py has them'
        ) from error
    if config is None:
        has = f'{_hint(preset, choices)} {path.name} has {", ".join(choices) or "none"}'
        raise ConfigError(f'--config={name}: no preset {preset!r}.{has}')
    return config, f'{path.stem}-{preset}' if preset else path.stem


def _hint(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f' Did you mean {" or ".join(near)}?' if near else ''


def presets(name: str) -> tuple[str, ...]:
    """Presets of a config file of this repository; the first is the default."""
    return tuple(_module(FOLDER / name).PRESETS)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f'config_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_keys(flat: dict[str, Any], where: str) -> None:
    """Compares the keys of a flattened config with those of this repository's config of the same experiment.

    Raises:
      ConfigError: keys that are missing or unknown, named; an unknown experiment.
    """
    if 'experiment' not in flat:
        raise ConfigError(f'{where}: missing key experiment')
    known = set()
    for name in sorted(config_names(), key=_derived):
        reference = flatten(load_config(name)[0])
        known.add(reference['experiment'])
        if reference['experiment'] == flat['experiment']:
            wrong = [
                f'{kind} keys {", ".join(sorted(keys))}'
                for kind, keys in (
                    ('missing', reference.keys() - flat.keys()),
                    ('unknown', flat.keys() - reference.keys()),
                )
                if keys
            ]
            if wrong:
                hint = ''.join(_hint(key, reference) for key in sorted(flat.keys() - reference.keys())[:1])
                action = f'{name} has every key of this version with its default.{hint}'
                raise ConfigError(f'{where}: {"; ".join(wrong)}; {action}')
            return
    raise ConfigError(f'{where}: config.experiment: {flat["experiment"]!r} is not one of {", ".join(sorted(known))}')


def _derived(name: str) -> bool:
    """Whether a config changes what another one says, which has all the keys."""
    return any(hasattr(value, 'get_config') for value in vars(_module(FOLDER / name)).values())


def cache_folder(config: ConfigDict) -> Path:
    """Where prepared data goes: config.cache_dir, or $XDG_CACHE_HOME/jaxret, or ~/.cache/jaxret."""
    if config.cache_dir:
        return Path(config.cache_dir)
    return default_cache()


def split_overrides(arguments: Sequence[str], *, known: str = RUN_ARGUMENTS) -> dict[str, str]:
    """{'key': 'value'} from arguments '--config.key=value' or '--config.key value'.

    Args:
      arguments: what is left of the command line.
      known: the command's arguments, for the message.

    Raises:
      ConfigError: anything else among the arguments, or a missing value.
    """
    overrides, rest = {}, list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith('--config.'):
            raise ConfigError(f'{argument}: unknown argument; use {known}')
        key, equals, value = argument.removeprefix('--config.').partition('=')
        if not equals:
            if not rest or rest[0].startswith('--'):
                raise ConfigError(f'{argument}: no value; write {argument}=VALUE')
            value = rest.pop(0)
        overrides[key] = value
    return overrides


def apply_overrides(config: ConfigDict, overrides: dict[str, str]) -> None:
    """Sets keys of a config in place, each to a value of its default's type.

    Raises:
      ConfigError: an unknown key (near and all valid ones are listed) or a value of another type.
    """
    flat = flatten(config)
    for key, text in overrides.items():
        if key not in flat:
            hint = _hint(key, flat)
            raise ConfigError(f'--config.{key}: unknown key.{hint} Valid keys: {", ".join(sorted(flat))}')
        *groups, last = key.split('.')
        target = config
        for group in groups:
            target = target[group]
        target[last] = _parse(key, text, flat[key])


def _parse(key: str, text: str, default: Any) -> Any:
    try:
        if isinstance(default, bool):
            return {'true': True, 'false': False, '1': True, '0': False}[text.lower()]
        return _parse_tuple(text, default) if isinstance(default, tuple) else _parse_scalar(text, type(default))
    except (KeyError, TypeError, ValueError, SyntaxError):
        kind = _KINDS.get(type(default), 'a list')
        kind = f'{len(default)} values' if isinstance(default, tuple) and default else kind
        raise ConfigError(f'--config.{key}={text}: not {kind}; the default is {default!r}') from None


def _parse_tuple(text: str, default: tuple) -> tuple:
    """'(1, 2)', '[1, 2]' or '1,2', of the default's length and element type; () stands for any number of strings."""
    if text.strip().startswith(('(', '[')):
        values = ast.literal_eval(text)
        if not isinstance(values, tuple | list):
            raise ValueError(text)
    else:
        values = [part.strip() for part in text.split(',') if part.strip()]
    kind = type(default[0]) if default else str
    if default and len(values) != len(default):
        raise ValueError(text)
    if kind is str and not all(isinstance(value, str) for value in values):
        raise ValueError(text)
    return tuple(_parse_scalar(value, kind) for value in values)


def _parse_scalar(value: Any, kind: type) -> Any:
    value = kind(value)
    if kind is float and not math.isfinite(value):
        raise ValueError(value)
    return value


def check_changes(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    of_data_dir: Sequence[str],
    of_layout: Mapping[str, Sequence[str]],
) -> None:
    """Refuses changes that a run would not see. What a config file itself says of such keys is not asked.

    Args:
      before: flattened config of the preset, or of the work directory that is evaluated.
      now: the same with the command's values.
      of_data_dir: keys without effect on the synthetic sample.
      of_layout: {data.layout: keys without effect on it}.

    Raises:
      ConfigError: naming the changed keys with their values, and what reads them.
    """

    def changed(keys: Sequence[str]) -> str:
        return ', '.join(f'config.{key}: {now[key]!r}' for key in keys if now.get(key) != before.get(key))

    if not now['data_dir'] and (keys := changed(of_data_dir)):
        raise ConfigError(
            f'{keys} needs --config.data_dir=DIR, the folder of the data; without it the synthetic '
            f'sample is used, which this does not change'
        )
    if keys := changed(of_layout.get(now.get('data.layout'), ())):
        raise ConfigError(
            f'{keys} changes nothing where data.layout is {now["data.layout"]}; leave it out, or give '
            f'another --config.data.layout'
        )
