"""CMIC at the published size on a GPU, beside compiled PyTorch: step, large batch, search, and where the time goes.

    python experiments/benchmarks/accelerator.py --json=out.json              # all parts
    python experiments/benchmarks/accelerator.py --parts step profile --repeats=20

On a GPU: the paper preset (ResNet-50 and 12 x ResNet-34 at 224) at batch 60 in bfloat16; batch 512 in chunks of 64 by
gradient caching; exact search of 256 queries over 10^6 shapes x 12 views x 128; the three largest costs of the step. On
a CPU the same parts run small, to show that they work; the table says which sizes were taken. Goals on an H200: a step
of at most 45 ms and at least 1.5 times as fast as PyTorch's; 1.5 ms a query.

Needs JAX, Flax, Optax, Chex, rich and ml_collections; PyTorch for its rows. Neither TensorFlow nor mesh tools.
"""

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from measuring import interleave, make_parser, parse, peak_mib, says_errors, show, write_json

# isort: split
import jax
import numpy as np
import train_step
from ml_collections import ConfigDict
from overrides import apply_overrides
from random_galleries import embeddings
from random_steps import RandomStep, check_config, parallel_of, read_config

from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery

_METADATA = re.compile(r'%?([\w.\-]+) = .*metadata=\{.*?op_name="([^"]*)"')
PARTS = ('step', 'chunked', 'search', 'profile')
# Argument: (on a CPU, on a GPU, help).
SIZES = {
    'config': ('pix3d.py:smoke', 'pix3d.py:paper', 'of the step'),
    'dtype': ('float32', 'bfloat16', 'of the step'),
    'batch': (4, 60, 'photos, and shapes, a step'),
    'large_batch': (8, 512, 'of the step in chunks'),
    'chunk': (4, 64, 'of gradient caching'),
    'shapes': (2_000, 1_000_000, 'of the gallery, 12 views x 128 each'),
    'queries': (16, 256, 'of a batch'),
}
COLUMNS = (
    ('part', ''),
    ('what', ''),
    ('milliseconds', '.3f'),
    ('ratio', '.2f'),
    ('per_second', '.1f'),
    ('temporary_mib', '.0f'),
    ('peak_mib', '.0f'),
    ('share', '.1%'),
    ('goal_ms', 'g'),
)


def config_of(sizes: argparse.Namespace, batch: int, chunk: int) -> tuple[ConfigDict, str]:
    """The config of a step on one device, and its short name. Raises ConfigError: a bad value."""
    config, short = read_config(sizes.config, {}, experiment='photo_to_shape')
    apply_overrides(
        config,
        {'batch_size': str(batch), 'model.chunk': str(chunk), 'model.dtype': sizes.dtype, 'parallel.devices': '1'},
    )
    check_config(config)
    parallel_of(config)
    return config, short


def measure_step(sizes: argparse.Namespace) -> list[dict[str, Any]]:
    """The step beside PyTorch's."""
    config, short = config_of(sizes, sizes.batch, 0)
    rows = train_step.measure(short, config, repeats=sizes.repeats)
    for row in rows:
        row['what'] = f'{short}, batch {sizes.batch}, {row["step"]}'
        if 'seconds' in row:
            row['milliseconds'] = row['seconds'] * 1e3
    rows[0]['goal_ms'] = 45
    return rows


