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

from measuring import interleave

# isort: split
from config_files import apply_overrides, load_config, split_overrides
from machine import machine, source
from ml_collections import ConfigDict
from random_steps import RandomStep
from rich.console import Console
from rich.table import Table

from jaxret.errors import JaxretError


def measure(config: ConfigDict, *, repeats: int, limit_mib: float) -> dict[str, Any]:
    """Memory of one step and, where it is within the limit, its time."""
    started = time.process_time()
    step = RandomStep(config, run=repeats > 0)
    row = {'batch': config.batch_size, 'chunk': config.model.chunk, **step.memory,
           'compile_cpu_s': time.process_time() - started}
    if repeats and row['temporary_mib'] <= limit_mib:
        spent = interleave({'step': step}, repeats=repeats)['step']
        row |= {'step_s': spent['seconds'], 'step_cpu_s': spent['cpu_seconds'], 'loss': float(step()['loss'])}
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
