"""HIFA's embeddings, class probabilities and scores in evaluation mode, and its input scaling."""

import chex
import jax
import numpy as np
import pytest
from hifa_runs import PHOTOS, SHAPES, classify, encoded, softmax, system_of, variables_of
from small_hifa import VIEWS, random_batch

from jaxret.systems.hifa_inputs import make_towers, pictures


def test_embeddings_are_raw_and_score_is_their_cosine():
    system, batch = system_of(dropout=0.5), random_batch(PHOTOS, SHAPES)
    variables = variables_of(system)
    found = encoded(system, variables, batch)
    embed = jax.jit(system.embed, static_argnums=2)
    photos, shapes = embed(variables, batch, 'photo'), embed(variables, batch, 'shape')
    chex.assert_trees_all_close((photos, shapes), (np.float32(found['photos']), np.float32(found['shapes'])), rtol=1e-4)
    colored = {'views': np.repeat(batch['views'], 3, axis=-1)}
    chex.assert_trees_all_close(embed(variables, colored, 'shape'), shapes, rtol=1e-5)
    probabilities = system.predict(variables, photos)
    np.testing.assert_allclose(probabilities, softmax(classify(variables, found['photos'])), rtol=1e-4)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (found['photos'], found['shapes'])]
    np.testing.assert_allclose(system.score(variables, photos, shapes), unit[0] @ unit[1].T, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match='photo, shape'):
        system.embed(variables, batch, 'views')


def test_pictures_have_imagenets_mean_and_spread():
    image = np.random.default_rng(0).integers(256, size=(2, VIEWS, 4, 4, 1), dtype=np.uint8)
    expected = (image / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pictures(image, make_towers()['photo']), expected, rtol=1e-5, atol=1e-6)
    colors = np.random.default_rng(1).integers(256, size=(2, 4, 4, 3), dtype=np.uint8)
    expected = (colors / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(pictures(colors, make_towers()['photo']), expected, rtol=1e-5, atol=1e-6)
