"""Features that are computed once: what is taken from the cache, and what is computed anew."""

import io
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from domain_adaptation.embedding import Pictures
from frozen_features import CHANGED_AT_ONCE, FrozenFeatures, kept_rows
from overrides import load_config
from PIL import Image

from data_pipelines.batching import feature_batches
from data_pipelines.domain_adaptation.prepare import ShapeTable
from data_pipelines.random_crops import Augmentation
from jaxret.training import processes

SIZE, VIEWS = 12, 4
WEIGHTS = {'frozen': {'params': {'kernel': np.arange(3.0)}}}


class Encoder:
    """Stands in for an `Embedder`: the first pixel and the sides of each picture, in any axes; counts what it gets."""

    def __init__(self):
        self.encoded = 0

    def features(self, variables, batches, modality, *, valid, seed=None):
        kept = []
        for batch in batches:
            (pictures,) = (value for name, value in batch.items() if name != valid)
            first = pictures[..., 0, 0, :1].astype(np.float32)
            sides = np.broadcast_to(np.float32(pictures.shape[-2]), first.shape)
            kept.append(np.concatenate([first, sides], axis=-1)[batch[valid]])
        self.encoded += sum(map(len, kept))
        return np.concatenate(kept)


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((SIZE, SIZE), value, np.uint8)).save(buffer, 'PNG')
    return buffer.getvalue()


def shapes(count, *, first=0, views=VIEWS):
    """View v of shape s is grey 10 s + v."""
    views = np.array([[png(10 * (first + s) + v) for v in range(views)] for s in range(count)], object)
    return ShapeTable(views, [str(s) for s in range(count)], SIZE, 1)


@pytest.fixture
def pictures(tmp_path):
    def make(encoder, *, variables=WEIGHTS, **changes):
        config, _ = load_config('mi3dor.py:smoke')
        config.cache_dir, config.data.image_size, config.evaluation.views = str(tmp_path), SIZE, 0
        config.update_from_flattened_dict(changes)
        still = Augmentation()
        return Pictures(config, (still, still), FrozenFeatures(config, ('backbone',), encoder, variables))

    return make


def test_what_is_known_is_not_encoded_again(pictures):
    encoder = Encoder()
    found = pictures(encoder).features(shapes(3), 'gallery')
    assert found.shape == (3, 1, VIEWS, 2) and encoder.encoded == 3
    np.testing.assert_array_equal(found[:, 0, :, 0], 10 * np.arange(3)[:, None] + np.arange(VIEWS)[None])
    again = pictures(encoder).features(shapes(3), 'gallery')
    np.testing.assert_array_equal(again, found)
    assert encoder.encoded == 3
    more = pictures(encoder).features(shapes(5), 'gallery')  # new ones alone
    np.testing.assert_array_equal(more[:3], found)
    assert encoder.encoded == 5
    np.testing.assert_array_equal(pictures(encoder).features(shapes(2, first=2), 'gallery'), more[2:4])
    assert encoder.encoded == 5


@pytest.mark.parametrize(
    'changes',
    [
        {'variables': {'frozen': {'params': {'kernel': np.arange(3.0) + 1}}}},
        {'model.backbone': 'resnet18'},
        {'model.dtype': 'bfloat16'},
        {'data.image_size': SIZE - 4},
    ],
)
def test_other_weights_networks_and_sizes_are_other_features(pictures, changes):
    encoder = Encoder()
    pictures(encoder).features(shapes(2), 'gallery')
    found = pictures(encoder, **changes).features(shapes(2), 'gallery')
    assert encoder.encoded == 4
    assert np.all(found[..., 1] == changes.get('data.image_size', SIZE))


