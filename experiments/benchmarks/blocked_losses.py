"""How much memory and time CMIC's scores and losses need, direct and in blocks of queries, for growing batches.

    python experiments/benchmarks/blocked_losses.py                        # 512 .. 2,048 photos and shapes, 12 views
    python experiments/benchmarks/blocked_losses.py --batches=8192 --repeats=1 --json=out.json

Forward and backward of attention scores with the InfoNCE, supervised contrastive and triplet losses, from random
embeddings. Memory is what the compiler plans (`memory_analysis`, temporary) and the largest resident set of this
process so far; time is the median of warm runs. The goal is 4 GiB at 8,192. `block` is what
`jaxret.losses.blocked.block_size` chooses.
"""

import argparse
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
from measuring import compiled_memory, interleave

# isort: split
import jax
import jax.numpy as jnp
from machine import machine, source
from rich.console import Console
from rich.table import Table

from jaxret.losses import contrastive, margin, scores
from jaxret.losses.blocked import block_size, map_queries

VIEWS, DIM, CATEGORIES = 12, 128, 4
LOSSES = ('info_nce', 'supervised_contrastive', 'triplet')


def loss(queries: jax.Array, kernel: jax.Array, views: jax.Array, category: jax.Array, *, name: str, block: int
         ) -> jax.Array:
    """Mean loss of photos that each show the shape of their own number."""
    def of_rows(rows: dict[str, jax.Array]) -> jax.Array:
        matrix = scores.attention_scores(rows['queries'], rows['queries'] @ kernel, views)
        own = contrastive.instance_positives(rows['positive'], len(views))
        if name == 'info_nce':
            return contrastive.info_nce(matrix, own, temperature=0.1)
        if name == 'triplet':
            return margin.triplet_per_anchor(1.0 - matrix, own, margin=0.2)[0]
        same = contrastive.category_positives(rows['category'], category, rows['positive'], include_true=True)
        return contrastive.supervised_contrastive(matrix, same, temperature=0.1)

    rows = {'queries': queries, 'positive': jnp.arange(len(queries)), 'category': category}
    return jnp.mean(map_queries(of_rows, rows, block=block))


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape, np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def measure(name: str, batch: int, block: int, *, repeats: int, limit_mib: float) -> dict[str, Any]:
    """Memory of one loss and its gradients and, where it is within the limit, its time."""
    rng = np.random.default_rng(0)
    arguments = (unit(rng, batch, DIM), rng.standard_normal((DIM, DIM), np.float32) / DIM**0.5,
                 unit(rng, batch, VIEWS, DIM), rng.integers(CATEGORIES, size=batch))
    function = jax.jit(jax.value_and_grad(lambda *x: loss(*x, name=name, block=block), argnums=(0, 1, 2)))
    compiled = function.lower(*arguments).compile()
    row = {'loss': name, 'batch': batch, 'block': block, 'temporary_mib': compiled_memory(compiled)['temporary_mib']}
    if repeats and row['temporary_mib'] <= limit_mib:
        spent = interleave({name: lambda: jax.block_until_ready(compiled(*arguments))}, repeats=repeats)[name]
        row |= {'value': float(compiled(*arguments)[0]), 'step_s': spent['seconds'], 'step_cpu_s': spent['cpu_seconds'],
                'resident_mib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    return row


def show(rows: list[dict[str, Any]]) -> None:
    columns = ('temporary_mib', 'resident_mib', 'step_s', 'step_cpu_s')
    table = Table('loss', 'batch', 'block', 'temporary MiB', 'resident MiB', 's', 'cpu s', 'value',
                  title=f'{VIEWS} views, {DIM} numbers each')
    for row in rows:
        table.add_row(row['loss'], *(f'{row[name]}' for name in ('batch', 'block')),
                      *(f'{row[name]:.{2 if name.endswith("_s") else 0}f}' if name in row else '' for name in columns),
                      f'{row["value"]:.6f}' if 'value' in row else '')
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batches', default='512,1024,2048', help='photos, and shapes')
    parser.add_argument('--losses', default=','.join(LOSSES), help=f'some of {", ".join(LOSSES)}')
    parser.add_argument('--repeats', type=int, default=3, help='timed runs; 0 only compiles')
    parser.add_argument('--limit_gib', type=float, default=4.0, help='what needs more is compiled but not run')
    parser.add_argument('--json', type=Path, help='also write the numbers to this file')
    known = parser.parse_args()
    rows = []
    for name in known.losses.split(','):
        for batch in map(int, known.batches.split(',')):
            for block in sorted({batch, block_size(batch, batch, VIEWS)}):
                rows.append(measure(name, batch, block, repeats=known.repeats, limit_mib=known.limit_gib * 1024))
    show(rows)
    if known.json:
        known.json.write_text(json.dumps({**machine(), **source(), 'rows': rows}, indent=2) + '\n')


if __name__ == '__main__':
    main()
