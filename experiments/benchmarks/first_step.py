"""How long it takes from the start of a process to the end of its first train step, with and without kept programs.

    python experiments/benchmarks/first_step.py                                   # small networks of two systems
    python experiments/benchmarks/first_step.py --configs pix3d.py:smoke --repeats=3 --json=out.json

Every row is a process of its own, started anew: imports, the system's initial variables, the compiled step, one step on
random arrays. 'no cache' has JAX's persistent compilation cache off; 'cold' has an empty one, and fills it; 'warm'
finds it filled. Rounds of the three take turns; medians are shown. `ratio` is the time without a cache over the row's:
what a filled cache saves a run that starts again. The cache is on by default, in the data cache folder.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SMALL = ['pix3d.py:random_start', 'scan_cad.py']
COLUMNS = (
    ('config', ''),
    ('cache', ''),
    ('seconds', '.2f'),
    ('ratio', '.2f'),
    ('imported_s', '.2f'),
    ('compiled_s', '.2f'),
    ('cache_mib', '.1f'),
)
CHILD = '--child'


def child(name: str, overrides: list[str]) -> None:
    """Imports, compiles, steps; prints when each was done, in seconds since the parent's clock in the environment."""
    started = float(os.environ['JAXRET_STARTED'])
    times = {}
    from random_steps import RandomStep, read_config

    # isort: split
    from overrides import split_overrides

    config, _ = read_config(name, split_overrides(overrides))
    times['imported_s'] = time.time() - started
    step = RandomStep(config)
    step.start(own=True)
    times['compiled_s'] = time.time() - started
    step()
    print(json.dumps(times | {'seconds': time.time() - started}))


def start_once(name: str, overrides: list[str], cache: Path | None) -> dict[str, float]:
    """One process; None is no cache.

    Raises:
      JaxretError: it failed, with what it wrote.
    """
    environment = os.environ | {'JAXRET_STARTED': repr(time.time())}
    environment |= (
        {'JAX_ENABLE_COMPILATION_CACHE': '0'}
        if cache is None
        else {'JAX_ENABLE_COMPILATION_CACHE': '1', 'JAX_COMPILATION_CACHE_DIR': str(cache)}
    )
    done = subprocess.run(
        [sys.executable, __file__, CHILD, name, *overrides], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        from jaxret.errors import JaxretError

        raise JaxretError(f'{name}: {done.stderr[-2000:].strip()}')
    return json.loads(done.stdout.splitlines()[-1])


def measure(name: str, overrides: list[str], *, repeats: int) -> list[dict[str, Any]]:
    """Rows of the three kinds of start."""
    samples: dict[str, list[dict[str, float]]] = {'no cache': [], 'cold': [], 'warm': []}
    size = 0
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            samples['no cache'].append(start_once(name, overrides, None))
            samples['cold'].append(start_once(name, overrides, Path(folder)))
            samples['warm'].append(start_once(name, overrides, Path(folder)))
            size = sum(path.stat().st_size for path in Path(folder).rglob('*') if path.is_file())
    rows = []
    for cache, starts in samples.items():
        row: dict[str, Any] = {'config': name, 'cache': cache, 'starts': starts}
        row |= {key: statistics.median(start[key] for start in starts) for key in starts[0]}
        rows.append(row)
        row['ratio'] = rows[0]['seconds'] / row['seconds']
    rows[-1]['cache_mib'] = size / 2**20
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table; returns 1 where a config is bad or a start fails."""
    from measuring import says_errors  # a child measures its own imports

    return says_errors(_main)(arguments)


def _main(arguments: list[str] | None) -> int:
    from measuring import make_parser, parse, show, write_json
    from random_steps import read_config

    parser = make_parser(__doc__, repeats=1)
    parser.add_argument('--configs', nargs='+', default=SMALL, help='as of run.py; --config.KEY=VALUE changes all')
    known, overrides, cores = parse(parser, arguments, overrides=True)  # children inherit the cores
    for name in known.configs:
        read_config(name, overrides)
    given = [f'--config.{key}={value}' for key, value in overrides.items()]
    rows = [row for name in known.configs for row in measure(name, given, repeats=known.repeats)]
    show(f'from the start of a process to its first step, {cores} cores', COLUMNS, rows)
    write_json(known.json, title='Time to the first step', arguments=known, rows=rows, overrides=overrides)
    return 0


if __name__ == '__main__':
    if CHILD in sys.argv[1:2]:
        child(sys.argv[2], sys.argv[3:])
        sys.exit(0)
    sys.exit(main())
