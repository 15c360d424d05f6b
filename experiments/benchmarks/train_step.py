"""How long a train step takes, system by system, beside the same step in PyTorch.

    python experiments/benchmarks/train_step.py                                   # the small preset of every system
    python experiments/benchmarks/train_step.py --configs pix3d.py scan_cad.py --json=out.json
    python experiments/benchmarks/train_step.py --configs pix3d.py:paper --config.batch_size=2 --repeats=3

Random arrays, resident on the device; forward, backward, optimizer and moving average, as in a run. The peer is the
same architecture of as many parameters on the same batch, with the augmentation that is inside the compiled step;
on a GPU channels last, compiled, and in bfloat16 autocast where config.model.dtype says so. `ratio` is the peer's
time over jaxret's, medians of steps that took turns: above 1 jaxret is faster. GFLOP are of the loss without gradients,
as JAX counts them in the program before it is compiled. A system without a peer, or a peer that is not installed, is
said to be missing.
"""

import importlib
import sys
from typing import Any

from measuring import find_peer, interleave, make_parser, parse, peak_mib, show, write_json

# isort: split
from ml_collections import ConfigDict
from random_steps import RandomStep, read_config
from torch_peers import PEERS

from jaxret.errors import JaxretError

SMALL = ('pix3d.py', 'modelnet40.py', 'mi3dor.py', 'scan_cad.py')
COLUMNS = (
    ('config', ''),
    ('batch', 'd'),
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


def measure(short: str, config: ConfigDict, *, repeats: int) -> list[dict[str, Any]]:
    """Rows of jaxret's step and of the peer's."""
    step = RandomStep(config)
    peer, missing = make_peer(config, step)
    times = interleave({'jaxret': step} | ({} if peer is None else {'PyTorch': peer}), repeats=repeats)
    forward, whole = step.gigaflops()
    rows = [
        {
            'config': short,
            'batch': config.batch_size,
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
        return [*rows, {'config': short, 'batch': config.batch_size, 'step': missing}]
    rows[1]['peak_mib'] = peer.peak_mib()
    for name in ('', 'cpu_'):
        rows[0][f'{name}ratio'] = rows[1][f'{name}seconds'] / rows[0][f'{name}seconds']
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table; returns 1 where a config is bad."""
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument('--configs', nargs='+', default=SMALL, help='as of run.py; --config.KEY=VALUE changes all')
    rows = []
    try:
        known, overrides, cores = parse(parser, arguments, overrides=True)
        for config, short in [read_config(name, overrides) for name in known.configs]:
            rows += measure(short, config, repeats=known.repeats)
            print(f'{short}: measured', flush=True)
    except (JaxretError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    show(f'train steps, {cores} cores', COLUMNS, rows)
    write_json(known.json, title='Train steps of jaxret and PyTorch', arguments=known, rows=rows, overrides=overrides)
    return 0


if __name__ == '__main__':
    sys.exit(main())
