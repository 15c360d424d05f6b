"""One index twice, at once: by `jaxret index` on one machine, and on a cluster that loses a worker in the middle.

    pip install 'jaxret[cluster]'
    python experiments/benchmarks/cluster.py --models=10000 --workers=3

A Dask scheduler and workers of one thread each are started as processes here. Boxes, each of its own size, and some
files that are broken, are indexed with a CMIC of random weights. Once a third of the shards is there, a worker that has
groups in hand is killed (SIGKILL). All files of both indexes are compared byte by byte.
"""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from measuring import at_least, make_parser, parse, positive, says_errors, show, write_json

# isort: split
import jax
import numpy as np
import optax
from overrides import load_config
from random_steps import photos_and_views, random_variables

from jaxret.files import read_json
from jaxret.index.shards import SHARD_SHAPES
from jaxret.optional_packages import need
from jaxret.runs.config import flatten
from jaxret.systems.cmic import CMIC
from jaxret.training.checkpoints import Checkpoints
from jaxret.training.state import create_state

BROKEN = 10
COLUMNS = (('row', ''), ('shapes', ''), ('failed', ''), ('groups', ''), ('lost', ''), ('same_bytes', ''))
_CORNERS = np.array([(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)])
_SIDES = ('0 1 3 2', '4 6 7 5', '0 4 5 1', '2 3 7 6', '0 2 6 4', '1 5 7 3')


def write_models(folder: Path, count: int) -> None:
    """Writes boxes in OFF files, `BROKEN` of them such that nothing can be read."""
    rng, faces = np.random.default_rng(0), ''.join(f'4 {side}\n' for side in _SIDES)
    broken = set(np.linspace(0, count, BROKEN, endpoint=False, dtype=int) + count // BROKEN // 2)
    for number, size in enumerate(rng.uniform(0.2, 1, (count, 3))):
        path = folder / f'{number // 1000:03d}' / f'{number:06d}.off'
        path.parent.mkdir(parents=True, exist_ok=True)
        corners = ''.join('{:.4f} {:.4f} {:.4f}\n'.format(*corner) for corner in _CORNERS * size)
        path.write_text('OFF\n9 9 9\n' if number in broken else f'OFF\n8 6 0\n{corners}{faces}')


def write_run(folder: Path) -> None:
    """Writes the work directory of a run of CMIC at its smallest, with random weights."""
    config, _ = load_config('pix3d.py:smoke')
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps(flatten(config)))
    shapes = jax.eval_shape(CMIC.from_config(config, shapes=1).init, jax.random.key(0), photos_and_views(config, 4))
    state = create_state(random_variables(shapes), optax.sgd(0.1), seed=0, average=False)
    metric = f'val_{config.select}'
    with Checkpoints(folder / 'checkpoints', metric=metric) as checkpoints:
        checkpoints.save(state, {metric: 0.0})
        checkpoints.wait()


@contextlib.contextmanager
def started(folder: Path, workers: int) -> Iterator[Path]:
    """A scheduler and workers, as processes; yields the file with its address."""
    address, ended = folder / 'scheduler.json', []
    dask, options = [sys.executable, '-m', 'dask'], ['--dashboard-address=127.0.0.1:0', f'--scheduler-file={address}']
    commands = [['scheduler', '--host=127.0.0.1', '--port=0']]
    commands += [['worker', '--nthreads=1', '--no-nanny', f'--local-directory={folder}']] * workers
    try:
        for command in commands:
            ended.append(subprocess.Popen([*dask, *command, *options], stderr=subprocess.DEVNULL))
            while not address.exists():
                time.sleep(0.1)
        yield address
    finally:
        for process in reversed(ended):
            process.kill()
            process.wait()


def index(models: Path, run: Path, out: Path, cluster: Path | None = None) -> subprocess.Popen:
    """Starts `jaxret index`."""
    line = ['index', f'--checkpoint={run}', f'--models={models}', f'--out={out}', '--up-axis=y']
    line += ['--processes=1', f'--cluster={cluster}'] if cluster else []
    return subprocess.Popen([sys.executable, '-m', 'jaxret.cli.main', *line])


def kill_a_worker(address: Path, process: subprocess.Popen, out: Path, after: int) -> int:
    """Kills one that has groups in hand, once so many shards are there; returns how many it had. 0: the run ended."""
    from distributed import Client

    with Client(read_json(address)['address'], set_as_default=False) as client:
        while process.poll() is None:
            busy = max(client.processing().items(), key=lambda item: len(item[1]), default=('', ()))
            if len(list((out / 'shards').glob('*.safetensors'))) >= after and busy[1]:
                os.kill(client.run(os.getpid, workers=[busy[0]])[busy[0]], signal.SIGKILL)
                return len(busy[1])
            time.sleep(0.1)
    return 0


def content(folder: Path) -> dict[str, Any]:
    """All files of an index by their name but the lock; its table, whose name is drawn by lot, by 'table'."""
    manifest = read_json(folder / 'index.json')
    table = manifest.pop('table')
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('[!.]*') if path.is_file()}
    return files | {'index.json': manifest, 'table': files.pop(f'tables/{table}')}


def indexed(row: str, out: Path, process: subprocess.Popen, first: Path, lost: int | None = None) -> dict[str, Any]:
    """The row of a run, at its end."""
    if process.wait():
        raise RuntimeError(f'`jaxret index` ended with {process.returncode}')
    found = content(out)
    with (out / 'failed.csv').open(newline='') as file:
        failed = [line['path'] for line in csv.DictReader(file)]
    names = [json.loads(line)['id'] for line in found['table'].splitlines()]
    assert len(set(failed)) == len(failed) and len(set(names)) == len(names)
    same = found == content(first)
    return {
        'row': row,
        'shapes': len(names),
        'failed': len(failed),
        'groups': len(found['index.json']['shards']),
        'lost': lost,
        'same_bytes': same,
    }


@says_errors
def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument('--models', type=at_least(3 * SHARD_SHAPES), default=10_000, help='how many')
    parser.add_argument('--workers', type=positive, default=3)
    known, _, _ = parse(parser, arguments)
    need('distributed', extra='cluster', purpose='a cluster')
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        models, run = folder / 'models', folder / 'run'
        write_models(models, known.models)
        write_run(run)
        alone, spread = folder / 'alone', folder / 'spread'
        with started(folder, known.workers) as address:
            runs = index(models, run, alone), index(models, run, spread, address)
            try:
                lost = kill_a_worker(address, runs[1], spread, after=max(1, known.models // SHARD_SHAPES // 3))
                rows = [indexed('one machine', alone, runs[0], alone)]
                rows += [indexed('cluster, a worker killed', spread, runs[1], alone, lost)]
            finally:
                for process in runs:
                    process.kill()
                    process.wait()
    show('An index on one machine and on a cluster', COLUMNS, rows)
    write_json(known.json, title='An index on a cluster', arguments=known, rows=rows, broken=BROKEN)
    whole = all(row['same_bytes'] and row['shapes'] == known.models - BROKEN for row in rows)
    return 0 if whole else 1


if __name__ == '__main__':
    sys.exit(main())
