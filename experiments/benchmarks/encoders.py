"""How many images, grids, clouds and meshes a second every encoder embeds, beside torchvision's or timm's of the same.

    python experiments/benchmarks/encoders.py                                     # sizes for CPUs, or for the GPU here
    python experiments/benchmarks/encoders.py --encoders resnet18 resnet50 --image_size=224 --batch=16 --threads=1
    python experiments/benchmarks/encoders.py --encoders efficientnet_lite0 --image_size=224 --train

Evaluation mode, as in indexing: running statistics, no gradients, random float32 inputs on the device. With --train a
step's work instead: batch statistics, forward, and the gradients of all parameters. On a CPU images
default to 64 x 64 and point, mesh and grid networks to a quarter of their width; on a GPU to 224 x 224 and full width,
and PyTorch runs compiled; both channels last. `ratio` is the peer's time over jaxret's, medians of runs that took
turns: above 1 jaxret is faster. Grid encoders are compared with `torch_peers.scan_cad`; an encoder without a peer says
so.
"""

import argparse
import importlib
import sys
from collections.abc import Callable
from typing import Any

from measuring import compiled_memory, find_peer, gigaflops, interleave, make_parser, parse, ratios, show, write_json

# isort: split
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from random_steps import random_variables

from jaxret.encoders.alexnet import ALEXNET_NAMES, alexnet
from jaxret.encoders.dgcnn import DGCNN
from jaxret.encoders.efficientnet_lite import EFFICIENTNET_LITE_NAMES
from jaxret.encoders.hourglass import VoxelEncoder
from jaxret.encoders.image_backbones import image_network
from jaxret.encoders.meshnet import MeshNet
from jaxret.encoders.pointnet import PointNet
from jaxret.encoders.pointwise import scaled
from jaxret.encoders.resnet import RESNET_NAMES
from jaxret.encoders.voxel_baselines import OccupancyPointNet, VoxelCNN
from jaxret.training.state import count_parameters

COLUMNS = (
    ('encoder', ''),
    ('input', ''),
    ('form', ''),
    ('milliseconds', '.2f'),
    ('cpu_ms', '.2f'),
    ('per_second', '.1f'),
    ('ratio', '.2f'),
    ('cpu_ratio', '.2f'),
    ('parameters', ',d'),
    ('gflop', '.2f'),
    ('temporary_mib', '.0f'),
)
TRAINED = (*RESNET_NAMES, *EFFICIENTNET_LITE_NAMES)
IMAGES = (*TRAINED, *ALEXNET_NAMES)
GRIDS = ('voxel_fine', 'voxel_coarse', 'cnn3d', 'occupancy_pointnet')
ENCODERS = (*IMAGES, *GRIDS, 'dgcnn', 'pointnet', 'meshnet')
DIM = 256
SMALLEST = 63  # pixels of which AlexNet's pools leave one cell
# Argument: (on a CPU, on a GPU, help).
SIZES = {
    'batch': (8, 256, 'inputs at once'),
    'image_size': (64, 224, 'pixels'),
    'points': (256, 1024, 'of a cloud'),
    'faces': (256, 1024, 'of a mesh'),
    'width': (0.25, 1.0, 'factor on the channels of grids, clouds and meshes'),
}


def make(name: str, sizes: argparse.Namespace) -> tuple[nn.Module, tuple[np.ndarray, ...], str]:
    """An encoder, a batch of its inputs, and what one of them is."""
    rng, batch, width = np.random.default_rng(0), sizes.batch, sizes.width
    if name in IMAGES:
        images = rng.standard_normal((batch, sizes.image_size, sizes.image_size, 3), np.float32)
        return (alexnet if name in ALEXNET_NAMES else image_network)(name), (images,), 'image'
    if name in GRIDS:
        grids = (rng.random((batch, 32, 32, 32, 1)) < 0.1).astype(np.float32)
        levels = tuple(scaled(channels, width) for channels in (8, 16, 32, 64))
        module = {
            'voxel_fine': lambda: VoxelEncoder(channels=(*levels, DIM)),
            'voxel_coarse': lambda: VoxelEncoder(stem='coarse', channels=(*levels, DIM)),
            'cnn3d': lambda: VoxelCNN(dim=DIM, width=width),
            'occupancy_pointnet': lambda: OccupancyPointNet(points=sizes.points, dim=DIM, width=width),
        }[name]()
        return module, (grids,), 'grid'
    if name == 'meshnet':
        faces = rng.uniform(-1, 1, (batch, sizes.faces, 15)).astype(np.float32)
        return MeshNet(dim=DIM, width=width), (faces, rng.integers(sizes.faces, size=(batch, sizes.faces, 3))), 'mesh'
    points = rng.uniform(-1, 1, (batch, sizes.points, 3)).astype(np.float32)
    return (DGCNN if name == 'dgcnn' else PointNet)(dim=DIM, width=width), (points,), 'cloud'


