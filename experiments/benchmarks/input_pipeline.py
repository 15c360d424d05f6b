"""Does the input pipeline keep up: step time with it against the same compiled step on one resident batch.

    python experiments/benchmarks/input_pipeline.py                          # CMIC, synthetic sample, small preset
    python experiments/benchmarks/input_pipeline.py --config=pix3d.py,modelnet40.py,mi3dor.py,scan_cad.py  # all systems
    python experiments/benchmarks/input_pipeline.py --config.data_dir=DIR    # real data in Pix3D's layout
    python experiments/benchmarks/input_pipeline.py --config=pix3d.py:paper --pipeline_only
    python experiments/benchmarks/input_pipeline.py --json=out.json --config.batch_size=12

Blocks of steps on the resident batch and blocks of steps with the pipeline take turns in one run, so that what else
the machine does falls on both; the first steps of a block are not counted, since the pipeline has made their batches
while the other block ran. As in training, nothing waits for a step within a block. The ratio of the medians should be
at most 1.1. The pipeline alone is measured too, in processor time: on a CPU it shares the cores with the step.
"""

import argparse
import importlib
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from argument_types import at_least, positive
from measuring import make_parser, parse, show, write_json

# isort: split
import jax
import numpy as np
from ml_collections import ConfigDict
from random_steps import random_variables, read_config

import data_pipelines  # noqa: F401, before TensorFlow: silences it
from jaxret.errors import JaxretError
from jaxret.training.optimizers import make_grouped_optimizer
from jaxret.training.state import create_state
from jaxret.training.step import make_train_step

GOAL = 1.1
LONG = 10**6  # steps of a run that never ends here
COLUMNS = (
    ('config', ''),
    ('batch', ''),
    ('pipeline_cpu_ms', '.1f'),
    ('pipeline_wall_ms', '.1f'),
    ('resident_ms', '.1f'),
    ('with_pipeline_ms', '.1f'),
    ('ratio', '.3f'),
    ('goal', ''),
)


def training_parts(config: ConfigDict) -> dict[str, Any]:
    """What an experiment gives to `trained_state`, once its data are ready: batches, system, devices."""
    experiment, parts = importlib.import_module(f'{config.experiment}.task'), {}

    def instead(*_: Any, **given: Any) -> None:
        parts.update(given)

    train, experiment.trained_state = experiment.trained_state, instead
    try:
        with tempfile.TemporaryDirectory() as workdir:
            experiment.run(config, Path(workdir), train=True)
    finally:
        experiment.trained_state = train
    return parts


def measure_pipeline(batches: Iterator[Any], count: int) -> dict[str, float]:
    """Milliseconds a batch, of the processor and of the clock, when nothing else is done."""
    for _ in itertools.islice(batches, 5):  # threads start, the number of parallel calls settles
        pass
    processor, clock = time.process_time(), time.perf_counter()
    for _ in itertools.islice(batches, count):
        pass
    return {
        'pipeline_cpu_ms': 1e3 * (time.process_time() - processor) / count,
        'pipeline_wall_ms': 1e3 * (time.perf_counter() - clock) / count,
    }


def compile_step(config: ConfigDict, parts: Mapping[str, Any]) -> tuple[Callable[[Any], None], Callable[[], None]]:
    """Returns `advance` (one step on a placed batch) and `wait` (until all steps are done)."""
    parallel, average = parts['parallel'], config.optimizer.average_decay
    optimizer, schedule = make_grouped_optimizer(config.optimizer, LONG, parts.get('parameter_groups') or {})
    system = parts['make_system'](parallel.axis_name)
    step = parallel.compile(
        make_train_step(system, optimizer, learning_rate=schedule, average_decay=average, axis_name=parallel.axis_name)
    )
    variables = random_variables(
        jax.eval_shape(parts['make_system'](None).init, jax.random.key(config.seed), parts['example'])
    )
    current = [parallel.place_state(create_state(variables, optimizer, seed=config.seed, average=average > 0))]

    def advance(batch: Any) -> None:
        current[0], _ = step(current[0], batch)

    def wait() -> None:
        jax.block_until_ready(current[0])

    return advance, wait


def measure_steps(
    advance: Callable[[Any], None], wait: Callable[[], None], batches: Iterator[Any], *, skip: int, count: int
) -> float:
    """Milliseconds a step over `count` steps, after `skip` steps."""
    for batch in itertools.islice(batches, skip):
        advance(batch)
    wait()
    start = time.perf_counter()
    for batch in itertools.islice(batches, count):
        advance(batch)
    wait()
    return 1e3 * (time.perf_counter() - start) / count


def compare(config: ConfigDict, parts: Mapping[str, Any], *, blocks: int, steps: int, skip: int) -> dict[str, Any]:
    """Step times of both kinds of blocks and the ratio of their medians."""
    batches, place = parts['batches'](0, LONG), parts['parallel'].place_batch
    advance, wait = compile_step(config, parts)
    resident = itertools.repeat(place(next(batches)))
    piped = map(place, batches)
    times: dict[str, list[float]] = {'resident': [], 'pipeline': []}
    advance(next(resident))
    wait()
    for block in range(blocks):
        kinds = [('resident', resident), ('pipeline', piped)]
        for name, source in kinds[:: 1 if block % 2 == 0 else -1]:
            times[name].append(measure_steps(advance, wait, source, skip=skip, count=steps))
    resident_ms, pipeline_ms = (float(np.median(times[name])) for name in ('resident', 'pipeline'))
    ratio = pipeline_ms / resident_ms
    return {
        'resident_ms': resident_ms,
        'with_pipeline_ms': pipeline_ms,
        'ratio': ratio,
        'blocks': times,
        'goal': f'at most {GOAL}: {"met" if ratio <= GOAL else "missed"}',
    }


def measure(config: ConfigDict, short: str, known: argparse.Namespace) -> dict[str, Any]:
    """One row: the pipeline of a config alone, and with its step."""
    parts = training_parts(config)
    row = {
        'config': short,
        'data': config.data_dir or 'synthetic sample',
        'batch': config.batch_size,
        **measure_pipeline(parts['batches'](0, LONG), known.steps * 2),
    }
    if not known.pipeline_only:
        row |= compare(config, parts, blocks=known.repeats, steps=known.steps, skip=known.skip)
    return row


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table; returns 1 where the config or the data are bad."""
    parser = make_parser(__doc__, repeats=8)
    parser.add_argument(
        '--config',
        default='pix3d.py',
        help='config and preset, as of run.py, or several with commas; --config.KEY=VALUE too',
    )
    parser.add_argument('--steps', type=positive, default=15, help='counted steps a block')
    parser.add_argument('--skip', type=at_least(0), default=6, help='steps of a block that are not counted')
    parser.add_argument('--pipeline_only', action='store_true', help='no steps, only the cost of a batch')
    try:
        known, overrides, _ = parse(parser, arguments, overrides=True)
        configs = [read_config(name, overrides) for name in known.config.split(',')]  # bad ones before any work
        rows = [measure(config, short, known) for config, short in configs]
    except JaxretError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    show('input pipeline', COLUMNS, rows)
    write_json(known.json, title='input pipeline', arguments=known, rows=rows, overrides=overrides)
    return 0


if __name__ == '__main__':
    sys.exit(main())
