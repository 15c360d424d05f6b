"""Does the input pipeline keep up: step time with it against the same compiled step on one resident batch.

    python experiments/benchmarks/input_pipeline.py                          # synthetic sample, small preset
    python experiments/benchmarks/input_pipeline.py --data_dir=DIR           # real data in Pix3D's layout
    python experiments/benchmarks/input_pipeline.py --config=pix3d.py:paper --pipeline_only
    python experiments/benchmarks/input_pipeline.py --json=out.json --config.batch_size=12

Blocks of steps on the resident batch and blocks of steps with the pipeline take turns in one run, so that what else
the machine does falls on both; the first steps of a block are not counted, since the pipeline has made their batches
while the other block ran. As in training, nothing waits for a step within a block. The ratio of the medians should be
at most 1.1. The pipeline alone is measured too, in processor time: on a CPU it shares the cores with the step.
"""

import argparse
import itertools
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[n]) for n in (1, 2)]

import jax  # noqa: E402
from config_files import apply_overrides, load_config, split_overrides  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import data_pipelines  # noqa: E402, F401, before TensorFlow: silences it
from data_pipelines import pipeline  # noqa: E402
from data_pipelines.augmentation import Augmentation  # noqa: E402
from data_pipelines.pix3d import read_pix3d  # noqa: E402
from data_pipelines.retrieval_dataset import GalleryTable, QueryTable, load_gallery, load_queries, prepare  # noqa: E402
from data_pipelines.sample.pix3d_layout import write_pix3d_sample  # noqa: E402
from jaxret.errors import JaxretError  # noqa: E402
from jaxret.geometry.render import ViewRing  # noqa: E402
from jaxret.systems.cmic import CMIC  # noqa: E402
from jaxret.training.optimizers import make_optimizer, make_schedule  # noqa: E402
from jaxret.training.parallel import make_parallel  # noqa: E402
from jaxret.training.state import create_state  # noqa: E402
from jaxret.training.step import make_train_step  # noqa: E402

GOAL = 1.1
LONG = 10**6  # steps of a run that never ends here


def load_tables(config: ConfigDict, cache: Path) -> tuple[QueryTable, GalleryTable]:
    """Training photos and gallery, through the real reader."""
    processes = config.processes or os.cpu_count()
    folder = Path(config.data_dir) if config.data_dir else write_pix3d_sample(
        cache / 'sample', shapes_per_category=config.sample.shapes_per_category,
        photos_per_shape=config.sample.photos_per_shape, processes=processes)
    data = config.data
    layout = read_pix3d(
        folder, categories=data.categories, exclude_occluded=data.exclude_occluded,
        exclude_truncated=data.exclude_truncated, gallery=data.gallery, on_bad_file=config.on_bad_file, crop=data.crop,
        up_axis=data.up_axis, min_shapes=config.batch_size, cache_dir=cache, check_processes=processes)
    prepared = prepare(layout, ViewRing(size=data.image_size, **config.render.to_dict()), size=data.image_size,
                       crop=data.crop, margin=data.margin, fit=data.fit, cache_dir=cache, processes=processes,
                       on_bad_file=config.on_bad_file)
    return load_queries(prepared, 'train'), load_gallery(prepared)


def endless_batches(config: ConfigDict, queries: QueryTable, gallery: GalleryTable) -> Iterator[pipeline.Batch]:
    return pipeline.training_batches(
        queries, gallery, size=config.data.image_size, batch_size=config.batch_size, seed=config.seed, start=0,
        stop=LONG, photo_augmentation=Augmentation.from_config(config.photo_augmentation),
        view_augmentation=Augmentation.from_config(config.view_augmentation),
        views_per_step=config.data.views_per_step)


def measure_pipeline(batches: Iterator[pipeline.Batch], count: int) -> dict[str, float]:
    """Milliseconds a batch, of the processor and of the clock, when nothing else is done."""
    for _ in itertools.islice(batches, 5):  # threads start, the number of parallel calls settles
        pass
    processor, clock = time.process_time(), time.perf_counter()
    for _ in itertools.islice(batches, count):
        pass
    return {'pipeline_cpu_ms': 1e3 * (time.process_time() - processor) / count,
            'pipeline_wall_ms': 1e3 * (time.perf_counter() - clock) / count}


def compile_step(config: ConfigDict, example: pipeline.Batch) -> tuple[Callable[[Any], None], Callable[[], None], Any]:
    """Returns `advance` (one step on a placed batch), `wait` (until all steps are done) and `place`."""
    parallel = make_parallel(config.parallel.mode, devices=config.parallel.devices, batch_size=config.batch_size,
                             chunk=config.model.chunk)
    schedule = make_schedule(config.optimizer, LONG)
    optimizer = make_optimizer(config.optimizer, schedule)
    system = CMIC.from_config(config, chunk=config.model.chunk, axis_name=parallel.axis_name)
    step = parallel.compile(make_train_step(system, optimizer, learning_rate=schedule,
                                            average_decay=config.optimizer.average_decay,
                                            axis_name=parallel.axis_name))
    variables = jax.jit(CMIC.from_config(config).init)(jax.random.key(config.seed), example)
    current = [parallel.place_state(create_state(
        variables, optimizer, seed=config.seed, average=config.optimizer.average_decay > 0))]

    def advance(batch: Any) -> None:
        current[0], _ = step(current[0], batch)

    def wait() -> None:
        jax.block_until_ready(current[0])

    return advance, wait, parallel.place_batch


