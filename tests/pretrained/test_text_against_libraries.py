"""Where transformers and OpenCLIP are installed (extra `torch`): stored outputs, and files that they write."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from text_cases import TEXTS, stored_text_cases
from vit_cases import IMAGES

from jaxret.pretrained.network_configs import ImageInput
from jaxret.pretrained.pictures import network_picture
from jaxret.pretrained.text_files import read_text_transformer
from jaxret.pretrained.tokenizer import read_tokenizer
from jaxret.pretrained.vit_files import read_vision_transformer

torch, open_clip = pytest.importorskip('torch'), pytest.importorskip('open_clip')
for package in ('transformers', 'tokenizers'):
    pytest.importorskip(package)
sys.path.insert(0, str(Path(__file__).parents[1] / 'fixtures'))
make_text = pytest.importorskip('make_text')
CASES = make_text.cases()


def test_the_stored_cases_are_these():
    assert stored_text_cases().keys() == CASES.keys()


@pytest.mark.parametrize('name', CASES)
def test_outputs_are_the_stored_ones(name):
    case, *expected = stored_text_cases()[name]
    found = make_text.stored(name, *CASES[name])
    assert json.loads(str(found[f'{name}/case']))['shapes'] == case['shapes']
    for key, array in zip(('tokens', 'texts', 'images'), expected, strict=True):
        np.testing.assert_allclose(found[f'{name}/{key}'], array, atol=1e-6)


@pytest.mark.filterwarnings('ignore:.*tokens are read')
@pytest.mark.parametrize('name', CASES)
def test_what_a_library_stores_gives_what_its_network_gives(tmp_path, name):
    """The library's own random weights and files."""
    _, make, load = CASES[name]
    torch.manual_seed(0)
    make(tmp_path)
    expected = make_text.features(load(tmp_path))
    text, image = read_text_transformer(tmp_path), read_vision_transformer(tmp_path)
    tokens = text.tokenizer.encode(TEXTS)
    np.testing.assert_array_equal(tokens, expected['tokens'])
    np.testing.assert_allclose(jax.jit(text.module.apply)(text.variables, tokens), expected['texts'], atol=1e-4)
    found = jax.jit(image.module.apply)(image.variables, IMAGES['20x20'])
    np.testing.assert_allclose(found, expected['images'], atol=1e-4)


def test_the_tokens_of_clip_with_its_own_vocabulary(tmp_path):
    """OpenCLIP brings it; as vocab.json and merges.txt, which hold the same but for two names."""
    own = open_clip.tokenizer.SimpleTokenizer()
    names = {'<start_of_text>': '<|startoftext|>', '<end_of_text>': '<|endoftext|>'}
    vocabulary = {names.get(token, token): number for token, number in own.encoder.items()}
    (tmp_path / 'vocab.json').write_text(json.dumps(vocabulary))
    merges = sorted(own.bpe_ranks, key=own.bpe_ranks.get)
    (tmp_path / 'merges.txt').write_text('\n'.join(['#version: 0.2', *map(' '.join, merges)]), encoding='utf-8')
    tokenizer = read_tokenizer(tmp_path, context=77, cleaning='lower')
    texts = [
        "A round table, with 1 leg (it's white)!",
        'Étagère à livres № 42',
        'sofa' * 30,
        '椅子 with   arms',
        *TEXTS,
    ]
    for text, found in zip(texts, tokenizer.encode(texts), strict=True):
        expected = own([text])[0].numpy()
        end = expected.argmax()
        np.testing.assert_array_equal(found[: end + 1], expected[: end + 1], err_msg=text)
        assert (found[end:] == found[end]).all()


def test_pictures_are_prepared_as_processors_do():
    from transformers import CLIPImageProcessorPil, SiglipImageProcessorPil

    clip = CLIPImageProcessorPil(size={'shortest_edge': 20}, crop_size={'height': 20, 'width': 20})
    siglip = SiglipImageProcessorPil(size={'height': 20, 'width': 24}, resample=2)
    cases = {
        clip: ImageInput((20, 20), 20, 'bicubic', tuple(clip.image_mean), tuple(clip.image_std)),
        siglip: ImageInput((20, 24), (20, 24), 'bilinear', (0.5,) * 3, (0.5,) * 3),
    }
    for size in ((37, 50), (50, 37), (20, 20)):
        picture = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
        for processor, images in cases.items():
            expected = np.asarray(processor(images=[picture], return_tensors='np')['pixel_values'])[0]
            expected = expected.transpose(1, 2, 0)
            np.testing.assert_allclose(network_picture(picture, images), expected, atol=1e-5)
