"""Every loss of `jaxret.losses` on random unit embeddings, as functions of a batch: the cases of `losses.py`.

`attention_...` are CMIC's scores, of views that each photo weighs. Letters: B batch (queries, and as many gallery
items), D embedding, C classes, M modalities, V views.
"""

from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxret.losses import (
    alignment,
    center,
    classification,
    contrastive,
    discrepancy,
    margin,
    metric_learning,
    mining,
    scores,
    siamese,
)
from jaxret.losses import mutual_information as information
from jaxret.losses.gradient_caching import block_size, map_queries

DIM, CLASSES, MODALITIES, VIEWS = 128, 8, 3, 12
TEMPERATURE, MARGIN = 0.1, 0.2
Arrays = Mapping[str, jax.Array]
Function = Callable[[Arrays, Arrays], jax.Array]  # (arrays with gradients, labels) -> loss
# (scores or distances, positives, negatives) of some rows -> sums and counts of each row.
RowLoss = Callable[[jax.Array, jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def random_arrays(batch: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the cases differentiate (unit rows), and labels; query i belongs to gallery item i."""
    rng = np.random.default_rng(0)
    arrays = {name: _unit(rng, batch, DIM) for name in ('queries', 'gallery')}
    arrays |= {
        'features': _unit(rng, MODALITIES, batch, DIM),
        'targets': _unit(rng, MODALITIES, batch, DIM),
        'logits': rng.standard_normal((MODALITIES, batch, CLASSES), np.float32),
        'centers': rng.standard_normal((CLASSES, DIM), np.float32),
    }
    labels = {
        'category': rng.integers(CLASSES, size=batch).astype(np.int32),
        'other_category': rng.integers(CLASSES, size=batch).astype(np.int32),
        'instance': np.arange(batch, dtype=np.int32),
    }
    arrays |= {'kernel': rng.standard_normal((DIM, DIM), np.float32) / DIM**0.5, 'views': _unit(rng, batch, VIEWS, DIM)}
    return arrays, labels


def _unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    x = rng.standard_normal(shape, np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def _info_nce(matrix: jax.Array, positives: jax.Array, negatives: jax.Array) -> tuple[jax.Array, jax.Array]:
    losses = contrastive.info_nce(matrix, positives, temperature=TEMPERATURE, candidates=positives | negatives)
    return losses, jnp.any(positives, axis=1)


def _supervised(matrix: jax.Array, positives: jax.Array, negatives: jax.Array) -> tuple[jax.Array, jax.Array]:
    losses = contrastive.supervised_contrastive(
        matrix, positives, temperature=TEMPERATURE, candidates=positives | negatives
    )
    return losses, jnp.any(positives, axis=1)


def _triplet(
    matrix: jax.Array, positives: jax.Array, negatives: jax.Array, *, rule: str
) -> tuple[jax.Array, jax.Array]:
    return margin.triplet_per_anchor(
        scores.distances_from_scores(matrix), positives, negatives=negatives, margin=MARGIN, mining=rule
    )[:2]


def _contrastive(distances: jax.Array, positives: jax.Array, negatives: jax.Array) -> jax.Array:
    return metric_learning.contrastive(distances, positives, negatives, margin=1.4, reduction='mean_nonzero')


def _hardest(distances: jax.Array, positives: jax.Array, negatives: jax.Array) -> jax.Array:
    own = jnp.sum(jnp.where(positives, distances, 0.0), axis=1)
    chosen = mining.hardest_negatives(distances, negatives)
    return metric_learning.mined_triplet(distances, own, chosen, margin=MARGIN, reduction='mean_nonzero')


def _mean_of_rows(terms: tuple[jax.Array, jax.Array]) -> jax.Array:
    sums, counts = terms
    return jnp.sum(sums) / jnp.maximum(jnp.sum(counts), 1)


def _dot_products(queries: jax.Array, arrays: Arrays) -> jax.Array:
    return scores.similarity_matrix(queries, arrays['gallery'])


def _attention(queries: jax.Array, arrays: Arrays) -> jax.Array:
    return scores.attention_scores(queries, queries @ arrays['kernel'], arrays['views'])


def of_rows(loss: RowLoss, key: str, *, attention: bool = False, blocks: bool = True) -> Function:
    """A loss of scores whose rows stand alone: in blocks where the batch is large, as the systems compute it.

    Args:
      loss: of some rows.
      key: of the labels; equal ones are positives.
      attention: scores are CMIC's.
      blocks: False computes all rows at once.
    """
    score, views = (_attention, VIEWS) if attention else (_dot_products, 1)

    def function(arrays: Arrays, labels: Arrays) -> jax.Array:
        columns = labels[key]
        count = len(columns)

        def block(rows: Arrays) -> tuple[jax.Array, jax.Array]:
            positives = rows['label'][:, None] == columns[None]
            return loss(score(rows['queries'], arrays), positives, ~positives)

        rows = {'queries': arrays['queries'], 'label': columns}
        return _mean_of_rows(map_queries(block, rows, block=block_size(count, count, views) if blocks else count))

    return function


def of_distances(loss: Callable[..., jax.Array], key: str) -> Function:
    """A loss of the matrix of Euclidean distances."""

    def function(arrays: Arrays, labels: Arrays) -> jax.Array:
        positives = labels[key][:, None] == labels[key][None]
        return loss(scores.euclidean_distances(arrays['queries'], arrays['gallery']), positives, ~positives)

    return function


def merged(loss: Callable[..., jax.Array], key: str, compare: Callable[[jax.Array, jax.Array], jax.Array]) -> Function:
    """The same loss by concatenating queries and gallery, comparing all 2B with all 2B, and masking."""

    def function(arrays: Arrays, labels: Arrays) -> jax.Array:
        both, count = jnp.concatenate([arrays['queries'], arrays['gallery']]), len(arrays['queries'])
        label, side = jnp.tile(labels[key], 2), jnp.arange(2 * count) < count
        across = side[:, None] & ~side[None]
        same = label[:, None] == label[None]
        terms = loss(compare(both, both), across & same, across & ~same)
        return _mean_of_rows(terms) if isinstance(terms, tuple) else terms

    return function


def _pair_information(estimate: Callable[..., jax.Array]) -> Function:
    def function(arrays: Arrays, labels: Arrays) -> jax.Array:
        matrix = scores.similarity_matrix(arrays['queries'], arrays['gallery'])
        return estimate(matrix[None], information.negative_pairs(labels['instance']))

    return function


def _quadruplet(arrays: Arrays, labels: Arrays) -> jax.Array:
    distances = scores.euclidean_distances(arrays['queries'], arrays['gallery'])
    between = scores.euclidean_distances(arrays['gallery'], arrays['gallery'])
    other = labels['category'][:, None] != labels['category'][None]
    chosen = mining.hardest_negatives(distances, other)
    second = mining.hardest_negatives(distances, other & ~chosen)
    return metric_learning.quadruplet(
        distances, jnp.diagonal(distances), between, chosen, second, margin=MARGIN, margin_second=0.1
    )


def _centroids(arrays: Arrays, labels: Arrays) -> jax.Array:
    sides = [
        alignment.class_centroids(arrays[name], labels[key], CLASSES)
        for name, key in (('queries', 'category'), ('gallery', 'other_category'))
    ]
    return alignment.centroid_loss(sides[0][0], sides[1][0], counted=sides[0][1] & sides[1][1])


def _joint_mmd(arrays: Arrays, labels: Arrays) -> jax.Array:
    del labels
    first, second = jax.nn.softmax(arrays['logits'], axis=-1)[:2]
    return discrepancy.joint_mmd(arrays['queries'], arrays['gallery'], first, second)


def _noisy_center(arrays: Arrays, labels: Arrays) -> jax.Array:
    return center.noisy_center_loss(
        arrays['features'], labels['category'], arrays['centers'], key=jax.random.key(0), sigma=0.1
    )


_ROWS = {
    'info_nce': (_info_nce, 'instance'),
    'supervised_contrastive': (_supervised, 'category'),
    **{
        f'triplet_{rule}': (partial(_triplet, rule=rule), key)
        for rule, key in (('all', 'instance'), ('semi_hard', 'instance'), ('batch_hard', 'category'))
    },
}
_ATTENTION = ('info_nce', 'supervised_contrastive', 'triplet_all')
_DISTANCES = {'contrastive': (_contrastive, 'instance'), 'hardest_triplet': (_hardest, 'instance')}
# Case -> loss. The arrays that it takes are found by their gradients.
CASES: dict[str, Function] = {
    **{name: of_rows(*case) for name, case in _ROWS.items()},
    **{name: of_distances(*case) for name, case in _DISTANCES.items()},
    **{f'attention_{name}': of_rows(*_ROWS[name], attention=True) for name in _ATTENTION},
    'quadruplet': _quadruplet,
    'cross_modal_center': lambda x, y: center.cross_modal_center_loss(x['features'], y['category'], x['centers']),
    'noisy_center': _noisy_center,
    'simsiam': lambda x, y: siamese.cross_modal_simsiam(x['features'], x['targets']),
    'pairwise_mse': lambda x, y: siamese.pairwise_mse(x['features']),
    'label_cross_entropy': lambda x, y: classification.cross_modal_cross_entropy(x['logits'], y['category']),
    'information_bce': _pair_information(information.binary_cross_entropy),
    'information_jsd': _pair_information(information.jensen_shannon),
    'information_dv': _pair_information(information.donsker_varadhan),
    'norm': lambda x, y: alignment.fixed_norm_loss(x['queries'], radius=25.0),
    'centroid': _centroids,
    'adversarial': lambda x, y: alignment.adversarial_loss(x['logits'][0, :, 0], x['logits'][1, :, 0]),
    'mmd_linear': lambda x, y: discrepancy.linear_mmd(x['queries'], x['gallery']),
    'mmd_multi_kernel': lambda x, y: discrepancy.multi_kernel_mmd(x['queries'], x['gallery']),
    'mmd_joint': _joint_mmd,
    'coral': lambda x, y: discrepancy.coral(x['queries'], x['gallery']),
}
_MERGED = {
    **{name: merged(*case, scores.similarity_matrix) for name, case in _ROWS.items()},
    **{name: merged(*case, scores.euclidean_distances) for name, case in _DISTANCES.items()},
}
# Case -> name and loss of the plain way to compute it.
PLAIN_FORMS: dict[str, tuple[str, Function]] = {
    **{name: ('merge first', case) for name, case in _MERGED.items()},
    **{
        f'attention_{name}': ('all at once', of_rows(*_ROWS[name], attention=True, blocks=False)) for name in _ATTENTION
    },
}
