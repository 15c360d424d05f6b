"""Vision transformers as libraries store them: equal to what their networks give, under any usual name and type."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pretrained_files import tensors, write_legacy, write_pth
from safetensors.numpy import save_file
from vit_cases import IMAGES, case_weights, stored_cases, write_case

from jaxret.pretrained.network_configs import ImageInput
from jaxret.pretrained.vit_files import read_vision_transformer

CASES = stored_cases()
IMAGENET, CLIP, HALF = (
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
)
INPUTS = {
    'hf_dinov2': ((20, 20), 30, 'bicubic', *CLIP),  # its preprocessor_config.json says so
    'hf_dinov2_giant': ((224, 224), 256, 'bicubic', *IMAGENET),
    'hf_dinov2_registers': ((224, 224), 256, 'bicubic', *IMAGENET),
    'hf_clip': ((224, 224), 224, 'bicubic', *CLIP),
    'hf_clip_vision': ((20, 20), 20, 'bicubic', *CLIP),
    'hf_siglip': ((20, 24), (20, 24), 'bilinear', *HALF),
    'hf_siglip_vision': ((20, 20), (20, 20), 'bicubic', *HALF),
    'hf_vit': ((20, 20), (20, 20), 'bilinear', *HALF),
    'timm_vit': ((224, 224), 248, 'bicubic', *HALF),
    'timm_dinov2_registers': ((518, 518), 518, 'bicubic', *IMAGENET),
    'timm_clip': ((224, 224), 248, 'bicubic', *CLIP),
    'open_clip': ((20, 20), (20, 20), 'bilinear', (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)),
    'open_clip_timm': ((20, 20), 20, 'bicubic', *CLIP),
    'meta': ((224, 224), 256, 'bicubic', *IMAGENET),
    'big_vision_siglip': ((20, 20), (20, 20), 'bilinear', *HALF),
}


def features_of(network, images, **changes):
    module = network.module.clone(**changes)
    return jax.jit(module.apply)(network.variables, images)


def read(folder, name, change=None, **changes):
    """The network of a case whose weights, or files ('config.json' -> changes), are changed before."""
    case, _ = CASES[name]
    configs = {file: content | changes.get(file, {}) for file, content in case['configs'].items()}
    weights = (change or dict)(case_weights(name, case))
    return read_vision_transformer(write_case(folder / 'network', name, case | {'configs': configs}, weights))


def assert_same(found, expected):
    assert found.module == expected.module
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)


@pytest.mark.parametrize('name', CASES)
def test_features_are_those_of_the_published_code(tmp_path, name):
    network, (_, features) = read(tmp_path, name), CASES[name]
    for size, images in IMAGES.items():
        np.testing.assert_allclose(features_of(network, images), features[size], atol=1e-5, err_msg=size)


@pytest.mark.parametrize('name', INPUTS)
def test_how_images_are_prepared(tmp_path, name):
    assert read(tmp_path, name).input == ImageInput(*INPUTS[name])


@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('hf_dinov2', {'activation': 'gelu_tanh'}),
        ('hf_dinov2', {'resampling': 'bicubic_antialias'}),
        ('hf_dinov2', {'pooling': 'mean'}),
        ('hf_dinov2', {'heads': 6}),
        ('hf_clip', {'activation': 'quick_gelu'}),
        ('hf_siglip', {'activation': 'gelu'}),
        ('open_clip_mean', {'norm_last': False}),
        ('meta', {'resampling': 'bicubic'}),
        ('big_vision_siglip', {'resampling': 'bicubic_antialias'}),
    ],
)
def test_other_options_give_other_features(tmp_path, name, changes):
    network, (_, features) = read(tmp_path, name), CASES[name]
    difference = np.abs(features_of(network, IMAGES['28x12'], **changes) - features['28x12']).max()
    assert difference > 1e-4


@pytest.mark.parametrize(
    'wrap', [lambda n: f'module.{n}', lambda n: f'_orig_mod.{n}', lambda n: f'model._orig_mod.backbone.{n}'.lower()]
)
@pytest.mark.parametrize('name', ['hf_dinov2', 'timm_vit'])
def test_prefixes(tmp_path, name, wrap):
    expected = read(tmp_path, name)
    assert_same(read(tmp_path, name, lambda weights: {wrap(key): value for key, value in weights.items()}), expected)


@pytest.mark.parametrize(
    ('name', 'renamed'),
    [
        ('meta', {'blocks.1.': 'blocks.1.1.', 'blocks.0.': 'blocks.0.0.'}),  # blocks in chunks
        (
            'big_vision_vit',  # before 2022
            {
                '/MultiHeadDotProductAttention_0/': '/MultiHeadDotProductAttention_1/',
                '/MlpBlock_0/': '/MlpBlock_3/',
                '/LayerNorm_1/': '/LayerNorm_2/',
                'params/pos_embedding': 'params/Transformer/posembed_input/pos_embedding',
            },
        ),
    ],
)
def test_older_names(tmp_path, name, renamed):
    def change(weights):
        for new, old in renamed.items():
            weights = {key.replace(new, old): value for key, value in weights.items()}
        return weights

    assert_same(read(tmp_path, name, change), read(tmp_path, name))


@pytest.mark.parametrize('dtype', [np.float16, jnp.bfloat16, np.float64])
@pytest.mark.parametrize('name', ['hf_siglip', 'big_vision_siglip'])
def test_other_types_are_read_as_float32(tmp_path, name, dtype):
    expected = read(tmp_path, name)
    network = read(tmp_path, name, lambda weights: {key: value.astype(dtype) for key, value in weights.items()})
    assert {leaf.dtype for leaf in jax.tree.leaves(network.variables)} == {np.dtype(np.float32)}
    found, exact = (one.variables['params']['blocks_1']['mlp']['fc1']['kernel'] for one in (network, expected))
    np.testing.assert_array_equal(found, exact.astype(dtype).astype(np.float32))
    np.testing.assert_allclose(features_of(network, IMAGES['20x20']), CASES[name][1]['20x20'], atol=0.1)


@pytest.mark.parametrize('write', [write_pth, write_legacy])
@pytest.mark.parametrize('name', ['hf_clip', 'meta', 'open_clip'])
def test_files_of_pytorch(tmp_path, name, write):
    expected = read(tmp_path, name)
    folder = tmp_path / 'network'
    file = folder / CASES[name][0]['weights']
    file.unlink()
    write(folder / 'pytorch_model.bin', tensors(case_weights(name, CASES[name][0])))
    assert_same(read_vision_transformer(folder), expected)
    assert_same(read_vision_transformer(folder / 'pytorch_model.bin'), expected)


def write_shards(folder, name):
    """The weights in two files with an index, in place of the one file."""
    (folder / CASES[name][0]['weights']).unlink()
    weights = list(case_weights(name, CASES[name][0]).items())
    files = {f'model-0000{i + 1}-of-00002.safetensors': dict(weights[i::2]) for i in range(2)}
    for file, part in files.items():
        save_file(part, folder / file)
    places = {key: file for file, part in files.items() for key in part}
    index = folder / 'model.safetensors.index.json'
    index.write_text(json.dumps({'metadata': {'total_size': 1}, 'weight_map': places}))
    return index


def test_sharded_weights(tmp_path):
    expected = read(tmp_path, 'hf_siglip')
    file = tmp_path / 'network' / 'model.safetensors'
    assert expected.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    index = write_shards(tmp_path / 'network', 'hf_siglip')
    for path in (tmp_path / 'network', index):
        network = read_vision_transformer(path)
        assert_same(network, expected)
        assert network.sha256 != expected.sha256


def test_classifiers(tmp_path):
    case, _ = CASES['timm_vit']
    network = read_vision_transformer(write_case(tmp_path / 'network', 'timm_vit', case), classifier=True)
    weights = case_weights('timm_vit', case)
    expected = CASES['timm_vit'][1]['20x20'] @ weights['head.weight'].T + weights['head.bias']
    np.testing.assert_allclose(features_of(network, IMAGES['20x20']), expected, atol=1e-5)


def test_a_folder_without_configs_where_nothing_is_missing(tmp_path):
    for name in ('hf_dinov2_registers', 'hf_siglip'):
        expected, folder = read(tmp_path, name), tmp_path / 'network'
        for file in folder.glob('*.json'):
            file.unlink()
        # Heads go by the width, 64 channels each: one here, where the case has three.
        assert read_vision_transformer(folder).module == expected.module.clone(heads=1)


def test_what_says_nothing_is_left_out(tmp_path):
    def change(weights):
        more = {'vision_model.embeddings.position_ids': np.arange(26)[None], 'text_model.embeddings.position_ids': 7}
        return weights | {name: np.asarray(value) for name, value in more.items()}

    expected = read(tmp_path, 'hf_clip')
    assert_same(read(tmp_path, 'hf_clip', change), expected)
    assert_same(
        read(tmp_path, 'hf_clip', **{'config.json': {'text_config': None, 'vision_config_dict': None}}), expected
    )


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'size': 24, 'crop_size': 16}, ((16, 16), 24)),  # as older versions store it
        ({'size': 24, 'do_center_crop': False}, ((24, 24), (24, 24))),
        ({'size': {'height': 30, 'width': 40}, 'do_center_crop': False}, ((30, 40), (30, 40))),
        ({'size': {'height': 30, 'width': 40}, 'crop_size': {'shortest_edge': 12}}, ((12, 12), (30, 40))),
        ({'size': {'shortest_edge': 18}, 'do_center_crop': None}, ((20, 20), 18)),
        ({'crop_size': [10, 12]}, ((10, 10), 30)),
    ],
)
def test_sizes_of_images(tmp_path, changes, expected):
    found = read(tmp_path, 'hf_dinov2', **{'preprocessor_config.json': changes}).input
    assert (found.size, found.resize) == expected


def test_images_that_are_not_normalised_and_a_processor_of_images_and_text(tmp_path):
    case, _ = CASES['hf_dinov2']
    changes = {'do_normalize': False, 'resample': 1}
    found = read(tmp_path, 'hf_dinov2', **{'preprocessor_config.json': changes}).input
    assert (found.mean, found.std, found.interpolation) == ((0, 0, 0), (1, 1, 1), 'lanczos')
    (tmp_path / 'network' / 'preprocessor_config.json').unlink()
    nested = {'image_processor': case['configs']['preprocessor_config.json'] | changes}
    (tmp_path / 'network' / 'processor_config.json').write_text(json.dumps(nested))
    assert read_vision_transformer(tmp_path / 'network').input == found
