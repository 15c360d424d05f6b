"""What the benchmarks share: arguments, warm interleaved times, memory, peers that may be missing, tables, JSON.

Needs JAX, NumPy, ml_collections and rich alone, so that it runs where neither TensorFlow nor mesh tools are installed.
A script imports it before JAX: programs are then kept in the data cache folder, and a later run of the script compiles
nothing.
"""

import argparse
import contextlib
import functools
import gc
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

from jaxret.compilation_cache import default_cache, keep_programs

keep_programs(default_cache())
os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # a GPU is shared with the peer

import jax
import numpy as np
from machine import machine, source
from overrides import split_overrides
from result_text import one_line_a_row
from rich.console import Console
from rich.table import Table

from jaxret.errors import JaxretError

MIB = 2**20
PEER_PACKAGES = ('torch', 'torchvision', 'timm', 'pytorch-metric-learning', 'faiss-cpu')
_SAMPLE_SECONDS = 0.02  # calls are repeated until a sample takes so long, where clocks are exact enough


def at_least(least: int, kind: type = int) -> Callable[[str], Any]:
    """Type of an argument: a number that is not below `least`."""

    def number(text: str) -> Any:
        value = kind(text)
        if not value >= least:  # nor is nan
            raise argparse.ArgumentTypeError(f'{text}: must be at least {least}')
        return value

    number.__name__ = kind.__name__  # as argparse calls it where the text is no number
    return number


positive = at_least(1)


def output_file(text: str) -> Path:
    """Type of an argument: a file to write, in a folder that exists."""
    path = Path(text)
    try:
        if path.is_dir() or not path.parent.is_dir():
            raise argparse.ArgumentTypeError(f'{text}: must be a file in a folder that exists')
        check_writable(path)
    except OSError as error:
        raise argparse.ArgumentTypeError(f'{text}: cannot be written ({error.strerror})') from None
    return path


def check_writable(path: Path) -> None:
    """Raises OSError where a file cannot be written; changes none, and leaves none behind."""
    new = not os.path.lexists(path)
    path.open('a').close()
    if new:
        path.unlink()


def says_errors(main: Callable[[Sequence[str] | None], int]) -> Callable[..., int]:
    """A script's `main` that says what is wrong with a config or data in one line, and returns 1."""

    @functools.wraps(main)
    def said(arguments: Sequence[str] | None = None) -> int:
        try:
            return main(arguments)
        except JaxretError as error:
            print(f'error: {error}', file=sys.stderr)
            return 1

    return said


