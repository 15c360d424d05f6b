"""Embedding and scoring whole data sets: in order, once each, and whatever the batches are."""

import jax
import numpy as np
import pytest
import references as ref
from small_cmic import DIM, VIEWS, random_batch, small_cmic

from jaxret.training.embedder import Embedder
from jaxret.training.parallel import make_parallel

COUNT = 11
ITEMS = random_batch(COUNT)
VARIABLES = jax.jit(small_cmic().init)(jax.random.key(0), ITEMS)
NAMES = {'photo': ('image', 'mask'), 'views': ('views',)}


def padded_batches(modality, batch_size, *, filler=0, taken=None):
    """Every item once; padding is `filler`. Appends the size of each batch taken to `taken`."""
    for start in range(0, COUNT, batch_size):
        batch = {}
        for name in NAMES[modality]:
            part = ITEMS[name][start : start + batch_size]
            padding = np.full((batch_size - len(part), *part.shape[1:]), filler, np.uint8)
            batch[name] = np.concatenate([part, padding])
        batch['valid'] = np.arange(start, start + batch_size) < COUNT
        if taken is not None:
            taken.append(int(batch['valid'].sum()))
        yield batch


def embedder(mode='jit', devices=1):
    return Embedder(small_cmic(), make_parallel(mode, devices=devices, divided={'batch_size': 8}))


@pytest.fixture(scope='module')
def expected():
    return {modality: np.asarray(small_cmic().embed(VARIABLES, ITEMS, modality)) for modality in NAMES}


@pytest.mark.parametrize('modality', ['photo', 'views'])
def test_batches_and_padding_change_no_number(modality, expected):
    one = embedder()
    shape = (COUNT, DIM) if modality == 'photo' else (COUNT, VIEWS, DIM)
    for batch_size in (1, 3, 8, COUNT, 20):
        taken = []
        found = one.embed(VARIABLES, padded_batches(modality, batch_size, taken=taken), modality, valid='valid')
        assert found.shape == shape and found.dtype == np.float32 and isinstance(found, np.ndarray)
        assert sum(taken) == COUNT
        np.testing.assert_allclose(found, expected[modality], atol=1e-6)
    filled = one.embed(VARIABLES, padded_batches(modality, 8, filler=255), modality, valid='valid')
    zeros = one.embed(VARIABLES, padded_batches(modality, 8), modality, valid='valid')
    np.testing.assert_array_equal(filled, zeros)


@pytest.mark.parametrize('mode', ['jit', 'pmap'])
@pytest.mark.parametrize('batch_size', [8, 3])  # one divides over the devices, one does not
def test_eight_devices_give_the_same(mode, batch_size, expected):
    eight = embedder(mode, 8)
    found = {
        modality: eight.embed(VARIABLES, padded_batches(modality, batch_size), modality, valid='valid')
        for modality in NAMES
    }
    for modality, values in found.items():
        np.testing.assert_allclose(values, expected[modality], atol=1e-6)
    one = embedder().score(VARIABLES, expected['photo'], expected['views'])
    np.testing.assert_allclose(eight.score(VARIABLES, found['photo'], found['views'], block=3), one, atol=1e-6)


class Counting:
    """A system that writes down every item that it embeds."""

    def __init__(self):
        self.seen = []

    def embed(self, variables, inputs, modality):
        jax.debug.callback(lambda numbers: self.seen.extend(numbers.tolist()), inputs['number'], ordered=True)
        return variables['scale'] * inputs['number'][:, None].astype('float32')

    def score(self, variables, queries, gallery):
        return queries @ gallery.T


def test_each_item_is_embedded_once():
    system = Counting()
    numbers = np.arange(12).reshape(3, 4)
    batches = ({'number': row, 'valid': row < 10} for row in numbers)
    found = Embedder(system, make_parallel('jit', devices=1, divided={'batch_size': 4})).embed(
        {'scale': np.float32(2)}, batches, 'any', valid='valid'
    )
    jax.effects_barrier()
    assert system.seen == list(range(12))  # 10 and 11 pad the last batch
    np.testing.assert_array_equal(found, 2 * np.arange(10, dtype=np.float32)[:, None])


def test_blocks_of_scores_equal_one_call(expected):
    one = embedder()
    whole = one.score(VARIABLES, expected['photo'], expected['views'])
    assert whole.shape == (COUNT, COUNT) and whole.dtype == np.float32
    for block in (1, 4, COUNT, 1000):
        np.testing.assert_allclose(
            one.score(VARIABLES, expected['photo'], expected['views'], block=block), whole, atol=1e-6
        )
    kernel = np.asarray(VARIABLES['params']['attention']['projection']['kernel'], np.float64)
    projected = ref.similarity_matrix(expected['photo'], kernel.T)
    np.testing.assert_allclose(whole, ref.attention_scores(expected['photo'], projected, expected['views']), atol=1e-5)


def test_items_that_are_not_valid_may_be_anywhere():
    batch = {name: ITEMS[name][:4] for name in NAMES['photo']}
    keep = np.array([False, True, False, True])
    found = embedder().embed(VARIABLES, [batch | {'valid': keep}], 'photo', valid='valid')
    whole = embedder().embed(VARIABLES, [batch | {'valid': np.ones(4, bool)}], 'photo', valid='valid')
    np.testing.assert_array_equal(found, whole[keep])
