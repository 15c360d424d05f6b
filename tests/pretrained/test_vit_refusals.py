"""What is not read as a vision transformer, or not without more files: each one clear error, and nothing is run."""

import json
import pickle

import numpy as np
import pytest
from pretrained_files import Call, Global, write_legacy, write_pth
from safetensors.numpy import save_file
from test_vit_files import CASES, read, write_shards
from vit_cases import case_weights, write_case

from jaxret.errors import DataError
from jaxret.pretrained.vit_files import read_vision_transformer


def refusal(path):
    with pytest.raises(DataError) as error:
        read_vision_transformer(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)
    return str(error.value)


def without(*parts):
    return lambda weights: {name: w for name, w in weights.items() if not any(part in name for part in parts)}


def added(**arrays):
    return lambda weights: weights | {name.replace('__', '.'): np.asarray(array) for name, array in arrays.items()}


def changed(part, change):
    return lambda weights: {name: change(w) if part in name else w for name, w in weights.items()}


ONE = np.zeros(3, np.float32)
QUERY = 'vision_model.encoder.layers.0.self_attn.q_proj.weight'


@pytest.mark.parametrize(
    ('name', 'change', 'found'),
    [
        ('hf_dinov2', without('layer.1.norm2', 'layer.0.mlp.fc1.w'), '3 entries do not fit: encoder.layer.0.mlp.fc1'),
        ('hf_dinov2', without('layer.1.norm2'), 'encoder.layer.1.norm2.bias: absent there, [24] here; encoder.layer.1'),
        ('timm_vit', without('cls_token'), '26 positions, which are no square'),
        ('timm_vit', added(blocks__0__attn__q_norm__weight=ONE), '.0.attn.q_norm.weight: [3] there, absent here'),
        ('hf_clip', changed('vision_model.post_layernorm.weight', lambda w: w[:5]), 'weight: [5] there, [24] here'),
        ('hf_clip', changed(QUERY, lambda w: w[:, :5]), f'{QUERY}: '),
        ('meta', changed('patch_embed.proj.bias', lambda w: w * np.nan), 'proj.bias: values that are not finite'),
        ('meta', changed('pos_embed', lambda w: w[:, :24]), '24 positions, which are no square'),
        ('meta', changed('pos_embed', lambda w: w[:, :, :32]), '13 positions, which are no square'),
        ('meta', changed('cls_token', lambda w: w[:, :, :32]), 'cls_token: [1, 1, 32] there, [1, 64] here'),
        ('meta', without('pos_embed'), 'no positions (DINOv3 and EVA have rotary ones, which are not read)'),
        ('hf_dinov2', changed('fc1.weight', lambda w: w.astype(np.int8)), 'values of type int8, no floats (quantised'),
        ('hf_dinov2', added(encoder__layer__0__mlp__fc1__weight_scale=ONE), 'fc1.weight_scale: [3] there, absent here'),
        ('hf_siglip_vision', changed('patch_embedding.weight', lambda w: w.reshape(24, 48)), 'NaFlex'),
        ('hf_dinov2', without('patch_embeddings'), 'no vision transformer of a known layout (41 entries, such as'),
        ('hf_dinov2', lambda _: {'visual.layer1.0.conv1.weight': ONE}, 'its names are those of a ResNet'),
        (
            'hf_dinov2',
            lambda _: {'layer.0.attention.q_proj.weight': ONE},
            'DINOv3, whose rotary positions are not read',
        ),
        ('meta', lambda _: {'storage_tokens': ONE}, 'DINOv3, whose rotary positions are not read'),
    ],
)
def test_weights_that_do_not_fit(tmp_path, name, change, found):
    with pytest.raises(DataError) as error:
        read(tmp_path, name, change)
    message = str(error.value)
    assert found in message and '\n' not in message
    assert str(tmp_path / 'network' / CASES[name][0]['weights']) in message


def test_two_networks(tmp_path):
    def twice(weights):
        return {f'{part}.{name}': w for name, w in weights.items() for part in ('student', 'teacher')}

    with pytest.raises(DataError, match='2 vision transformers: student., teacher.; store the weights of one of them'):
        read(tmp_path, 'hf_dinov2', twice)


CONFIG, IMAGES, OPEN = 'config.json', 'preprocessor_config.json', 'open_clip_config.json'


def vision(**values):
    return {'model_cfg': {'vision_cfg': values}}


