"""Convolutions of the train steps one by one: operations a second beside PyTorch's, and what the processor gives.

    python experiments/benchmarks/convolutions.py --json=out.json
    python experiments/benchmarks/convolutions.py --cases 'ResNet 56' 'grid, first' --threads=1

Of each convolution the forward pass, and that with the gradients of map and kernel, whose operations count three times:
`gflops` are 10^9 multiplications and additions a second of processor time, of jaxret's form, PyTorch's (channels last),
and a matrix product of the same operations whose patches are gathered before (`product_gflops`): what is left where
gathering costs nothing. `ratio` is PyTorch's processor time over jaxret's, medians of runs that took turns: above 1
jaxret is faster.
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from measuring import find_peer, interleave, make_parser, parse, show, write_json

# isort: split
import jax
import jax.numpy as jnp
import numpy as np

from jaxret.encoders.convolution2d import convolve2d
from jaxret.encoders.convolution3d import convolve3d

COLUMNS = (
    ('case', ''),
    ('map', ''),
    ('kernel', ''),
    ('passes', ''),
    ('gflop', '.3f'),
    ('jaxret_gflops', '.1f'),
    ('pytorch_gflops', '.1f'),
    ('product_gflops', '.1f'),
    ('ratio', '.2f'),
)


class Case(NamedTuple):
    """Items, cells along each side, channels in and out, kernel, stride, dimensions."""

    batch: int
    side: int
    channels: int
    features: int
    kernel: int
    stride: int = 1
    axes: int = 2

    @property
    def out(self) -> int:
        """Cells along each side of the result."""
        return -(-self.side // self.stride)

    @property
    def gigaflop(self) -> float:
        """Of the forward pass, 10^9."""
        return 2e-9 * self.batch * (self.out * self.kernel) ** self.axes * self.channels * self.features


CASES = {
    'ResNet 224': Case(8, 224, 1, 64, 7, 2),
    'ResNet 56': Case(8, 56, 64, 64, 3),
    'ResNet 28': Case(8, 28, 128, 128, 3),
    'ResNet 14': Case(8, 14, 256, 256, 3),
    'ResNet 7': Case(8, 7, 512, 512, 3),
    'small 64': Case(72, 64, 3, 16, 7, 4),
    'small 16': Case(72, 16, 16, 16, 3),
    'small 8': Case(72, 8, 32, 32, 3),
    'small 4': Case(72, 4, 64, 64, 3),
    'grid, first': Case(8, 32, 1, 8, 7, axes=3),
    'grid, first, quarter': Case(8, 32, 1, 2, 7, axes=3),
}


def convolve(x: jax.Array, kernel: jax.Array, case: Case) -> jax.Array:
    """The convolution as jaxret's layers have it, its padding that of PyTorch."""
    if case.axes == 3:
        return convolve3d(x, kernel, stride=case.stride, padding=case.kernel // 2)
    return convolve2d(x, kernel, (case.stride,) * 2, [(case.kernel // 2,) * 2] * 2)


def both_passes(x: jax.Array, kernel: jax.Array, gradient: jax.Array, case: Case) -> tuple[jax.Array, Any]:
    """The result, and the gradients of map and kernel."""
    y, backward = jax.vjp(lambda x, kernel: convolve(x, kernel, case), x, kernel)
    return y, backward(gradient)


def peers(torch: Any, case: Case, x: np.ndarray, kernel: np.ndarray, gradient: np.ndarray) -> list[Callable[[], Any]]:
    """The passes in PyTorch."""
    layout = torch.channels_last if case.axes == 2 else torch.channels_last_3d
    function = torch.nn.functional.conv2d if case.axes == 2 else torch.nn.functional.conv3d
    own = [torch.from_numpy(array).movedim(-1, 1) for array in (x, gradient)]
    weights = torch.from_numpy(kernel).movedim((-1, -2), (0, 1)).contiguous(memory_format=layout)
    inputs = [own[0].clone(memory_format=torch.preserve_format).requires_grad_(), weights.clone().requires_grad_()]

    def forward() -> None:
        with torch.inference_mode():
            function(own[0], weights, stride=case.stride, padding=case.kernel // 2)

    def both() -> None:
        y = function(*inputs, stride=case.stride, padding=case.kernel // 2)
        torch.autograd.grad(y, inputs, own[1])

    return [forward, both]


def measure(name: str, case: Case, repeats: int) -> list[dict[str, Any]]:
    """Rows of the passes of one convolution."""
    rng = np.random.default_rng(0)
    shapes = (
        (case.batch, *(case.side,) * case.axes, case.channels),
        (*(case.kernel,) * case.axes, case.channels, case.features),
        (case.batch, *(case.out,) * case.axes, case.features),
    )
    arrays = [rng.standard_normal(shape, np.float32) for shape in shapes]
    x, kernel, gradient = map(jnp.asarray, arrays)
    seen = case.channels * case.kernel**case.axes
    patches = jnp.zeros((min(case.batch * case.out**case.axes, 2**14), seen), jnp.float32)  # of some cells
    product, flat = jax.jit(jnp.matmul), kernel.reshape(seen, -1)
    torch, missing = find_peer('torch')
    theirs = [None, None] if torch is None else peers(torch, case, *arrays)
    forward, both = (jax.jit(function, static_argnames='case') for function in (convolve, both_passes))
    ours = (lambda: forward(x, kernel, case=case), lambda: both(x, kernel, gradient, case=case))
    rows = []
    for passes, times, call, peer in zip(('forward', 'all'), (1, 3), ours, theirs, strict=True):
        calls = {'jaxret': lambda call=call: jax.block_until_ready(call())}
        calls |= {} if peer is None else {'pytorch': peer}
        calls['product'] = lambda: jax.block_until_ready(product(patches, flat))
        spent = {key: value['cpu_seconds'] for key, value in interleave(calls, repeats=repeats).items()}
        done = dict.fromkeys(spent, times * case.gigaflop) | {'product': 2e-9 * patches.size * case.features}
        rows.append(
            {
                'case': name,
                'map': ' x '.join(map(str, x.shape)),
                'kernel': ' x '.join(map(str, kernel.shape)),
                'passes': passes,
                'gflop': times * case.gigaflop,
                **{f'{key}_gflops': done[key] / seconds for key, seconds in spent.items()},
                'ratio': spent['pytorch'] / spent['jaxret'] if peer else None,
                **({} if peer else {'peer': missing}),
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Measures, prints a table."""
    parser = make_parser(__doc__, repeats=5)
    parser.add_argument('--cases', nargs='+', choices=tuple(CASES), default=tuple(CASES), metavar='CASE')
    known, _, cores = parse(parser, arguments)
    rows = [row for name in known.cases for row in measure(name, CASES[name], known.repeats)]
    show(f'convolutions, float32, {cores} cores', COLUMNS, rows)
    write_json(known.json, title='Convolutions', arguments=known, rows=rows, cores=cores)
    return 0


if __name__ == '__main__':
    sys.exit(main())
