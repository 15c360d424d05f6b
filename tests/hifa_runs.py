"""Small HIFA systems run on random batches, and every loss of a batch by loops over the embeddings.

A system is compiled once for every `train` and shapes of a batch; checks are on numpy arrays, which compile nothing.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import references_adaptation as oracles
from references_center import cross_entropy
from small_hifa import CLASSES, DIM, EVERYTHING, STEPS, random_batch, small_hifa

from jaxret.losses.discrepancy import KERNEL_FACTORS, LABEL_SIGMA
from jaxret.systems.hifa_inputs import make_towers, pictures

KEY, PHOTOS, SHAPES, STEP = jax.random.key(5), 7, 5, 3
RAMP = 2 / (1 + np.exp(-10 * STEP / STEPS)) - 1
# Of every loss each form, of the map both, of pooling both.
VARIANTS = {
    'hifa': {},
    'everything': EVERYTHING | {'local': True},
    'mstn': {
        'mutual_information': 'jsd',
        'norm': 'stepwise',
        'centroid': 'running_mstn',
        'centroid_reduction': 'mean',
        'mmd': 'linear',
        'hidden': (),
    },
    'conv': {
        'mutual_information': 'dv',
        'norm': 'none',
        'centroid': 'none',
        'mmd': 'multi_kernel',
        'view_pooling': 'conv',
    },
}


@cache
def system_of(**changes):
    """The same object for the same changes, so that it is compiled once."""
    return small_hifa(**changes)


@cache
def variables_of(system):
    """Random parameters (numpy's, which need no compilation) and the collections before the first step."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        scale = 1 / np.sqrt(np.prod(leaf.shape[:-1])) if path[-1].key == 'kernel' else 0.1
        return jnp.asarray(rng.normal(size=leaf.shape) * scale, leaf.dtype)

    variables = dict(jax.eval_shape(system.init, jax.random.key(0), random_batch(1, 1)))
    params = jax.tree_util.tree_map_with_path(draw, variables.pop('params'))
    return {'params': params, **jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), variables)}


def run(system, variables, batch, *, step=STEP, rng=KEY, train=True):
    """((loss, (collections, report)), gradients) as numpy arrays."""
    return jax.device_get(_run(system, variables, batch, step=step, rng=rng, train=train))


@partial(jax.jit, static_argnums=0, static_argnames='train')
def _run(system, variables, batch, *, step, rng, train):
    rest = {name: value for name, value in variables.items() if name != 'params'}

    def loss(params):
        return system.loss({'params': params, **rest}, batch, rng=rng, step=jnp.int32(step), train=train)

    return jax.value_and_grad(loss, has_aux=True)(variables['params'])


def encoded(system, variables, batch):
    """The encoder's maps and embeddings in evaluation mode, float64."""
    own = {'params': {name: variables['params'][name] for name in ('backbone', 'embedding')}}
    found = _apply(system.encoder, own, *(pictures(batch[name], tower) for name, tower in make_towers().items()))
    return {name: np.asarray(value, np.float64) for name, value in found._asdict().items()}


@partial(jax.jit, static_argnums=0)
def _apply(module, *arguments):
    return module.apply(*arguments)


def classify(variables, x):
    for layer in variables['params']['classifier'].values():
        x = x @ np.asarray(layer['kernel'], np.float64) + np.asarray(layer['bias'], np.float64)[None]
    return x


def norm(tree):
    return np.sqrt(sum(np.square(leaf, dtype=np.float64).sum() for leaf in jax.tree.leaves(tree)))


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def pair_scores(system, variables, maps, embeddings):
    """[cells, rows, rows] of the discriminator."""
    own = {'params': variables['params']['discriminator']}
    return np.asarray(_apply(system.discriminator, own, maps.astype(np.float32), embeddings.astype(np.float32)))