def measure_chunked(sizes: argparse.Namespace) -> list[dict[str, Any]]:
    """A large batch by gradient caching."""
    config, short = config_of(sizes, sizes.large_batch, sizes.chunk)
    step = RandomStep(config)
    spent = interleave({'step': step}, repeats=max(3, sizes.repeats // 4))['step']
    return [
        {
            'what': f'{short}, batch {sizes.large_batch} in chunks of {sizes.chunk}',
            **spent,
            'milliseconds': spent['seconds'] * 1e3,
            'per_second': sizes.large_batch / spent['seconds'],
            **step.memory,
            'peak_mib': peak_mib(),
        }
    ]


def measure_search(sizes: argparse.Namespace) -> list[dict[str, Any]]:
    """Exact search for a batch of queries; the gallery is on the device after the first."""
    started = time.perf_counter()
    gallery, queries, projected = embeddings(sizes.shapes, 12, 128, sizes.queries, 2.0, 0)
    drawn = time.perf_counter() - started
    gallery = SearchGallery(gallery, 'attention')
    started = time.perf_counter()
    found = search(gallery, queries, 10, projected=projected, method='brute')
    first = time.perf_counter() - started
    spent = interleave(
        {'search': lambda: search(gallery, queries, 10, projected=projected, method='brute')},
        repeats=max(3, sizes.repeats // 4),
    )['search']
    if not np.isfinite(found.scores).all():
        raise AssertionError('search: scores that are not finite')
    return [
        {
            'what': f'{sizes.shapes:,} x 12 x 128, a query of {sizes.queries}',
            **spent,
            'drawn_s': drawn,
            'first_s': first,
            'milliseconds': spent['seconds'] / sizes.queries * 1e3,
            'per_second': sizes.queries / spent['seconds'],
            'peak_mib': peak_mib(),
            'goal_ms': 1.5,
        }
    ]


def measure_profile(sizes: argparse.Namespace) -> list[dict[str, Any]]:
    """The three largest costs of the step."""
    config, short = config_of(sizes, sizes.batch, 0)
    step = RandomStep(config)
    step()
    costs = largest_costs(step, step.program)
    if not costs:
        return [{'what': f'{short}: this profile names no operation of the step'}]
    return [{'what': cost['cost'], 'milliseconds': cost['milliseconds'], 'share': cost['share']} for cost in costs]


def largest_costs(call: Callable[[], Any], program: str, *, calls: int = 3, count: int = 3) -> list[dict[str, Any]]:
    """The groups of operations that take longest.

    Args:
      call: one step of a program that is compiled and warm; waits for its result.
      program: its text, `compiled.as_text()`, which says where every operation comes from.
      calls: steps in the profile.
      count: groups to name.

    Returns:
      For each group its name ('backward conv_general_dilated'), milliseconds a step, and share of all operations' time;
      none where the profile names no operation of the program.
    """
    written = operations(program)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                call()
        spent = Counter()
        for path in Path(folder).rglob('*.xplane.pb'):
            spent += operation_times(path, written)
    total = sum(spent.values())
    return [
        {'cost': name, 'milliseconds': nanoseconds / 1e6 / calls, 'share': nanoseconds / total}
        for name, nanoseconds in spent.most_common(count)
    ]


def operations(program: str) -> dict[str, str]:
    """{name of an operation: the group that it belongs to} of a compiled program's text."""
    return {name: group(path) for name, path in _METADATA.findall(program)}


def group(path: str) -> str:
    """'backward conv_general_dilated' for the path 'jit(step)/transpose(jvp(Encoder))/conv1/conv_general_dilated'."""
    primitive = path.rsplit('/', 1)[-1]
    if 'transpose(' in path:
        return f'backward {primitive}'
    return f'forward {primitive}' if 'jvp(' in path else primitive


def operation_times(path: Path, written: Mapping[str, str]) -> Counter:
    """Nanoseconds by group in one profile: of the kernels of a GPU where there is one, else of threads.

    A kernel whose operation the profile does not tell, such as one inside a CUDA graph, is a group by itself.
    """
    planes = list(jax.profiler.ProfileData.from_file(str(path)).planes)
    streams = [
        line
        for plane in planes
        if plane.name.startswith('/device:GPU')
        for line in plane.lines
        if line.name.startswith('Stream')
    ]
    spent = Counter()
    for line in streams or [line for plane in planes for line in plane.lines]:
        for event in line.events:
            name = dict(event.stats).get('hlo_op') or event.name
            if name in written:
                spent[written[name]] += event.duration_ns
            elif streams:
                spent[f'kernel {event.name[:60]}'] += event.duration_ns
    return spent


@says_errors
def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table after every part; returns 1 where the config is bad."""
    parser = make_parser(__doc__, repeats=12)
    parser.add_argument('--parts', nargs='+', default=list(PARTS), choices=PARTS)
    known, _, cores = parse(parser, arguments, sizes=SIZES)
    device = jax.devices()[0]
    where = f'{cores} CPU cores: small sizes, no goal holds' if device.platform == 'cpu' else str(device.device_kind)
    measures = {'step': measure_step, 'chunked': measure_chunked, 'search': measure_search, 'profile': measure_profile}
    steps = {'step': (known.batch, 0), 'chunked': (known.large_batch, known.chunk), 'profile': (known.batch, 0)}
    for part in known.parts:  # all, before the first is measured
        if part in steps:
            config_of(known, *steps[part])
    rows = []
    for part in known.parts:
        rows += [{'part': part, **row} for row in measures[part](known)]
        show(f'{where}; {", ".join(f"{name} {getattr(known, name)}" for name in SIZES)}', COLUMNS, rows)
        write_json(known.json, title='CMIC and search on an accelerator', arguments=known, rows=rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