def make_parser(description: str, *, repeats: int | None = None) -> argparse.ArgumentParser:
    """A parser with the arguments that benchmarks share: --threads, --json and, with a default for it, --repeats."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    if repeats is not None:
        parser.add_argument(
            '--repeats', type=positive, default=repeats, help='timed samples of each, in turn; medians count'
        )
    parser.add_argument(
        '--threads', type=int, default=0, help='CPU cores of both sides; 0 is all that this process may use'
    )
    parser.add_argument('--json', type=output_file, help='also write the numbers to this file')
    return parser


def parse(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    *,
    sizes: Mapping[str, tuple[Any, Any, str]] | None = None,
    overrides: bool = False,
) -> tuple[argparse.Namespace, dict[str, str], int]:
    """Parses, and keeps this process on the cores asked for. Before JAX is first used.

    Args:
      parser: from `make_parser`.
      arguments: of the command; None for the process's own.
      sizes: further arguments, by name: (default on a CPU, default on a GPU, help).
      overrides: the command takes --config.KEY=VALUE, too.

    Returns:
      (arguments, {'key': 'value'} of --config.KEY=VALUE, number of cores). Ends the process with status 2 where an
      argument is bad.

    Raises:
      ConfigError: one is unknown, or a key has no value; only with `overrides`.
    """
    for name, (on_cpu, on_gpu, text) in (sizes or {}).items():
        kind = {int: positive, float: at_least(0, float)}.get(type(on_cpu), str)
        parser.add_argument(f'--{name}', type=kind, help=f'{text}; default {on_cpu}, on a GPU {on_gpu}')
    known, rest = parser.parse_known_args(arguments)
    if rest and not overrides:
        parser.error(f'unrecognized arguments: {" ".join(rest)}')
    split = split_overrides(rest, known=', '.join(f'--{name}' for name in ('config.KEY=VALUE', *vars(known), 'help')))
    cores = sorted(os.sched_getaffinity(0))
    if not 0 <= known.threads <= len(cores):
        parser.error(f'--threads={known.threads}: this process may use {len(cores)} cores')
    os.sched_setaffinity(0, cores[-(known.threads or len(cores)) :])  # XLA makes a thread a core that it may use
    for name, (on_cpu, on_gpu, _) in (sizes or {}).items():
        if getattr(known, name) is None:
            setattr(known, name, on_cpu if jax.default_backend() == 'cpu' else on_gpu)
    return known, split, known.threads or len(cores)


def find_peer(module: str) -> tuple[ModuleType | None, str]:
    """A package to compare with, or None and what to say instead. PyTorch then takes the cores of this process.

    Args:
      module: name to import.
    """
    try:
        peer = importlib.import_module(module)
    except ModuleNotFoundError as error:
        return None, f"{error.name}: not installed (pip install 'jaxret[bench]')"
    except Exception as error:  # a package that does not fit its neighbours fails in many ways
        return None, f'{module}: cannot be imported ({type(error).__name__}: {error})'
    if torch := sys.modules.get('torch'):
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    return peer, ''


def interleave(calls: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, dict[str, float]]:
    """Warm times of calls that take turns, A B A B ..., so that a machine that slows down slows all of them.

    Args:
      calls: what to time, by name; each waits for its result.
      repeats: samples of each.

    Returns:
      For each name 'seconds' (median, of the clock), 'least_seconds', and 'cpu_seconds' (median, of this process).
    """
    numbers, samples = {}, {name: [] for name in calls}
    for name, call in calls.items():
        call()
        started = time.perf_counter()
        call()
        numbers[name] = max(1, int(_SAMPLE_SECONDS / max(time.perf_counter() - started, 1e-6)))
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter(), time.process_time()
            for _ in range(numbers[name]):
                call()
            spent = time.perf_counter() - started[0], time.process_time() - started[1]
            samples[name].append([seconds / numbers[name] for seconds in spent])
    result = {}
    for name, both in samples.items():
        clock, processor = np.array(both).T
        result[name] = {
            'seconds': float(np.median(clock)),
            'least_seconds': float(clock.min()),
            'cpu_seconds': float(np.median(processor)),
        }
    return result


def ratios(peer: Mapping[str, float], ours: Mapping[str, float]) -> dict[str, float]:
    """A peer's times of `interleave` over jaxret's: above 1 jaxret is faster."""
    return {f'{name}ratio': peer[f'{name}seconds'] / ours[f'{name}seconds'] for name in ('', 'cpu_')}


class Usage:
    """Seconds of the processor, and MiB by which memory grows at most and remains, while its block runs."""

    def __enter__(self) -> 'Usage':
        gc.collect()
        self._done, self._start = threading.Event(), resident_mib()
        self._peak = self._start
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self._processor = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_seconds = time.process_time() - self._processor
        self._done.set()
        self._thread.join()
        self.peak_mib = max(self._peak, resident_mib()) - self._start
        gc.collect()
        self.kept_mib = resident_mib() - self._start

    def _watch(self) -> None:
        while not self._done.wait(0.05):  # seldom enough not to matter in the times
            self._peak = max(self._peak, resident_mib())


def resident_mib() -> float:
    """Memory that this process holds."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / MIB


def compiled_memory(compiled: jax.stages.Compiled) -> dict[str, float]:
    """What a compiled program needs beside its arguments, and for them, in MiB."""
    memory = compiled.memory_analysis()
    return {'temporary_mib': memory.temp_size_in_bytes / MIB, 'arguments_mib': memory.argument_size_in_bytes / MIB}


def gigaflops(function: Callable[..., Any], *arguments: Any) -> float | None:
    """Floating-point operations of a function in 10^9, as JAX counts them before compiling; None where it does not.

    Only shapes and types of the arguments matter.
    """
    costs = jax.jit(function).lower(*arguments).cost_analysis()
    return costs['flops'] / 1e9 if costs and 'flops' in costs else None


def peak_mib() -> float | None:
    """Most memory that JAX held on the first device so far; None where it does not say."""
    peak = (jax.devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
    return None if peak is None else peak / MIB


def describe_devices() -> str:
    """The devices of this process, such as '1 x NVIDIA H200'."""
    devices = jax.devices()
    return f'{len(devices)} x {devices[0].device_kind}'


def show(title: str, columns: Sequence[tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints a table; a cell whose key a row lacks, or whose value is None, stays empty.

    Args:
      title: above it.
      columns: (key of the rows, format).
      rows: the cells.
    """
    table = Table(*(name.replace('_', ' ') for name, _ in columns), title=title)
    for row in rows:
        table.add_row(*('' if row.get(name) is None else format(row[name], form) for name, form in columns))
    Console(width=None if sys.stdout.isatty() else 200, markup=False).print(table)


def write_json(
    path: Path | None, *, title: str, arguments: argparse.Namespace, rows: Sequence[Mapping[str, Any]], **more: Any
) -> None:
    """Writes the rows with hardware, versions, commit and settings; nothing where path is None."""
    if path is None:
        return
    environment = machine(devices=describe_devices())
    del environment['hardware']['host']
    for name in PEER_PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            environment['versions'][name] = version(name)
    settings = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(arguments).items()
        if name != 'json'
    }
    content = {'title': title, **environment, **source(), 'backend': jax.default_backend(), 'load': os.getloadavg()[0]}
    path.write_text(one_line_a_row({**content, 'settings': settings, **more, 'rows': list(rows)}))