def measure_steps(advance: Callable[[Any], None], wait: Callable[[], None], batches: Iterator[Any], *, skip: int,
                  count: int) -> float:
    """Milliseconds a step over `count` steps, after `skip` steps."""
    for batch in itertools.islice(batches, skip):
        advance(batch)
    wait()
    start = time.perf_counter()
    for batch in itertools.islice(batches, count):
        advance(batch)
    wait()
    return 1e3 * (time.perf_counter() - start) / count


def compare(config: ConfigDict, queries: QueryTable, gallery: GalleryTable, *, blocks: int, steps: int, skip: int
            ) -> dict[str, Any]:
    """Step times of both kinds of blocks and the ratio of their medians."""
    batches = endless_batches(config, queries, gallery)
    example = next(batches)
    advance, wait, place = compile_step(config, example)
    resident = itertools.repeat(place(example))
    piped = map(place, batches)
    times: dict[str, list[float]] = {'resident': [], 'pipeline': []}
    advance(next(resident))
    wait()
    for block in range(blocks):
        kinds = [('resident', resident), ('pipeline', piped)]
        for name, source in kinds[::1 if block % 2 == 0 else -1]:
            times[name].append(measure_steps(advance, wait, source, skip=skip, count=steps))
    resident_ms, pipeline_ms = (float(np.median(times[name])) for name in ('resident', 'pipeline'))
    return {'resident_ms': resident_ms, 'with_pipeline_ms': pipeline_ms, 'ratio': pipeline_ms / resident_ms,
            'blocks': times}


def machine() -> dict[str, str]:
    device = jax.devices()[0]
    return {'cpu': f'{os.cpu_count()} x {_processor()}', 'device': f'{len(jax.devices())} x {device.device_kind}',
            'load': ' '.join(f'{value:.1f}' for value in os.getloadavg()),
            'versions': f'Python {platform.python_version()}, ' + ', '.join(
                f'{name} {version(name)}' for name in ('jax', 'flax', 'tensorflow-cpu', 'numpy'))}


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(':', 1)[1].strip() for line in lines if line.startswith('model name')), platform.machine())


def show(result: dict[str, Any]) -> None:
    table = Table(title='input pipeline', show_header=False)
    for name, value in result.items():
        if name != 'blocks':
            table.add_row(name, f'{value:.3f}' if name == 'ratio' else f'{value:.1f}' if isinstance(value, float)
                          else str(value))
    if 'blocks' in result:
        for name, values in result['blocks'].items():
            table.add_row(f'{name}, ms a step by block', ' '.join(f'{value:.0f}' for value in values))
        table.add_row('goal', f'ratio at most {GOAL}: {"met" if result["ratio"] <= GOAL else "missed"}')
    Console().print(table)


def main() -> int:
    """Measures, prints a table; returns 1 where the input is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument('--config', default='pix3d.py', help='config and preset, as of run.py; --config.KEY=VALUE too')
    parser.add_argument('--data_dir', default='', help='folder in Pix3D\'s layout (default: the synthetic sample)')
    parser.add_argument('--cache_dir', type=Path, default=None, help='prepared data (default: as of run.py)')
    parser.add_argument('--blocks', type=int, default=8, help='blocks of each kind')
    parser.add_argument('--steps', type=int, default=15, help='counted steps a block')
    parser.add_argument('--skip', type=int, default=6, help='steps of a block that are not counted')
    parser.add_argument('--pipeline_only', action='store_true', help='no steps, only the cost of a batch')
    parser.add_argument('--json', type=Path, help='also write the numbers to this file')
    known, rest = parser.parse_known_args()
    try:
        config, short = load_config(known.config)
        apply_overrides(config, {'data_dir': known.data_dir, **split_overrides(rest)})
        cache = known.cache_dir or Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'jaxret'
        queries, gallery = load_tables(config, cache)
        result: dict[str, Any] = {'config': short, 'data': config.data_dir or 'synthetic sample', **machine(),
                                  'batch': config.batch_size, 'size': config.data.image_size,
                                  'views': config.data.views_per_step or gallery.views.shape[1]}
        result |= measure_pipeline(endless_batches(config, queries, gallery), known.steps * 2)
        if not known.pipeline_only:
            result |= compare(config, queries, gallery, blocks=known.blocks, steps=known.steps, skip=known.skip)
    except JaxretError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    show(result)
    if known.json:
        known.json.write_text(json.dumps(result, indent=2) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
