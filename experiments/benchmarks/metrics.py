"""How long mean average precision takes, and how much memory.

    python experiments/benchmarks/metrics.py                      # 10,000 queries x 10,000 gallery items, 40 classes
    python experiments/benchmarks/metrics.py --json=out.json
    python experiments/benchmarks/metrics.py --items=2468 --table # all nine directions, as on ModelNet40's test set
    python experiments/benchmarks/metrics.py --peer_queries=0     # without the peer

The peer is scikit-learn's `average_precision_score`, query by query over the same gallery, for a few of the queries and
then scaled to all; `ratio` is its seconds over those of one direction, and its values must be the same. Random
embeddings of 512 numbers; their mAP must come out at chance. The goal is a minute at 10,000 x 10,000 on two
cores. Memory is the largest resident set of the process; what the arrays held before is given beside it.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

from argument_types import at_least, output_file, positive
from machine import machine, source
from sklearn.metrics import average_precision_score

from jaxret.metrics.average_precision import average_precision, average_precision_of_scores, expected_average_precision
from jaxret.metrics.cross_modal import cross_modal_metrics

GOAL_SECONDS = 60.0


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Result of a call, and its seconds of the clock and of the processor and the memory peak before and after."""
    before, clock, processor = peak_megabytes(), time.perf_counter(), time.process_time()
    result = call()
    return result, {
        'seconds': time.perf_counter() - clock,
        'cpu_seconds': time.process_time() - processor,
        'peak_mb_before': before,
        'peak_mb': peak_megabytes(),
    }


def measure(
    items: int, classes: int, width: int, *, table: bool, scores: bool, peer_queries: int = 0
) -> dict[str, dict[str, float]]:
    """{what was computed: its seconds, memory, mAP and chance}."""
    rng = np.random.default_rng(0)
    x, y, z = (rng.standard_normal((items, width), np.float32) for _ in range(3))
    labels, gallery_labels = rng.integers(0, classes, size=(2, items))
    rows = {}
    for name, exclude_self in (('one direction', False), ('without itself', True)):
        pair = (x, x, labels, labels) if exclude_self else (x, y, labels, gallery_labels)
        result, row = timed(lambda pair=pair, out=exclude_self: average_precision(*pair, exclude_self=out))
        chance = float(np.nanmean(expected_average_precision(result.relevant, result.gallery)))
        rows[name] = row | {'map': result.mean, 'chance': chance}
    if table:
        names = [str(c) for c in range(classes)]
        metrics, row = timed(lambda: cross_modal_metrics({'image': x, 'mesh': y, 'point': z}, labels, names))
        rows['nine directions and mixing'] = row | {
            'map': metrics['mean_map_excluding_self'],
            'chance': metrics['mean_map_excluding_self_chance'],
        }
    if peer_queries:
        asked, own = x[:peer_queries], labels[:peer_queries]
        unit = y / np.linalg.norm(y, axis=1, keepdims=True)
        values, row = timed(
            lambda: np.array(
                [
                    average_precision_score(gallery_labels == label, unit @ query)
                    for query, label in zip(asked, own, strict=True)
                ]
            )
        )
        ours = average_precision(asked, y, own, gallery_labels).values
        np.testing.assert_allclose(values, ours, atol=1e-4)
        row |= {name: row[name] * items / len(asked) for name in ('seconds', 'cpu_seconds')}  # of all
        rows['one direction, scikit-learn'] = row | {
            'map': float(np.nanmean(values)),
            'chance': rows['one direction']['chance'],
            'ratio': row['seconds'] / rows['one direction']['seconds'],
            'cpu_ratio': row['cpu_seconds'] / rows['one direction']['cpu_seconds'],
        }
    if scores:
        matrix = x @ y.T
        result, row = timed(lambda: average_precision_of_scores(matrix, labels, gallery_labels))
        rows['given scores'] = row | {'map': result.mean, 'chance': rows['one direction']['chance']}
    return rows


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    table = Table('', 'seconds', 'cpu seconds', 'ratio', 'peak MB', 'before', 'mAP', 'chance', title=title)
    for name, row in rows.items():
        ratio = f'{row["ratio"]:.1f}' if 'ratio' in row else ''
        table.add_row(
            name,
            f'{row["seconds"]:.1f}',
            f'{row["cpu_seconds"]:.1f}',
            ratio,
            f'{row["peak_mb"]:.0f}',
            f'{row["peak_mb_before"]:.0f}',
            f'{row["map"]:.4f}',
            f'{row["chance"]:.4f}',
        )
    Console().print(table)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--items', type=positive, default=10_000, help='queries, and as many gallery items')
    parser.add_argument('--classes', type=positive, default=40)
    parser.add_argument('--width', type=positive, default=512, help='numbers an embedding')
    parser.add_argument('--table', action='store_true', help='also all nine directions with the domain mixing')
    parser.add_argument('--scores', action='store_true', help='also given scores (float32; the matrix is held)')
    parser.add_argument(
        '--peer_queries', type=at_least(0), default=200, help='queries of scikit-learn; 0 leaves it out'
    )
    parser.add_argument('--json', type=output_file, help='also write the numbers to this file')
    arguments = parser.parse_args(arguments)
    if arguments.items < 10 * arguments.classes:
        parser.error(f'argument --items: {arguments.items}: must be at least 10 a class, of {arguments.classes}')
    rows = measure(
        arguments.items,
        arguments.classes,
        arguments.width,
        table=arguments.table,
        scores=arguments.scores,
        peer_queries=arguments.peer_queries,
    )
    show(
        f'{arguments.items} x {arguments.items}, {arguments.classes} classes, {os.cpu_count()} cores, '
        f'load {os.getloadavg()[0]:.1f}',
        rows,
    )
    met = rows['one direction']['seconds'] <= GOAL_SECONDS
    print(f'goal, one direction at most {GOAL_SECONDS:.0f} s: {"met" if met else "missed"}')
    if arguments.json:
        result = {**machine(), **source(), 'load': os.getloadavg()[0], 'rows': rows}
        arguments.json.write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()
