"""Slow numpy versions, in float64 and written with loops, of what the encoders of points and meshes compute.

Parameters are nested dicts as Flax has them. A layer is {'linear': {'kernel': [C, F], 'bias': [F]}, 'bn': {...}}.
"""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from references_encoders import batch_norm, random_variables


def variables_for(model, *inputs, seed=0):
    """`random_variables` of a module that takes several inputs."""
    return random_variables(SimpleNamespace(init=lambda key, x: model.init(key, *x)), inputs, seed=seed)


def check_gradients(model, *inputs, step=2e-4):
    """Compares the compiled gradient in training with a central difference along itself; returns the gradient.

    So short a step changes hardly any neighbour or ReLU, which would make the loss jump or bend.
    """
    variables = variables_for(model, *inputs)

    def loss(params):
        out, _ = model.apply({**variables, 'params': params}, *inputs, train=True, mutable=['batch_stats'])
        return jnp.mean(jnp.sum(jnp.sin(out), axis=1))

    value_and_gradients = jax.jit(jax.value_and_grad(loss))
    gradients = jax.device_get(value_and_gradients(variables['params'])[1])
    length = np.sqrt(sum(float((np.asarray(g, np.float64) ** 2).sum()) for g in jax.tree.leaves(gradients)))

    def moved(distance):
        params = jax.tree.map(lambda p, g: p + np.float32(distance / length) * g, variables['params'], gradients)
        return float(value_and_gradients(params)[0])

    np.testing.assert_allclose((moved(step) - moved(-step)) / (2 * step), length, rtol=0.03)
    return gradients


def relu(x):
    return np.maximum(x, 0)


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def nearest(x, count):
    """Indices of the nearest rows, [B, N, K]; sorted by distance, then index."""
    out = np.zeros((*x.shape[:2], count), np.int32)
    for b, cloud in enumerate(np.asarray(x, np.float64)):
        for i, center in enumerate(cloud):
            distances = [float(((center - other) ** 2).sum()) for other in cloud]
            out[b, i] = sorted(range(len(cloud)), key=lambda j, d=distances: (d[j], j))[:count]
    return out


class Network:
    """Layers with the parameters and statistics of one Flax module; keeps the new statistics in `new`."""

    def __init__(self, variables, train):
        self.params, self.stats, self.train = variables['params'], variables['batch_stats'], train
        self.new = {}

    def child(self, name):
        child = Network({'params': self.params[name], 'batch_stats': self.stats[name]}, self.train)
        self.new[name] = child.new
        return child

    def norm(self, x):
        x, self.new['bn'] = batch_norm(x, self.params['bn'], self.stats['bn'], self.train)
        return x

    def affine(self, x, params):
        out = np.zeros((*x.shape[:-1], params['kernel'].shape[1]))
        for position in np.ndindex(x.shape[:-1]):
            for c in range(x.shape[-1]):
                out[position] += x[position][c] * np.asarray(params['kernel'][c], np.float64)
            out[position] += params.get('bias', 0.0)
        return out

    def layer(self, name, x, activation=relu):
        """A pointwise layer, or the head: linear, batch norm, activation."""
        child = self.child(name)
        return activation(child.norm(self.affine(x, child.params['linear'])))

    def pair_convolution(self, x, neighbors, form, activation):
        """The plain form: every pair's input is written out."""
        pairs = np.zeros((*neighbors.shape, 2 * x.shape[-1]))
        for b, i, k in np.ndindex(neighbors.shape):
            center, other = x[b, i], x[b, neighbors[b, i, k]]
            pairs[b, i, k] = np.concatenate([other - center, center] if form == 'difference' else [center, other])
        return activation(self.norm(self.affine(pairs, self.params))).max(axis=2)

    def dgcnn(self, x, count):
        layers = []
        for index in range(1, 5):
            x = self.child(f'edge{index}').pair_convolution(x, nearest(x, count), 'difference', leaky)
            layers.append(x)
        x = self.layer('fusion', np.concatenate(layers, axis=-1), leaky)
        return self.layer('head', np.concatenate([x.max(axis=1), x.mean(axis=1)], axis=-1))

    def pointnet(self, x):
        for index in range(1, 6):
            x = self.layer(f'point{index}', x)
        return self.layer('head', x.max(axis=1))

    def rotate_convolution(self, corners):
        batch, faces, _ = corners.shape
        pairs = np.zeros((batch, faces, 3, 6))
        for b, f, k in np.ndindex(batch, faces, 3):
            v = corners[b, f].reshape(3, 3)
            pairs[b, f, k] = [*v[k], *v[(k + 1) % 3]]
        x = self.layer('rotate2', self.layer('rotate1', pairs))
        x = (x[:, :, 0] + x[:, :, 1] + x[:, :, 2]) / 3
        return self.layer('fuse2', self.layer('fuse1', x))

    def kernel_correlation(self, normals, neighbors, sigma=0.2):
        alpha, beta = self.params['alpha'], self.params['beta']
        batch, faces, _ = normals.shape
        out = np.zeros((batch, faces, alpha.shape[0]))
        for b, f, m in np.ndindex(out.shape):
            for normal in (normals[b, f], *(normals[b, j] for j in neighbors[b, f])):
                for a, c in zip(alpha[m].tolist(), beta[m].tolist(), strict=True):
                    w = (math.sin(a) * math.cos(c), math.sin(a) * math.sin(c), math.cos(a))
                    distance = sum((float(n) - u) ** 2 for n, u in zip(normal, w, strict=True))
                    out[b, f, m] += math.exp(-distance / (2 * sigma**2)) / 16
        return relu(self.norm(out))

    def mesh_convolution(self, spatial, structural, neighbors):
        spatial = self.layer('combine', np.concatenate([spatial, structural], axis=-1))
        around = self.child('concatenate').pair_convolution(structural, neighbors, 'pair', relu)
        return spatial, self.layer('aggregate', around)

    def meshnet(self, faces, neighbors):
        spatial = self.layer('spatial2', self.layer('spatial1', faces[..., :3]))
        rotated = self.child('rotate').rotate_convolution(faces[..., 3:12])
        correlated = self.child('correlate').kernel_correlation(faces[..., 12:], neighbors)
        structural = np.concatenate([rotated, correlated, faces[..., 12:]], axis=-1)
        structural = self.layer('structural2', self.layer('structural1', structural))
        one, structural = self.child('convolution1').mesh_convolution(spatial, structural, neighbors)
        two, structural = self.child('convolution2').mesh_convolution(one, structural, neighbors)
        three = self.layer('fusion', np.concatenate([two, structural], axis=-1))
        x = self.layer('concatenation', np.concatenate([one, two, three], axis=-1))
        return self.layer('head', x.max(axis=1))