@pytest.mark.parametrize(
    ('name', 'config', 'changes', 'found'),
    [
        ('hf_dinov2', CONFIG, {'hidden_size': 384}, 'width 24, but its config says 384'),
        ('hf_dinov2', CONFIG, {'num_hidden_layers': 12}, 'blocks 2, but its config says 12'),
        ('hf_dinov2', CONFIG, {'num_attention_heads': 7}, 'a width of 24, which 7 heads cannot share'),
        ('hf_dinov2', CONFIG, {'num_attention_heads': 0}, 'config.json: num_attention_heads: 0'),
        ('hf_dinov2', CONFIG, {'num_attention_heads': True}, 'config.json: num_attention_heads: True'),
        ('hf_dinov2', CONFIG, {'hidden_act': 'relu'}, "config.json: hidden_act: 'relu', not one of gelu, "),
        ('hf_dinov2', CONFIG, {'model_type': 'clip'}, "model_type: 'clip', but the weights are of dinov2"),
        ('hf_dinov2', CONFIG, {'model_type': 'dinov3_vit'}, 'DINOv3, whose rotary positions are not read'),
        ('hf_siglip_vision', CONFIG, {'model_type': 'siglip2_vision_model'}, 'NaFlex'),
        ('hf_dinov2', CONFIG, {'quantization_config': {'bits': 4}}, 'quantised weights, which are not read'),
        ('hf_dinov2', CONFIG, {'image_size': 'big'}, "config.json: image_size: 'big'"),
        ('hf_dinov2', CONFIG, {'layer_norm_eps': [1]}, 'config.json: layer_norm_eps: [1]'),
        ('hf_clip', CONFIG, {'vision_config': 3}, 'config.json: vision_config: 3'),
        ('hf_clip', CONFIG, {'model_type': None}, 'no config.json of this network'),
        ('hf_dinov2', IMAGES, {'image_mean': [1, 2]}, 'preprocessor_config.json: image_mean: [1, 2]'),
        ('hf_dinov2', IMAGES, {'image_std': [1, 2, 'x']}, "preprocessor_config.json: image_std: [1, 2, 'x']"),
        ('hf_dinov2', IMAGES, {'rescale_factor': 1 / 127.5}, 'images that are not brought to [0, 1]'),
        ('hf_dinov2', IMAGES, {'do_rescale': False}, 'images that are not brought to [0, 1]'),
        ('hf_dinov2', IMAGES, {'resample': 7}, 'preprocessor_config.json: resample: 7'),
        ('hf_dinov2', IMAGES, {'size': {'longest_edge': 3}}, 'neither a shortest edge nor height and width'),
        ('hf_dinov2', IMAGES, {'size': {'shortest_edge': -3}}, 'preprocessor_config.json: size: shortest_edge: -3'),
        ('hf_dinov2', IMAGES, {'crop_size': [1, 2, 3]}, 'preprocessor_config.json: crop_size: [1, 2, 3]'),
        ('timm_vit', CONFIG, {'global_pool': 'max'}, "config.json: global_pool: 'max', not one of token, avg, map"),
        ('timm_vit', CONFIG, {'architecture': 'vit_base_patch16_rpn_224'}, 'which is not read'),
        ('timm_vit', CONFIG, {'architecture': None}, 'no config.json of this network'),
        ('timm_vit', CONFIG, {'pretrained_cfg': {'crop_mode': 'border'}}, "pretrained_cfg: crop_mode: 'border'"),
        ('timm_vit', CONFIG, {'pretrained_cfg': {'interpolation': 'random'}}, "interpolation: 'random', not one of"),
        ('open_clip', OPEN, vision(attentional_pool=True), 'attentional_pool: pooling by attention (CoCa)'),
        ('open_clip', OPEN, vision(width=32), 'width 24, but its config says 32'),
        ('open_clip', OPEN, vision(timm_model_name='x'), "timm_model_name: 'x', but the weights are those of"),
        ('open_clip', OPEN, {'preprocess_cfg': {'resize_mode': 'longest'}}, "preprocess_cfg: resize_mode: 'longest'"),
        ('open_clip_timm', OPEN, vision(timm_model_name='vit_x', timm_proj='mlp'), "timm_proj: 'mlp', not one of"),
        ('open_clip_timm', OPEN, vision(timm_model_name='vit_x', timm_proj_bias=True), 'a projection with a bias'),
    ],
)
def test_configs_that_do_not_fit(tmp_path, name, config, changes, found):
    with pytest.raises(DataError) as error:
        read(tmp_path, name, **{config: changes})
    message = str(error.value)
    assert found in message and '\n' not in message
    assert str(tmp_path / 'network') in message


