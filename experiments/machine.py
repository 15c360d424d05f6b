"""What a result was made with: hardware, versions, and the commit of this code."""

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxret.compilation_cache import processor
from jaxret.reports.tables import duration
from jaxret.workers import default_processes


def machine(devices: str | None = None) -> dict[str, Any]:
    """Hardware and versions (None: not installed).

    Args:
      devices: what to call them. None: a process of its own asks JAX for its devices, so that this one holds none.
    """
    if devices is None:
        code = 'import jax; d = jax.devices(); print(f"{len(d)} x {d[0].device_kind}")'
        asked = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
        devices = asked.stdout.strip() or 'unknown'
    names = ('jaxret', 'jax', 'flax', 'optax', 'numpy', 'tensorflow-cpu')
    return {
        'hardware': {
            'cores': default_processes(),
            'processor': processor(),
            'memory_gib': _memory(),
            'devices': devices,
            'host': platform.node(),
        },
        'versions': {'python': platform.python_version(), **{name: _version(name) for name in names}},
    }


def source() -> dict[str, Any]:
    """The commit of this code, and whether the tree differs from it; None where git does not know this file."""
    here = Path(__file__)

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(['git', '-C', str(here.parent), *arguments], capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git('ls-files', '--error-unmatch', here.name) is None:  # installed, in a folder of another checkout
        return {'commit': None, 'dirty': None}
    status = git('status', '--porcelain')
    return {'commit': git('rev-parse', 'HEAD'), 'dirty': None if status is None else bool(status)}


def code_text(found: Mapping[str, Any]) -> str:
    """What `source` found in words; the package's version where that is no commit."""
    if not found['commit']:
        return f'jaxret {_version("jaxret")}, no git checkout'
    return f'commit {found["commit"]}{", with changes" if found["dirty"] else ""}'


def commits_text(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """The commits that runs are of, as `source` found them, each once and short."""
    return sorted({f'{(one["commit"] or "unknown")[:12]}{" with changes" if one["dirty"] else ""}' for one in found})


def command_text() -> str:
    """The command line of this process."""
    return shlex.join(['python', *sys.argv])


def provenance(config: ConfigDict, data: Any, devices: str, *, started: float) -> dict[str, str | bool]:
    """What ran on what, for the report.

    Args:
      config: of the run.
      data: of the run (`experiment.Data`).
      devices: what to call them.
      started: `time.monotonic()` at the start.
    """
    packages = ' '.join(f'{name} {version(name)}' for name in ('jaxret', 'jax', 'flax', 'optax'))
    return {
        'synthetic': data.synthetic,
        'Command': command_text(),
        'Code': code_text(source()),
        'Date': f'{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}',
        'Data': str(data.folder),
        'Seed': str(config.seed),
        'Software': f'Python {platform.python_version()}, {packages}',
        'Devices': f'{devices}, {os.cpu_count()} CPU cores',
        'Time': f'{duration(time.monotonic() - started)} for this command',
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _memory() -> float | None:
    try:
        return round(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30, 1)
    except (ValueError, OSError):
        return None
