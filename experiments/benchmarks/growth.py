"""How time and memory grow: with gallery, batch, views, points and faces.

    python experiments/benchmarks/growth.py --out=DIR                        # DIR/growth.json and DIR/growth_*.png
    python experiments/benchmarks/growth.py --axes gallery --sizes 1000 10000 100000
    python experiments/benchmarks/growth.py --axes batch --sizes 512 1024 2048 4096 8192 --limit_s=60 --out=DIR

Each curve is measured at its sizes, ended early where one call takes longer than --limit_s. The exponent is the slope
of log time (of the processor) and log memory against log size, by least squares over the upper half of the sizes:
1 is linear. What is worse than linear is named with its reason. Memory: what the compiler plans, arguments included
(losses, train step, point networks); the embeddings and what the first search adds (search); arrays of NumPy (the
rest). What is compiled is kept for the next run.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import (
    at_least,
    check_writable,
    describe_devices,
    interleave,
    make_parser,
    parse,
    positive,
    show,
    write_json,
)

# isort: split
import matplotlib
import numpy as np
from growth_curves import CURVES, Curve

from jaxret.errors import ConfigError
from jaxret.geometry.render import ViewRing
from jaxret.reports.palette import GREY, cycle

matplotlib.use('Agg')

from matplotlib import pyplot

COLUMNS = (
    ('axis', ''),
    ('curve', ''),
    ('sizes', ''),
    ('time_exponent', '.2f'),
    ('memory_exponent', '.2f'),
    ('verdict', ''),
)
AXES = tuple(dict.fromkeys(curve.axis for curve in CURVES))
LINEAR = 1.15  # exponents up to here count as linear: fits of a few noisy points are no better


def measure(curve: Curve, sizes: Sequence[int], *, repeats: int, limit_s: float) -> list[dict[str, Any]]:
    """Time and memory at each size."""
    rows = []
    for size in sizes:
        call, memory = curve.make(size)
        started = time.process_time()
        call()
        slow = time.process_time() - started > limit_s
        times = interleave({'it': call}, repeats=1 if slow else repeats)['it']
        rows.append(
            {
                'axis': curve.axis,
                'curve': curve.name,
                'size': size,
                'milliseconds': 1e3 * times['seconds'],
                'cpu_ms': 1e3 * times['cpu_seconds'],
                'memory_mib': memory,
            }
        )
        print(f'{curve.axis} {size:,}: {curve.name}, {rows[-1]["cpu_ms"]:.1f} ms, {memory:.1f} MiB', flush=True)
        if slow:
            break
    return rows


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Slope of log value against log size over the upper half, of at least three sizes; None where there are fewer.

    Args:
      sizes: ascending.
      values: one a size; above 0.
    """
    first = min(len(sizes) // 2, len(sizes) - 3)
    if first < 0 or min(values[first:]) <= 0:
        return None
    return float(np.polyfit(np.log(sizes[first:]), np.log(values[first:]), 1)[0])


def summary(curve: Curve, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Exponents of a curve, and what to say of them."""
    sizes = [row['size'] for row in rows]
    slopes = {
        f'{name}_exponent': exponent(sizes, [row[key] for row in rows])
        for name, key in (('time', 'cpu_ms'), ('memory', 'memory_mib'))
    }
    worse = [name.partition('_')[0] for name, slope in slopes.items() if slope is not None and slope > LINEAR]
    verdict = 'too few sizes for an exponent' if None in slopes.values() else 'at most linear'
    if worse:
        verdict = f'{" and ".join(worse)} worse than linear: {curve.reason or "unexplained"}'
    return {
        'axis': curve.axis,
        'curve': curve.name,
        'sizes': f'{sizes[0]:,} - {sizes[-1]:,}',
        **slopes,
        'verdict': verdict,
    }


def draw(path: Path, axis: str, rows: Sequence[dict[str, Any]], fits: Sequence[dict[str, Any]]) -> None:
    """Writes time and memory against size, both logarithmic, with a line of slope 1."""
    figure, panels = pyplot.subplots(1, 2, figsize=(10, 4), layout='constrained')
    for panel, (name, key, label) in zip(
        panels, (('time', 'cpu_ms', 'processor time, ms'), ('memory', 'memory_mib', 'memory, MiB')), strict=True
    ):
        for fit, colour in zip(fits, cycle(len(fits)), strict=True):
            own = [row for row in rows if row['curve'] == fit['curve']]
            slope = fit[f'{name}_exponent']
            title = fit['curve'] + ('' if slope is None else f' (exponent {slope:.2f})')
            style = {'marker': 'o', 'color': colour, 'label': title}
            panel.loglog([row['size'] for row in own], [row[key] for row in own], **style)
        ends = np.array([min(row['size'] for row in rows), max(row['size'] for row in rows)])
        lowest = min(row[key] for row in rows)
        panel.loglog(ends, lowest * ends / ends[0], linestyle=':', color=GREY, label='linear')
        panel.set_xlabel(axis)
        panel.set_ylabel(label)
        panel.legend(fontsize='small')
        panel.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def check(parser: argparse.ArgumentParser, known: argparse.Namespace) -> None:
    """Refuses sizes that are out of order or that cannot be rendered, and a folder that cannot be written; makes it."""
    sizes = known.sizes or [1]
    if sizes != sorted(set(sizes)):
        parser.error(f'argument --sizes: {" ".join(map(str, sizes))}: must be ascending')
    try:
        if 'views' in known.axes:
            ViewRing(views=sizes[-1])
        if known.out:
            known.out.mkdir(parents=True, exist_ok=True)
            check_writable(known.out / 'growth.json')
    except ConfigError as error:
        parser.error(f'argument --sizes: {error}')
    except OSError as error:
        parser.error(f'argument --out: {known.out}: {error.strerror}')


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table, draws."""
    parser = make_parser(__doc__, repeats=3)
    parser.add_argument('--axes', nargs='+', choices=AXES, default=AXES)
    parser.add_argument(
        '--sizes', type=positive, nargs='+', help='of all these axes, ascending (default: each its own)'
    )
    parser.add_argument(
        '--limit_s', type=at_least(0, float), default=5, help='no size above one whose call takes so long'
    )
    parser.add_argument('--out', type=Path, help='folder for growth.json and a picture an axis')
    known, _, cores = parse(parser, arguments)
    check(parser, known)
    rows, fits = [], []
    for curve in (curve for curve in CURVES if curve.axis in known.axes):
        own = measure(curve, known.sizes or curve.sizes, repeats=known.repeats, limit_s=known.limit_s)
        rows += own
        fits.append(summary(curve, own))
    title = f'growth, {describe_devices()}, {cores} cores'
    show(title, COLUMNS, fits)
    write_json(known.json, title=title, arguments=known, rows=rows, cores=cores, fits=fits)
    if known.out:
        write_json(known.out / 'growth.json', title=title, arguments=known, rows=rows, cores=cores, fits=fits)
        for axis in known.axes:
            own_rows, own_fits = ([one for one in part if one['axis'] == axis] for part in (rows, fits))
            draw(known.out / f'growth_{axis}.png', axis, own_rows, own_fits)
    return 0


if __name__ == '__main__':
    sys.exit(main())
