"""How much memory and time CMIC's scores and losses need, direct and in blocks of queries, for growing batches.

    python experiments/benchmarks/blocked_losses.py                        # 512 .. 2,048 photos and shapes, 12 views
    python experiments/benchmarks/blocked_losses.py --batches 8192 --repeats=1 --json=out.json
    python experiments/benchmarks/blocked_losses.py --losses info_nce --repeats=0        # memory alone: only compiles

Forward and backward of attention scores with the InfoNCE, supervised contrastive and triplet losses, from random
embeddings. Memory is what the compiler plans (`memory_analysis`, temporary) and the largest resident set of this
process so far; time is the median of warm runs. The goal is 4 GiB at 8,192. `block` is what
`jaxret.losses.gradient_caching.block_size` chooses.
"""

import resource
import sys
from typing import Any

import numpy as np
from argument_types import at_least, positive
from measuring import compiled_memory, interleave, make_parser, parse, show, write_json

# isort: split
import jax
import jax.numpy as jnp

from jaxret.losses import contrastive, margin, scores
from jaxret.losses.gradient_caching import block_size, map_queries

VIEWS, DIM, CATEGORIES = 12, 128, 4
LOSSES = ('info_nce', 'supervised_contrastive', 'triplet')
COLUMNS = (
    ('loss', ''),
    ('batch', 'd'),
    ('block', 'd'),
    ('temporary_mib', '.0f'),
    ('resident_mib', '.0f'),
    ('step_s', '.2f'),
    ('step_cpu_s', '.2f'),
    ('value', '.6f'),
)


def loss(
    queries: jax.Array, kernel: jax.Array, views: jax.Array, category: jax.Array, *, name: str, block: int
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
    arguments = (
        unit(rng, batch, DIM),
        rng.standard_normal((DIM, DIM), np.float32) / DIM**0.5,
        unit(rng, batch, VIEWS, DIM),
        rng.integers(CATEGORIES, size=batch),
    )
    function = jax.jit(jax.value_and_grad(lambda *x: loss(*x, name=name, block=block), argnums=(0, 1, 2)))
    compiled = function.lower(*arguments).compile()
    row = {'loss': name, 'batch': batch, 'block': block, 'temporary_mib': compiled_memory(compiled)['temporary_mib']}
    if repeats and row['temporary_mib'] <= limit_mib:
        spent = interleave({name: lambda: jax.block_until_ready(compiled(*arguments))}, repeats=repeats)[name]
        row |= {
            'value': float(compiled(*arguments)[0]),
            'step_s': spent['seconds'],
            'step_cpu_s': spent['cpu_seconds'],
            'resident_mib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    return row


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table."""
    parser = make_parser(__doc__, repeats=3, least_repeats=0)
    parser.add_argument('--batches', type=positive, nargs='+', default=[512, 1024, 2048], help='photos, and shapes')
    parser.add_argument('--losses', nargs='+', default=list(LOSSES), choices=LOSSES)
    parser.add_argument(
        '--limit_gib', type=at_least(0, float), default=4.0, help='what needs more is compiled but not run'
    )
    known, _, cores = parse(parser, arguments)
    rows = []
    for name in known.losses:
        for batch in known.batches:
            for block in sorted({batch, block_size(batch, batch, VIEWS)}):
                rows.append(measure(name, batch, block, repeats=known.repeats, limit_mib=known.limit_gib * 1024))
    title = f'{VIEWS} views, {DIM} numbers each, {cores} cores'
    show(title, COLUMNS, rows)
    write_json(known.json, title=title, arguments=known, rows=rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
