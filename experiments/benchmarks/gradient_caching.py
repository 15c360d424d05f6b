"""How much memory and time CMIC's train step needs with and without gradient caching, for growing batches.

    python experiments/benchmarks/gradient_caching.py                          # small preset, chunks of 24
    python experiments/benchmarks/gradient_caching.py --batches 24 48 96 192 --json=out.json
    python experiments/benchmarks/gradient_caching.py --config=pix3d.py:paper --chunk=60 --batches 60 480 --compile_only

Memory is what the compiler plans beside the arguments (`memory_analysis`, temporary); time is the median of warm steps
on random images, of the clock and of the processor. The direct step (chunk 0) holds all activations; with `model.chunk`
only a chunk's, for one more forward pass. Ratios: to the direct step of the same batch in the same run.
"""

import sys
import time
from typing import Any

from argument_types import at_least, positive
from measuring import interleave, make_parser, parse, show, write_json

# isort: split
from ml_collections import ConfigDict
from random_steps import RandomStep, parallel_of, read_config

from jaxret.errors import JaxretError

RATIOS = {'memory': 'temporary_mib', 'cpu': 'step_cpu_s'}
COLUMNS = (
    ('batch', 'd'),
    ('chunk', 'd'),
    ('temporary_mib', '.0f'),
    ('memory_ratio', '.2f'),
    ('step_s', '.2f'),
    ('step_cpu_s', '.2f'),
    ('cpu_ratio', '.2f'),
)


def measure(config: ConfigDict, *, repeats: int, limit_mib: float) -> dict[str, Any]:
    """Memory of one step and, where it is within the limit, its time."""
    started = time.process_time()
    step = RandomStep(config, run=repeats > 0)
    row = {
        'batch': config.batch_size,
        'chunk': config.model.chunk,
        **step.memory,
        'compile_cpu_s': time.process_time() - started,
    }
    if repeats and row['temporary_mib'] <= limit_mib:
        spent = interleave({'step': step}, repeats=repeats)['step']
        row |= {'step_s': spent['seconds'], 'step_cpu_s': spent['cpu_seconds'], 'loss': float(step()['loss'])}
    return row


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table; returns 1 where the config is bad."""
    parser = make_parser(__doc__, repeats=3)
    parser.add_argument('--config', default='pix3d.py', help='config and preset, as of run.py; --config.KEY=VALUE too')
    parser.add_argument('--batches', type=positive, nargs='+', default=[24, 48, 96], help='photos, and shapes, a step')
    parser.add_argument(
        '--chunk', type=positive, default=24, help='model.chunk; batches that are no larger run direct only'
    )
    parser.add_argument('--compile_only', action='store_true', help='no steps, only memory')
    parser.add_argument(
        '--limit_gib', type=at_least(0, float), default=8.0, help='steps that need more are compiled but not run'
    )
    rows, direct = [], {}
    try:
        known, overrides, cores = parse(parser, arguments, overrides=True)
        config, short = read_config(known.config, overrides, experiment='photo_to_shape')
        sizes = [
            (batch, chunk) for batch in known.batches for chunk in (0, known.chunk)[: 2 if batch > known.chunk else 1]
        ]
        for batch, chunk in sizes:  # all, before the first is compiled
            config.batch_size, config.model.chunk = batch, chunk
            parallel_of(config)
        for batch, chunk in sizes:
            config.batch_size, config.model.chunk = batch, chunk
            row = measure(config, repeats=0 if known.compile_only else known.repeats, limit_mib=known.limit_gib * 1024)
            direct = direct if chunk else row
            rows.append(
                row
                | {
                    f'{name}_ratio': row[key] / direct[key]
                    for name, key in RATIOS.items()
                    if key in row.keys() & direct.keys()
                }
            )
            print(f'batch {batch}, chunk {chunk or "all"}: {row["temporary_mib"]:.0f} MiB', flush=True)
    except JaxretError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    views = config.data.views_per_step or config.render.views
    title = (
        f'{short}: {config.model.query_encoder}, {views} x {config.model.view_encoder}, '
        f'{config.data.image_size} pixels, {config.model.dtype}, {cores} cores'
    )
    show(title, COLUMNS, rows)
    write_json(known.json, title=title, arguments=known, rows=rows, config=short, overrides=overrides)
    return 0


if __name__ == '__main__':
    sys.exit(main())
