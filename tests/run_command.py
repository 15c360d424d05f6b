"""Starts `experiments/run.py` as a user does, in a clean environment, and reads what a run writes."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from quick_compilation import quick_compilation

RUN = Path(__file__).parents[1] / 'experiments' / 'run.py'
ONE = '--config.parallel.devices=1'
SERIAL = '--config.processes=1'  # no worker processes, which take a second to start
NUMBERS = '--report=no'  # nobody looks at its pictures
PATIENCE = 900  # seconds, on a busy machine


@dataclass(frozen=True)
class Place:
    """Folders that a run may use: `cache` is meant to be written to; `home`, `cwd` and `temporary` must stay empty.

    Programs are kept in `compiled`: the same one is compiled once for all runs with as many devices.
    """

    root: Path
    cache: Path
    compiled: Path
    devices: int = 1

    def folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def assert_untouched(self) -> None:
        """Nothing was written but in work directories and the cache."""
        for name in ('home', 'temporary', 'cwd'):
            assert list(self.folder(name).rglob('*')) == [], name

    def start(self, workdir: Path, *arguments: str, largest_file: int = 0) -> subprocess.Popen:
        """A running command on the synthetic sample, with `devices` and none of the test session's settings.

        With `largest_file` (KiB) the system refuses to write larger files, as a full disk would.
        """
        env = {key: value for key, value in os.environ.items() if not key.startswith(('JAX', 'XLA', 'XDG', 'TF_'))}
        env |= quick_compilation(self.devices) | {
            'HOME': str(self.folder('home')),
            'TMPDIR': str(self.folder('temporary')),
            'PYTHONUNBUFFERED': '1',
            'PYTHONDONTWRITEBYTECODE': '1',
            'JAX_COMPILATION_CACHE_DIR': str(self.compiled),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        }
        command = [
            sys.executable,
            str(RUN),
            '--config=pix3d.py:smoke',
            f'--config.cache_dir={self.cache}',
            f'--workdir={workdir}',
            *arguments,
        ]
        if largest_file:
            command = ['bash', '-c', f'ulimit -f {largest_file} && exec "$@"', 'bash', *command]
        return subprocess.Popen(
            command, env=env, cwd=self.folder('cwd'), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def checkpoint_steps(workdir: Path) -> list[int]:
    """Steps of the complete checkpoints of a work directory."""
    return sorted(int(path.name) for path in (workdir / 'checkpoints').glob('*') if path.name.isdigit())


def wait_for_checkpoint(process: subprocess.Popen, workdir: Path, *, after: int = 0) -> None:
    """Returns as soon as there is a checkpoint of a later step than `after`; the process must still be running."""
    deadline = time.monotonic() + PATIENCE
    while not any(step > after for step in checkpoint_steps(workdir)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, 'no checkpoint'
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def metrics_of(workdir: Path) -> dict:
    """`metrics.json`."""
    return json.loads((workdir / 'metrics.json').read_text())


def evaluation_of(workdir: Path, name: str = '*') -> Path:
    """The folder of the one evaluation of a run by --mode=eval, of data of that name."""
    (folder,) = (workdir / 'evaluations').glob(name)
    return folder


def logged(workdir: Path) -> list[dict]:
    """Lines of `metrics.jsonl` without what tells the time."""
    lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != 'examples_per_second'} for line in lines]
