"""How long a train step takes, system by system, and how much memory, beside the same step in PyTorch.

    python experiments/benchmarks/train_step.py                                   # small networks of every system
    python experiments/benchmarks/train_step.py --configs pix3d.py:random_start scan_cad.py --json=out.json
    python experiments/benchmarks/train_step.py --configs pix3d.py:paper --config.batch_size=2 --repeats=3
    python experiments/benchmarks/train_step.py --configs pix3d.py:random_start --batches 24 48 96 --chunk=24
    python experiments/benchmarks/train_step.py --configs pix3d.py:paper --batches 60 480 --chunk=60 --limit_gib=0

Random arrays, resident on the device; forward, backward, optimizer and moving average, as in a run. The peer is the
same architecture of as many parameters on the same batch, with the augmentation that is inside the compiled step;
on a GPU channels last, compiled, and in bfloat16 autocast where config.model.dtype says so. `ratio` is the peer's
time over jaxret's, medians of steps that took turns: above 1 jaxret is faster. GFLOP are of the loss without gradients,
as JAX counts them in the program before it is compiled. A system without a peer, or a peer that is not installed, is
said to be missing.

--chunk measures larger batches by gradient caching, too (CMIC): activations of a chunk are held, for one more forward
pass. Memory is what the compiler plans beside the arguments; what plans more than --limit_gib is not run.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from measuring import (
    at_least,
    find_peer,
    interleave,
    make_parser,
    parse,
    peak_mib,
    positive,
    ratios,
    says_errors,
    show,
    write_json,
)

# isort: split
from ml_collections import ConfigDict
from random_steps import RandomStep, parallel_of, read_config
from torch_peers import PEERS

from jaxret.errors import ConfigError

SMALL = ('pix3d.py:random_start', 'modelnet40.py:random_start', 'mi3dor.py:random_start', 'scan_cad.py')
COLUMNS = (
    ('config', ''),
    ('batch', 'd'),
    ('chunk', 'd'),
    ('step', ''),
    ('seconds', '.4f'),
    ('cpu_seconds', '.4f'),
    ('per_second', '.1f'),
    ('ratio', '.2f'),
    ('cpu_ratio', '.2f'),
    ('parameters', ',d'),
    ('forward_gflop', '.2f'),
    ('temporary_mib', '.0f'),
    ('peak_mib', '.0f'),
)


def make_peer(config: ConfigDict, step: RandomStep) -> tuple[Any, str]:
    """The same step in PyTorch, or None and what to say instead.

    Raises:
      AssertionError: the peer has another number of parameters.
    """
    torch, missing = find_peer('torch')
    if torch is None:
        return None, f'PyTorch: {missing}'
    if step.experiment.name not in PEERS:
        return None, f'PyTorch: no peer of {step.experiment.name} here'
    module, name = PEERS[step.experiment.name]
    try:
        peer = getattr(importlib.import_module(module), name)(config, step.experiment.classes)
    except NotImplementedError as error:
        return None, f'PyTorch: {error}'
    count = sum(x.numel() for x in peer.parameters())
    if count != step.parameters:
        raise AssertionError(f'{step.experiment.name}: the peer has {count:,} parameters, jaxret {step.parameters:,}')
    training = importlib.import_module('torch_peers.training')
    return training.TorchStep(peer, config, step.batch, groups=step.experiment.groups), ''


def measure(short: str, config: ConfigDict, *, repeats: int, limit_mib: float = float('inf')) -> list[dict[str, Any]]:
    """Rows of jaxret's step and of the peer's; the latter of steps that are not in chunks."""
    step = RandomStep(config)
    chunk = config.model.chunk if 'chunk' in config.model else 0
    first = {'config': short, 'batch': config.batch_size, 'chunk': chunk}
    if step.memory['temporary_mib'] > limit_mib:
        return [first | {'step': f'needs {step.memory["temporary_mib"] / 1024:.1f} GiB', **step.memory}]
    peer, missing = (None, 'PyTorch: no peer in chunks') if chunk else make_peer(config, step)
    times = interleave({'jaxret': step} | ({} if peer is None else {'PyTorch': peer}), repeats=repeats)
    forward, whole = step.gigaflops()
    rows = [
        {
            **first,
            'step': name,
            **spent,
            'per_second': config.batch_size / spent['seconds'],
            'items': step.experiment.items,
            'parameters': step.parameters,
        }
        for name, spent in times.items()
    ]
    rows[0] |= {'forward_gflop': forward, 'step_gflop': whole, **step.memory, 'peak_mib': peak_mib()}
    if peer is None:
        return [*rows, {**first, 'step': missing}]
    rows[1]['peak_mib'] = peer.peak_mib()
    rows[0] |= ratios(times['PyTorch'], times['jaxret'])
    return rows


def sizes(config: ConfigDict, batches: Sequence[int], chunk: int) -> list[ConfigDict]:
    """A config at each batch, all at once and, where the batch is larger than a chunk, in chunks.

    Raises:
      ConfigError: chunks that the system does not have or that do not divide a batch.
    """
    if chunk and 'chunk' not in config.model:
        raise ConfigError(f'--chunk={chunk}: {config.experiment} has no gradient caching; leave it out')
    found = []
    for batch in batches or [config.batch_size]:
        for part in (0, chunk) if batch > chunk > 0 else (None,):
            found.append(config.copy_and_resolve_references())
            found[-1].batch_size = batch
            if part is not None:
                found[-1].model.chunk = part
            parallel_of(found[-1])
    return found


@says_errors
def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table; returns 1 where a config is bad."""
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument('--configs', nargs='+', default=SMALL, help='as of run.py; --config.KEY=VALUE changes all')
    parser.add_argument('--batches', type=positive, nargs='+', default=[], help='instead of the batches of the configs')
    parser.add_argument('--chunk', type=at_least(0), default=0, help='also in chunks of so many (config.model.chunk)')
    parser.add_argument('--limit_gib', type=at_least(0, float), default=float('inf'), help='what needs more is not run')
    known, overrides, cores = parse(parser, arguments, overrides=True)
    configs = [read_config(name, overrides) for name in known.configs]  # bad ones before any work
    todo = [(one, short) for config, short in configs for one in sizes(config, known.batches, known.chunk)]
    rows = []
    for config, short in todo:
        rows += measure(short, config, repeats=known.repeats, limit_mib=known.limit_gib * 1024)
        print(f'{short}: measured', flush=True)
    show(f'train steps, {cores} cores', COLUMNS, rows)
    write_json(known.json, title='Train steps of jaxret and PyTorch', arguments=known, rows=rows, overrides=overrides)
    return 0


if __name__ == '__main__':
    sys.exit(main())
