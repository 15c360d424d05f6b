"""How much memory and time CMIC's train step needs with and without gradient caching, for growing batches.

    python experiments/benchmarks/gradient_caching.py                          # small preset, chunks of 24
    python experiments/benchmarks/gradient_caching.py --batches=24,48,96,192 --json=out.json
    python experiments/benchmarks/gradient_caching.py --config=pix3d.py:paper --chunk=60 --batches=60,480 --compile_only

Memory is what the compiler plans beside the arguments (`memory_analysis`, temporary); time is the median of warm steps
on random images, of the clock and of the processor. The direct step holds all activations; with `model.chunk` only a
chunk's, for one more forward pass. `ratio`: against the direct step of the same batch in the same run.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

import jax  # noqa: E402
from config_files import apply_overrides, load_config, split_overrides  # noqa: E402
from machine import machine, source  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from jaxret.errors import JaxretError  # noqa: E402
from jaxret.systems.cmic import CMIC  # noqa: E402
from jaxret.training.optimizers import make_optimizer, make_schedule  # noqa: E402
from jaxret.training.parallel import make_parallel  # noqa: E402
from jaxret.training.state import create_state  # noqa: E402
from jaxret.training.step import make_train_step  # noqa: E402

MIB = 2**20


def random_batch(config: ConfigDict) -> dict[str, np.ndarray]:
    """Random images and labels in the shapes of a training batch."""
    rng = np.random.default_rng(0)
    count, size = config.batch_size, config.data.image_size
    views = config.data.views_per_step or config.render.views
    images = {name: rng.integers(256, size=(count, *shape), dtype=np.uint8) for name, shape in (
        ('image', (size, size, 3)), ('mask', (size, size, 1)), ('views', (views, size, size, 1)))}
    category = rng.integers(4, size=count).astype(np.int32)
    return {**images, 'positive': np.arange(count, dtype=np.int32), 'query_category': category,
            'shape_category': category, 'query_valid': np.ones(count, bool), 'shape_valid': np.ones(count, bool),
            'shape_inclusion': np.full(count, 0.5, np.float32)}


def measure(config: ConfigDict, *, repeats: int, limit_mib: float) -> dict[str, Any]:
    """Memory of one step and, where it is within the limit, its time."""
    parallel = make_parallel('jit', devices=config.parallel.devices, batch_size=config.batch_size,
                             chunk=config.model.chunk)
    schedule = make_schedule(config.optimizer, 1000)
    optimizer = make_optimizer(config.optimizer, schedule)
    system = CMIC.from_config(config, chunk=config.model.chunk)
    average = config.optimizer.average_decay
    step = parallel.compile(make_train_step(system, optimizer, learning_rate=schedule, average_decay=average))
    batch = random_batch(config)

    def initial() -> Any:
        variables = system.init(jax.random.key(0), batch)
        return create_state(variables, optimizer, seed=0, average=average > 0)

    started = time.process_time()
    if repeats:
        state, placed = parallel.place_state(jax.jit(initial)()), parallel.place_batch(batch)
        compiled = step.lower(state, placed).compile()
    else:
        compiled = step.lower(jax.eval_shape(initial), batch).compile()
    memory = compiled.memory_analysis()
    row = {'batch': config.batch_size, 'chunk': config.model.chunk, 'temporary_mib': memory.temp_size_in_bytes / MIB,
           'arguments_mib': memory.argument_size_in_bytes / MIB, 'compile_cpu_s': time.process_time() - started}
    if repeats and row['temporary_mib'] <= limit_mib:
        clock, processor = [], []
        for _ in range(repeats + 1):
            before = time.perf_counter(), time.process_time()
            state, metrics = compiled(state, placed)
            jax.block_until_ready((state, metrics))
            clock.append(time.perf_counter() - before[0])
            processor.append(time.process_time() - before[1])
        row |= {'step_s': float(np.median(clock[1:])), 'step_cpu_s': float(np.median(processor[1:])),
                'loss': float(np.mean(jax.device_get(metrics['loss'])))}
    return row


def show(title: str, rows: list[dict[str, Any]]) -> None:
    table = Table('batch', 'chunk', 'temporary MiB', 'ratio', 'step s', 'cpu s', 'ratio', title=title)
    direct: dict[str, Any] = {}
    for row in rows:
        if row['chunk'] == 0:
            direct = row
        table.add_row(str(row['batch']), str(row['chunk'] or 'all'), f'{row["temporary_mib"]:.0f}',
                      f'{row["temporary_mib"] / direct["temporary_mib"]:.2f}',
                      *(f'{row[name]:.2f}' if name in row else '' for name in ('step_s', 'step_cpu_s')),
                      f'{row["step_cpu_s"] / direct["step_cpu_s"]:.2f}' if 'step_cpu_s' in row.keys() & direct else '')
    Console().print(table)


def main() -> int:
    """Measures, prints a table; returns 1 where the config is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--config', default='pix3d.py', help='config and preset, as of run.py; --config.KEY=VALUE too')
    parser.add_argument('--batches', default='24,48,96', help='photos, and shapes, a step')
    parser.add_argument('--chunk', type=int, default=24, help='model.chunk; batches that are no larger run direct only')
    parser.add_argument('--repeats', type=int, default=3, help='timed steps')
    parser.add_argument('--compile_only', action='store_true', help='no steps, only memory')
    parser.add_argument('--limit_gib', type=float, default=8.0, help='steps that need more are compiled but not run')
    parser.add_argument('--json', type=Path, help='also write the numbers to this file')
    known, rest = parser.parse_known_args()
    rows = []
    try:
        config, short = load_config(known.config)
        apply_overrides(config, split_overrides(rest))
        for batch in map(int, known.batches.split(',')):
            for chunk in (0, known.chunk)[:2 if batch > known.chunk else 1]:
                config.batch_size, config.model.chunk = batch, chunk
                rows.append(measure(config, repeats=0 if known.compile_only else known.repeats,
                                    limit_mib=known.limit_gib * 1024))
                print(f'batch {batch}, chunk {chunk or "all"}: {rows[-1]["temporary_mib"]:.0f} MiB', flush=True)
    except JaxretError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    views = config.data.views_per_step or config.render.views
    show(f'{short}: {config.model.query_encoder}, {views} x {config.model.view_encoder}, {config.data.image_size} '
         f'pixels, {config.model.dtype}', rows)
    if known.json:
        known.json.write_text(json.dumps({'config': short, **machine(), **source(), 'rows': rows}, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
