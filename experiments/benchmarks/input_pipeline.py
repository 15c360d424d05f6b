"""Does the input pipeline keep up: step time with it against the same compiled step on one resident batch.

    python experiments/benchmarks/input_pipeline.py                          # CMIC, synthetic sample
    python experiments/benchmarks/input_pipeline.py --config=pix3d.py:random_start,scan_cad.py    # several
    python experiments/benchmarks/input_pipeline.py --config.data_dir=DIR    # real data in Pix3D's layout
    python experiments/benchmarks/input_pipeline.py --config=pix3d.py:paper --pipeline_only
    python experiments/benchmarks/input_pipeline.py --json=out.json --config.batch_size=12

Blocks of steps on the resident batch and blocks of steps with the pipeline take turns in one run, so that what else
the machine does falls on both; the first steps of a block are not counted, since the pipeline has made their batches
while the other block ran. As in training, nothing waits for a step within a block. The ratio of the medians should be
at most 1.1. The pipeline alone is measured too, in processor time: on a CPU it shares the cores with the step.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from measuring import at_least, make_parser, parse, positive, says_errors, show, write_json

# isort: split
import numpy as np
from experiment import task_class
from ml_collections import ConfigDict
from random_steps import RandomStep, read_config

import data_pipelines  # noqa: F401, before TensorFlow: silences it

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


def training_batches(config: ConfigDict) -> Callable[[int, int], Iterator[Any]]:
    """The batches that an experiment trains on, once its data are ready: (start, stop) -> those of these steps."""
    task = task_class(config.experiment).from_config(config)
    with tempfile.TemporaryDirectory() as workdir:
        return partial(task.batches, task.load(Path(workdir), train=True))


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


def measure_steps(step: RandomStep, placed: Iterator[Any], *, skip: int, count: int) -> float:
    """Milliseconds a step over `count` steps, after `skip` steps; nothing waits for a step but the last."""
    for batch in itertools.islice(placed, skip):
        step.advance(batch)
    step.wait()
    start = time.perf_counter()
    for batch in itertools.islice(placed, count):
        step.advance(batch)
    step.wait()
    return 1e3 * (time.perf_counter() - start) / count


def compare(config: ConfigDict, batches: Iterator[Any], *, blocks: int, steps: int, skip: int) -> dict[str, Any]:
    """Step times of both kinds of blocks and the ratio of their medians."""
    step = RandomStep(config, next(batches))
    resident, piped = itertools.repeat(step.place(step.batch)), map(step.place, batches)
    times: dict[str, list[float]] = {'resident': [], 'pipeline': []}
    step()
    for block in range(blocks):
        kinds = [('resident', resident), ('pipeline', piped)]
        for name, source in kinds[:: 1 if block % 2 == 0 else -1]:
            times[name].append(measure_steps(step, source, skip=skip, count=steps))
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
    batches = training_batches(config)
    row = {
        'config': short,
        'data': config.data_dir or 'synthetic sample',
        'batch': config.batch_size,
        **measure_pipeline(batches(0, LONG), known.steps * 2),
    }
    if not known.pipeline_only:
        row |= compare(config, batches(0, LONG), blocks=known.repeats, steps=known.steps, skip=known.skip)
    return row


@says_errors
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
    known, overrides, _ = parse(parser, arguments, overrides=True)
    configs = [read_config(name, overrides) for name in known.config.split(',')]  # bad ones before any work
    rows = [measure(config, short, known) for config, short in configs]
    show('input pipeline', COLUMNS, rows)
    write_json(known.json, title='input pipeline', arguments=known, rows=rows, overrides=overrides)
    return 0


if __name__ == '__main__':
    sys.exit(main())
