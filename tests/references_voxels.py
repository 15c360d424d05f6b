"""Slow oracles for the networks of grids: loops over kernel cells, float64. Nothing here imports jaxret."""

import numpy as np


def _taps(kernel):
    return np.ndindex(*kernel.shape[:3])


def _seen(tap, out, stride):
    return tuple(slice(start, start + stride * (out - 1) + 1, stride) for start in tap)


def convolve3d(x, kernel, stride, padding):
    """y[o] = sum over t of x[s o + t - p] kernel[t]; grids [B, N, N, N, C]."""
    x = np.pad(np.asarray(x, np.float64), [(0, 0), *[(padding, padding)] * 3, (0, 0)])
    out = (x.shape[1] - kernel.shape[0]) // stride + 1
    y = np.zeros((x.shape[0], out, out, out, kernel.shape[4]))
    for tap in _taps(kernel):
        y += x[(slice(None), *_seen(tap, out, stride))] @ np.asarray(kernel[tap], np.float64)
    return y


def transposed_convolve3d(x, kernel, stride, padding):
    """Adds x[i] kernel[t] to y[s i + t - p]."""
    cells, size = x.shape[1], kernel.shape[0]
    y = np.zeros((x.shape[0], *((cells - 1) * stride + size,) * 3, kernel.shape[4]))
    for tap in _taps(kernel):
        y[(slice(None), *_seen(tap, cells, stride))] += np.asarray(x, np.float64) @ np.asarray(kernel[tap], np.float64)
    kept = slice(padding, y.shape[1] - padding)
    return y[:, kept, kept, kept]


def kernel_gradient(x, gradient, size, stride, padding):
    """Of sum(gradient * convolve3d(x, kernel)): for each kernel cell, what it met times what came of it."""
    x = np.pad(np.asarray(x, np.float64), [(0, 0), *[(padding, padding)] * 3, (0, 0)])
    found = np.zeros((size,) * 3 + (x.shape[-1], gradient.shape[-1]))
    for tap in _taps(found):
        found[tap] = np.einsum('bxyzc,bxyzf->cf', x[(slice(None), *_seen(tap, gradient.shape[1], stride))], gradient)
    return found


def batch_norm(x, params, stats, rows=None):
    """With the statistics of some rows, or the running ones (None)."""
    if rows is None:
        mean, variance = np.asarray(stats['mean'], np.float64), np.asarray(stats['var'], np.float64)
    else:
        values = np.asarray(x, np.float64)[rows].reshape(-1, x.shape[-1])
        mean, variance = values.mean(axis=0), values.var(axis=0)
    scale, bias = (np.asarray(params[name], np.float64) for name in ('scale', 'bias'))
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + bias


class VoxelNetwork:
    """The published networks in evaluation mode, from Flax variables, written down from their description."""

    def __init__(self, variables):
        self.params, self.stats = variables['params'], variables['batch_stats']

    def _part(self, name):
        return VoxelNetwork({'params': self.params[name], 'batch_stats': self.stats[name]})

    def _conv(self, x, name, stride=1, padding=0):
        return convolve3d(x, np.asarray(self.params[name]['kernel']), stride, padding)

    def _back(self, x, name, stride=1, padding=0):
        return transposed_convolve3d(x, np.asarray(self.params[name]['kernel']), stride, padding)

    def _norm(self, x, name):
        return batch_norm(x, self.params[name], self.stats[name])

    def residual(self, x):
        y = self._conv(np.maximum(self._norm(x, 'bn1'), 0), 'conv1', 1, 1)
        return x + self._conv(np.maximum(self._norm(y, 'bn2'), 0), 'conv2', 1, 1)

    def _block(self, x, name):
        return self._part(name).residual(x)

    def encode(self, x):
        """32 - 16 - 8 - 4 - 2 - 1; and the cells of 32, 16, 8, 4 and 2."""
        x = self._conv(x, 'conv0', 1, 3)
        cells = [x]
        x = self._norm(np.maximum(x, 0), 'bn0')
        x = self._block(self._conv(x, 'conv1', 2, 1), 'block1')
        cells.append(x)
        for level in (2, 3, 4):
            x = self._norm(np.maximum(x, 0), f'bn{level - 1}')
            x = self._block(self._conv(x, f'conv{level}', 2, 1), f'block{level}')
            cells.append(x)
        x = self._conv(self._norm(np.maximum(x, 0), 'bn4'), 'conv5')
        return self._norm(x, 'bn5')[:, 0, 0, 0], dict(zip((32, 16, 8, 4, 2), cells, strict=True))

    def decode(self, z, cells):
        """1 - 2 - 4 - 8 - 16 - 32, with what comes over from the encoder, if anything does."""

        def plus(x):
            side = x.shape[1]
            return x + self._conv(cells[side], f'skip{side}') if cells else x

        x = plus(self._back(np.maximum(z, 0)[:, None, None, None], 'conv0'))
        for level in (1, 2, 3, 4):
            x = self._block(x, f'block{level}')
            x = plus(self._norm(np.maximum(self._back(x, f'conv{level}', 2, 1), 0), f'bn{level}'))
        return self._back(x, 'conv5', 1, 3)[..., 0]

    def hourglass(self, x, decoders, skip=False):
        vectors, cells = self._part('encoder').encode(x)
        parts = np.split(vectors, decoders, axis=-1)
        return [self._part(f'decoder{index}').decode(part, cells if skip else {}) for index, part in enumerate(parts)]


def surface_cells(grid):
    """Occupied cells with an empty neighbour, in the order of the grid."""
    found, n = [], len(grid)
    for cell in np.ndindex(grid.shape):
        if not grid[cell]:
            continue
        for axis in range(3):
            for step in (-1, 1):
                near = list(cell)
                near[axis] += step
                outside = not 0 <= near[axis] < n
                if (outside or not grid[tuple(near)]) and cell not in found[-1:]:
                    found.append(cell)
    return found
