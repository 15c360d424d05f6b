"""Slow numpy versions, in float64 and written with loops, of what the image encoders compute.

Parameters are nested dicts as Flax has them: conv {'kernel': [k, k, C, F]}, batch norm {'scale', 'bias'} with
statistics {'mean', 'var'}, linear {'kernel': [C, F], 'bias': [F]}. Images are [B, H, W, C].
"""

import jax
import numpy as np

EPSILON = 1e-5
MOMENTUM = 0.9


def random_variables(module, *inputs, seed=0):
    """Parameters and statistics for `module` that are all different, so that a swapped or unused one shows."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)

    def draw(path, leaf):
        name = path[-1].key
        if name in ('scale', 'var'):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)
        scale = 0.3 if name in ('bias', 'mean') else np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return (scale * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def output_length(length, kernel, stride, padding):
    """floor((n + 2 p - k) / s) + 1, counted by moving the window."""
    count, start = 0, -padding
    while start + kernel <= length + padding:
        count, start = count + 1, start + stride
    return count


def pad(x, padding, value):
    batch, height, width, channels = x.shape
    out = np.full((batch, height + 2 * padding, width + 2 * padding, channels), value, np.float64)
    out[:, padding : padding + height, padding : padding + width] = x
    return out


def convolve(x, kernel, stride, padding):
    size, _, _, features = kernel.shape
    height, width = (output_length(n, size, stride, padding) for n in x.shape[1:3])
    padded = pad(x, padding, 0.0)
    out = np.zeros((x.shape[0], height, width, features))
    for b in range(x.shape[0]):
        for i in range(height):
            for j in range(width):
                window = padded[b, i * stride : i * stride + size, j * stride : j * stride + size]
                for f in range(features):
                    out[b, i, j, f] = (window * kernel[:, :, :, f]).sum()
    return out


def max_pool(x, size, stride, padding):
    height, width = (output_length(n, size, stride, padding) for n in x.shape[1:3])
    padded = pad(x, padding, -np.inf)
    out = np.zeros((x.shape[0], height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            out[:, i, j] = window.max(axis=(1, 2))
    return out


def batch_norm(x, params, stats, train):
    """Returns the normalised x and the new statistics."""
    out, new = np.zeros(x.shape), {'mean': np.array(stats['mean']), 'var': np.array(stats['var'])}
    for c in range(x.shape[-1]):
        values = np.asarray(x[..., c], np.float64)
        mean, var = stats['mean'][c], stats['var'][c]
        if train:
            mean = values.sum() / values.size
            var = ((values - mean) ** 2).sum() / values.size
            new['mean'][c] = MOMENTUM * stats['mean'][c] + (1 - MOMENTUM) * mean
            new['var'][c] = MOMENTUM * stats['var'][c] + (1 - MOMENTUM) * var
        out[..., c] = (values - mean) / np.sqrt(var + EPSILON) * params['scale'][c] + params['bias'][c]
    return out, new


def residual_block(x, params, stats, *, kernels, strides, train):
    """A block of len(kernels) convolutions; returns its output and the new statistics.

    Args:
      kernels, strides: of each convolution in turn, for example (3, 3) and (2, 1) for a basic block.
    """
    new, y = {}, x
    for number, (kernel, stride) in enumerate(zip(kernels, strides, strict=True), start=1):
        weights = params[f'conv{number}']['kernel']
        assert weights.shape[:2] == (kernel, kernel)
        y = convolve(y, weights, stride, {1: 0, 3: 1}[kernel])
        y, new[f'bn{number}'] = batch_norm(y, params[f'bn{number}'], stats[f'bn{number}'], train)
        if number < len(kernels):
            y = np.maximum(y, 0)
    if 'downsample_conv' in params:
        x = convolve(x, params['downsample_conv']['kernel'], int(np.prod(strides)), 0)
        x, new['downsample_bn'] = batch_norm(x, params['downsample_bn'], stats['downsample_bn'], train)
    return np.maximum(x + y, 0), new


def embedding_head(features, params, stats, train):
    """Batch norm, linear layer, division by the length; returns embeddings and new statistics."""
    normed, new = batch_norm(features, params['bn'], stats['bn'], train)
    out = np.zeros((features.shape[0], params['linear']['kernel'].shape[1]))
    for b in range(out.shape[0]):
        for d in range(out.shape[1]):
            out[b, d] = (normed[b] * params['linear']['kernel'][:, d]).sum() + params['linear']['bias'][d]
        length = np.sqrt((out[b] ** 2).sum())
        out[b] = out[b] / length if length > 0 else 0.0
    return out, {'bn': new}


def pool_views(embeddings, how):
    """Mean or max of the views of each shape, entry by entry."""
    shapes, views, dim = embeddings.shape
    out = np.zeros((shapes, dim))
    for g in range(shapes):
        for d in range(dim):
            values = [embeddings[g, v, d] for v in range(views)]
            out[g, d] = max(values) if how == 'max' else sum(values) / views
    return out