def domain_logits(variables, x):
    """Of the domain classifier without dropout."""
    layers = variables['params']['domain']
    for name in ('hidden1', 'hidden2', 'output'):
        x = x @ np.asarray(layers[name]['kernel'], np.float64) + np.asarray(layers[name]['bias'], np.float64)[None]
        x = x if name == 'output' else np.maximum(x, 0)
    return x[:, 0]


def expected_parts(system, variables, batch, histories):
    """Every loss by loops; histories: centroids (means, present) of the batches so far, by domain."""
    weighting, found = system.weighting, encoded(system, variables, batch)
    photos, shapes = found['photos'], found['shapes']
    valid, other = list(batch['valid']), list(batch['shape_valid'])
    rows = oracles.rows_of(photos, valid), oracles.rows_of(shapes, other)
    logits = [classify(variables, x) for x in (photos, shapes)]
    parts = {'label': cross_entropy(logits[0][None], batch['label'], valid=valid)}
    if weighting.mutual_information != 'none':
        oracle = {'bce': oracles.binary_cross_entropy, 'jsd': oracles.jensen_shannon}.get(
            weighting.mutual_information, oracles.donsker_varadhan
        )
        views = len(found['views']) // len(other)
        owners = [i // views for i in range(len(found['views']))]
        parts['mutual_information'] = sum(
            np.mean([oracle(cell, owner, kept) for cell in pair_scores(system, variables, maps, x)])
            for maps, x, owner, kept in (
                (found['photo_maps'], photos, range(len(valid)), valid),
                (found['view_maps'], found['views'], owners, [other[o] for o in owners]),
            )
        )
    if weighting.norm == 'fixed':
        parts['norm'] = sum(
            oracles.fixed_norm(x, v, weighting.norm_radius) for x, v in ((photos, valid), (shapes, other))
        )
    elif weighting.norm == 'stepwise':
        parts['norm'] = 2 * weighting.norm_step**2
    if weighting.centroid != 'none':
        means, seen = zip(*(centroids_of(weighting, history) for history in histories), strict=True)
        counted = [weighting.centroid == 'running_mstn' or (a and b) for a, b in zip(*seen, strict=True)]
        parts['centroid'] = oracles.centroid_distance(*means, counted, reduction=weighting.centroid_reduction)
    if weighting.adversarial != 'none':
        parts['adversarial'] = oracles.adversarial(
            *(domain_logits(variables, x) for x in (photos, shapes)), valid, other
        )
    if weighting.mmd == 'linear':
        parts['mmd'] = oracles.linear_mmd(*rows)
    elif weighting.mmd == 'multi_kernel':
        parts['mmd'] = oracles.multi_kernel_mmd(*rows, KERNEL_FACTORS, width=oracles.width_of(rows[0] + rows[1]))
    elif weighting.mmd == 'jan':
        labels = [oracles.rows_of(softmax(x), v) for x, v in zip(logits, (valid, other), strict=True)]
        pairs = [list(zip(x, p, strict=True)) for x, p in zip(rows, labels, strict=True)]
        parts['mmd'] = oracles.joint_mmd(*pairs, KERNEL_FACTORS, LABEL_SIGMA, width=oracles.width_of(rows[0] + rows[1]))
    if weighting.coral_weight:
        parts['coral'] = oracles.coral(*rows)
    return parts


def batch_centroids(system, variables, batch):
    """Centroids of photos by label and of shapes by pseudo-label."""
    found = encoded(system, variables, batch)
    pseudo = classify(variables, found['shapes']).argmax(axis=1)
    return (
        oracles.centroids(found['photos'], batch['label'], CLASSES, batch['valid']),
        oracles.centroids(found['shapes'], pseudo, CLASSES, batch['shape_valid']),
    )


def centroids_of(weighting, history):
    if weighting.centroid == 'batch':
        return history[-1]
    return oracles.running_centroids(
        history, CLASSES, DIM, momentum=weighting.centroid_momentum, masked=weighting.centroid == 'running'
    )
