"""Where compiled programs are kept between runs. Needs no JAX: it is told by environment variables."""

import contextlib
import os
import platform
import re
from pathlib import Path

from jaxret.files import unwritable


def default_cache() -> Path:
    """$XDG_CACHE_HOME/jaxret, or ~/.cache/jaxret."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'jaxret'


def keep_programs(cache: Path) -> None:
    """Has JAX, once it is imported, keep what it compiles, and libraries their files, below a cache folder.

    Where that cannot be written, nothing is kept.
    """
    if unwritable(cache):
        return
    # TensorFlow and matplotlib would leave files in the home folder; both look at these when they are imported.
    for name in ('KERAS_HOME', 'MPLCONFIGDIR'):
        os.environ.setdefault(name, str(cache / 'libraries'))
    # A program is compiled once for all runs, seeds and resumptions on this machine.
    os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(compiled_folder(cache)))
    os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')


def compiled_folder(cache: Path) -> Path:
    """Where this machine's compiled programs are kept: they hold native code, which another may not run."""
    return cache / 'compiled' / re.sub(r'\W+', '-', f'{platform.node()} {processor()}')


def processor() -> str:
    """Name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