def test_folders(tmp_path):
    assert 'no file of weights; name the file itself' in refusal(tmp_path)
    for name in ('a.pth', 'b.npz'):
        (tmp_path / name).write_bytes(b'x')
    assert '2 files of weights; name the file itself' in refusal(tmp_path)
    assert 'cannot be read (No such file' in refusal(tmp_path / 'none.safetensors')
    assert 'neither a .safetensors nor a .pth file' in refusal(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    ('name', 'file'), [('hf_clip', 'config.json'), ('hf_vit', 'config.json'), ('timm_vit', 'config.json'),
                       ('open_clip', 'open_clip_config.json')]
)  # fmt: skip
def test_a_folder_without_the_config_that_it_needs(tmp_path, name, file):
    folder = write_case(tmp_path / 'network', name, CASES[name][0])
    (folder / file).unlink()
    message = refusal(folder / CASES[name][0]['weights'])
    assert f'no {file} of this network beside it, which says its activation' in message


@pytest.mark.parametrize(('content', 'found'), [('{', 'cannot be read'), ('[1]', 'a list, not an object')])
def test_broken_configs(tmp_path, content, found):
    folder = write_case(tmp_path / 'network', 'hf_dinov2', CASES['hf_dinov2'][0])
    (folder / 'config.json').write_text(content)
    with pytest.raises(DataError, match='config.json: .*' + found):
        read_vision_transformer(folder)


def test_shards(tmp_path):
    folder = write_case(tmp_path / 'network', 'hf_siglip', CASES['hf_siglip'][0])
    index = write_shards(folder, 'hf_siglip')
    good = json.loads(index.read_text())
    second = folder / 'model-00002-of-00002.safetensors'
    assert 'no vision transformer of a known layout' in refusal(second)
    data = second.read_bytes()
    second.unlink()
    assert 'model-00002-of-00002.safetensors of its 2 files is missing; get it' in refusal(index)
    save_file({'x': np.ones(2, np.float32)}, second)
    assert ' is not in model-00002-of-00002.safetensors' in refusal(index)
    second.write_bytes(data[:-7])
    with pytest.raises(DataError, match='damaged .safetensors'):
        read_vision_transformer(index)
    for places, found in (
        ({'a': '../network/model-00001-of-00002.safetensors'}, 'not a file of weights in this folder'),
        ({'a': 3}, "'3', not a file of weights"),
        ({}, 'no files'),
        ([1], 'weight_map: [1]'),
    ):
        index.write_text(json.dumps(good | {'weight_map': places}))
        assert found in refusal(index)


class Harmful:
    def __reduce__(self):
        return (exec, ("open('ran', 'w')",))


def test_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    harmful = {'a': Call(Global('os', 'system'), ('touch ran',))}
    for write in (write_pth, write_legacy):
        assert 'os.system' in refusal(write(tmp_path / 'model.bin', harmful))
    (tmp_path / 'model.pth').write_bytes(pickle.dumps({'a': Harmful()}))
    assert 'nothing of it was run' in refusal(tmp_path / 'model.pth')
    np.savez(tmp_path / 'model.npz', a=np.array([Harmful()], object), allow_pickle=True)
    assert 'Python objects' in refusal(tmp_path / 'model.npz')
    assert not (tmp_path / 'ran').exists()


def test_damaged_npz_files(tmp_path):
    folder = write_case(tmp_path / 'network', 'big_vision_vit', CASES['big_vision_vit'][0])
    path = folder / 'weights.npz'
    data = path.read_bytes()
    for size in (len(data) // 2, len(data) - 3, 200):
        path.write_bytes(data[:size])
        assert 'damaged .npz file' in refusal(path)
    path.write_bytes(data.replace(b"'shape': (48,), ", b"'shape': (9**9,)", 1))
    assert 'damaged .npz file' in refusal(path)


def test_no_classifier(tmp_path):
    folder = write_case(tmp_path / 'network', 'hf_dinov2', CASES['hf_dinov2'][0])
    with pytest.raises(DataError, match='no classifier; read it without one'):
        read_vision_transformer(folder, classifier=True)


def test_text_is_not_read(tmp_path):
    """Not even types that are not known are looked at there."""
    weights = case_weights('hf_clip', CASES['hf_clip'][0])
    assert any('text_model' in name for name in weights)
    read(tmp_path, 'hf_clip', changed('text_model', lambda w: w[:0].astype(np.int64)))