def make_peer(
    name: str, module: nn.Module, inputs: tuple[np.ndarray, ...], parameters: int, train: bool
) -> tuple[Callable[[], Any] | None, str]:
    """The same network in PyTorch as a call, and its name, or None and what to say instead.

    Raises:
      AssertionError: it has another number of parameters.
    """
    torch, missing = find_peer('torch')
    if torch is None:
        return None, f'PyTorch: {missing}'
    if name in ('voxel_fine', 'voxel_coarse'):
        peer = importlib.import_module('torch_peers.scan_cad').VoxelEncoder(module.channels, name == 'voxel_coarse')
        title = 'PyTorch'
    elif name in ('resnet18', 'resnet34', 'resnet50', 'alexnet'):
        torchvision, missing = find_peer('torchvision')
        if torchvision is None:
            return None, f'torchvision: {missing}'
        peer, title = getattr(torchvision.models, name)(), 'torchvision'
        if name == 'alexnet':
            side = inputs[0].shape[1]
            if side != 224:
                return None, f'torchvision: its alexnet is another network at {side} x {side}'
            peer.classifier[-1] = torch.nn.Identity()
        else:
            peer.fc = torch.nn.Identity()
    elif name in EFFICIENTNET_LITE_NAMES:
        timm, missing = find_peer('timm')
        if timm is None:
            return None, f'timm: {missing}'
        peer, title = timm.create_model(f'tf_{name}', num_classes=0), 'timm'
    else:
        return None, 'PyTorch: no peer of this encoder'
    count = sum(x.numel() for x in peer.parameters())
    if count != parameters:
        raise AssertionError(f'{name}: the peer has {count:,} parameters, jaxret {parameters:,}')
    cuda = torch.cuda.is_available()
    x = torch.from_numpy(inputs[0]).movedim(-1, 1)  # channels last in memory
    layout = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    peer = peer.train(train).to(memory_format=layout)
    if cuda:
        torch.backends.cudnn.benchmark = True
        x, peer = x.cuda(), torch.compile(peer.cuda())

    def call() -> None:
        if train:
            peer.zero_grad()
            peer(x).square().mean().backward()
        else:
            with torch.inference_mode():
                peer(x)
        if cuda:
            torch.cuda.synchronize()

    return call, title


def measure(name: str, sizes: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of jaxret's encoder and of the peer."""
    module, inputs, what = make(name, sizes)
    device_inputs = jax.device_put(tuple(jnp.asarray(x) for x in inputs))
    shapes = jax.eval_shape(module.init, jax.random.key(0), *device_inputs)
    variables = jax.device_put(random_variables(shapes))

    def embed(variables: Any, *inputs: jax.Array) -> Any:
        out = module.apply(variables, *inputs)
        return out[1] if name in ALEXNET_NAMES else out  # not the map

    def step(variables: Any, *inputs: jax.Array) -> Any:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            out, state = module.apply({**variables, 'params': params}, *inputs, train=True, mutable=['batch_stats'])
            return jnp.mean(jnp.square(out)), state

        return jax.value_and_grad(loss, has_aux=True)(variables['params'])

    run = step if sizes.train else embed
    compiled = jax.jit(run).lower(variables, *device_inputs).compile()
    parameters = count_parameters(shapes['params'])
    calls = {'jaxret': lambda: jax.block_until_ready(compiled(variables, *device_inputs))}
    peer, title = make_peer(name, module, inputs, parameters, sizes.train)
    if peer is not None:
        calls[title] = peer
    times = interleave(calls, repeats=sizes.repeats)
    shape = ' x '.join(map(str, inputs[0].shape))
    rows = [
        {
            'encoder': name,
            'input': shape,
            'form': form,
            'milliseconds': spent['seconds'] * 1e3,
            'cpu_ms': spent['cpu_seconds'] * 1e3,
            'per_second': sizes.batch / spent['seconds'],
            'items': what,
            **spent,
        }
        for form, spent in times.items()
    ]
    rows[0] |= {
        'parameters': parameters,
        'gflop': gigaflops(run, variables, *device_inputs),
        **compiled_memory(compiled),
    }
    if peer is None:
        return [*rows, {'encoder': name, 'input': shape, 'form': title}]
    rows[0] |= ratios(times[title], times['jaxret'])
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table."""
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument(
        '--encoders',
        nargs='+',
        default=list(ENCODERS),
        choices=ENCODERS,
        metavar='ENCODER',
        help=f'some of {", ".join(ENCODERS)}',
    )
    parser.add_argument('--train', action='store_true', help='forward and backward, of networks of images')
    known, _, cores = parse(parser, arguments, sizes=SIZES)
    if known.image_size < SMALLEST and not set(known.encoders).isdisjoint(ALEXNET_NAMES):
        parser.error(f'--image_size={known.image_size}: an AlexNet needs at least {SMALLEST}')
    if known.train and (others := [name for name in known.encoders if name not in TRAINED]):
        parser.error(f'--train: of {", ".join(TRAINED)} only, not {", ".join(others)}')
    rows = []
    for name in known.encoders:
        rows += measure(name, known)
        print(f'{name}: measured', flush=True)
    mode = 'training' if known.train else 'evaluation'
    show(f'encoders, {mode} mode, float32, {cores} cores', COLUMNS, rows)
    write_json(known.json, title='Encoders', arguments=known, rows=rows)
    return 0


if __name__ == '__main__':
    sys.exit(main())
