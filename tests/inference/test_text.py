"""Words and pictures in one space, from the folder of a small network."""

import jax
import numpy as np
import pytest
from text_cases import TEXTS, stored_text_cases, write_text_case
from vit_cases import IMAGES, case_weights

import jaxret
from jaxret.errors import DataError
from jaxret.pretrained.pictures import network_picture
from jaxret.pretrained.vit_files import read_vision_transformer

pytest.importorskip('tokenizers')
CASES = stored_text_cases()


def unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_texts_and_pictures(tmp_path):
    case, _, texts, _ = CASES['hf_clip_end']
    folder = write_text_case(tmp_path / 'network', 'hf_clip_end', case)
    model = jaxret.load_text(folder)
    many = [TEXTS[0], TEXTS[2]] * 9  # more than a batch
    found = model.embed(many)
    assert found.shape == (18, model.dimensions) and found.dtype == np.float32
    np.testing.assert_allclose(found, unit(texts[[0, 2] * 9]), atol=1e-5)
    with pytest.warns(UserWarning, match='only its first 16 tokens'):
        np.testing.assert_allclose(model.embed(TEXTS[3:]), unit(texts[3:]), atol=1e-5)

    rng = np.random.default_rng(0)
    pictures = [rng.integers(256, size=(*size, 3), dtype=np.uint8) for size in ((20, 20), (31, 24))]
    network = read_vision_transformer(folder)
    rows = np.stack([network_picture(picture, network.input) for picture in pictures])
    expected = jax.jit(network.module.apply)(network.variables, rows)
    np.testing.assert_allclose(model.embed_pictures(pictures), unit(expected), atol=1e-5)


@pytest.mark.parametrize('name', CASES)
def test_features_of_images_are_in_the_space_of_texts(tmp_path, name):
    case, _, texts, images = CASES[name]
    network = read_vision_transformer(write_text_case(tmp_path / 'network', name, case))
    apply = jax.jit(network.module.apply, compiler_options={'xla_backend_optimization_level': 0})
    np.testing.assert_allclose(apply(network.variables, IMAGES['20x20']), images, atol=1e-5)
    assert images.shape[1] == texts.shape[1]


def test_what_is_refused(tmp_path):
    name = 'hf_siglip'
    folder = write_text_case(tmp_path / 'network', name, CASES[name][0])
    model = jaxret.load_text(folder)
    with pytest.raises(ValueError, match="'sofa' is one text: give a list"):
        model.embed('sofa')
    with pytest.raises(ValueError, match='nothing to embed'):
        model.embed([])
    weights = case_weights(name, CASES[name][0])
    for key in ('weight', 'bias'):
        weights[f'text_model.head.{key}'] = weights[f'text_model.head.{key}'][:5]
    write_text_case(folder, name, CASES[name][0], weights)
    with pytest.raises(DataError, match='pictures of 24 features and texts of 5, so no space of both'):
        jaxret.load_text(folder)