def test_bfloat16_survives_the_file(pictures):
    class Half(Encoder):
        def features(self, *arguments, **options):
            return super().features(*arguments, **options).astype(jnp.bfloat16)

    encoder = Half()
    found = pictures(encoder).features(shapes(3), 'gallery')
    again = pictures(encoder).features(shapes(3), 'gallery')
    assert found.dtype == again.dtype == jnp.bfloat16 and encoder.encoded == 3
    np.testing.assert_array_equal(again, found)
    more = pictures(encoder).features(shapes(5), 'gallery')  # the new ones beside those of the file
    assert more.dtype == jnp.bfloat16 and encoder.encoded == 5
    np.testing.assert_array_equal(more[:3], found)
    (batch,) = feature_batches('views_features', again[:, 0], 3)
    np.testing.assert_array_equal(batch['views_features'], found[:, 0])


def test_what_copies_are_is_no_matter_of_the_size_of_evaluation_batches(pictures):
    sizes = []

    class Sized(Encoder):
        def features(self, variables, batches, *arguments, **options):
            batches = list(batches)
            sizes.append(len(batches[0]['valid']))
            return super().features(variables, batches, *arguments, **options)

    pictures(Sized(), **{'evaluation.batch_size': 2}).features(shapes(5), 'train', copies=2)
    assert sizes == [2, CHANGED_AT_ONCE]


def test_an_evaluation_shows_some_views_and_training_has_all(pictures):
    encoder = Encoder()
    some = pictures(encoder, **{'evaluation.views': 2})
    assert some.plain_features(shapes(3), 'gallery')[..., 0].tolist() == [[0, 2], [10, 12], [20, 22]]
    everything = some.features(shapes(3), 'train')
    assert everything.shape == (3, 1, VIEWS, 2)
    np.testing.assert_array_equal(everything[2, 0, :, 0], [20, 21, 22, 23])


def test_shapes_of_another_number_of_views_are_kept_beside(pictures):
    encoder = Encoder()
    for count in (VIEWS, 2, VIEWS, 2):
        found = pictures(encoder).features(shapes(3, views=count), 'test')
        np.testing.assert_array_equal(found[:, 0, :, 0], [[10 * s + v for v in range(count)] for s in range(3)])
    assert encoder.encoded == 6


def test_changed_copies_are_kept_too_and_rows_keep_their_place(pictures):
    encoder = Encoder()
    found = pictures(encoder).features(shapes(5), 'train', copies=3)
    assert found.shape == (5, 3, VIEWS, 2) and encoder.encoded == 15
    np.testing.assert_array_equal(found[:, 1], found[:, 0])  # the augmentation changes nothing here
    np.testing.assert_array_equal(pictures(encoder).features(shapes(5), 'train', copies=2), found[:, :2])
    assert encoder.encoded == 15


def test_no_process_waits_for_the_others(pictures, monkeypatch):
    # The first of several evaluates alone, while they wait for what it found.
    def never(value):
        raise AssertionError('waits')

    monkeypatch.setattr(processes, 'exchange', never)
    for index in (1, 0):
        monkeypatch.setattr('jax.process_index', lambda index=index: index)
        monkeypatch.setattr('jax.process_count', lambda: 2)
        encoder = Encoder()
        pictures(encoder).features(shapes(2), 'gallery')
        assert encoder.encoded == 2 * index  # the other one finds what was kept


def test_two_runs_at_once_encode_a_picture_once(tmp_path):
    path, encoded, begun = tmp_path / 'a.npz', [], threading.Event()

    def encode(missing):
        begun.set()
        time.sleep(0.1)
        encoded.extend(missing.tolist())
        return missing, np.stack([missing, missing + 1], axis=1)

    other = threading.Thread(target=kept_rows, args=(path, ['a', 'b'], encode))
    other.start()
    begun.wait()
    found = kept_rows(path, ['b', 'a', 'c'], encode)
    other.join()
    np.testing.assert_array_equal(found, [[1, 2], [0, 1], [2, 3]])
    assert encoded == [0, 1, 2] and not list(tmp_path.glob('*.lock'))
