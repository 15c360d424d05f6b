"""Text transformers as libraries store them: tokens and features equal to theirs; what is refused."""

import json
import re
import warnings

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from text_cases import TEXTS, stored_text_cases, write_text_case
from vit_cases import case_weights

from jaxret.errors import ConfigError, DataError
from jaxret.pretrained.text_files import read_text_transformer
from jaxret.pretrained.tokenizer import CLEANINGS

pytest.importorskip('tokenizers')
pytestmark = pytest.mark.filterwarnings('ignore:.*only its first 16 tokens are read')
CASES = stored_text_cases()


def read(folder, name, change=None, **changes):
    weights = (change or dict)(case_weights(name, CASES[name][0]))
    return read_text_transformer(write_text_case(folder / 'network', name, CASES[name][0], weights, **changes))


def features_of(text, tokens, **changes):
    module = text.module.clone(**changes)
    return jax.jit(module.apply, compiler_options={'xla_backend_optimization_level': 0})(text.variables, tokens)


@pytest.mark.parametrize('name', CASES)
def test_tokens_and_features_are_those_of_the_published_code(tmp_path, name):
    text, (case, tokens, features, _) = read(tmp_path, name), CASES[name]
    np.testing.assert_array_equal(text.tokenizer.encode(TEXTS), tokens)
    np.testing.assert_allclose(features_of(text, tokens), features, atol=1e-5)
    weights = case_weights(name, case)
    assert text.logit_scale == pytest.approx(np.exp(weights['logit_scale'].item()))
    assert text.logit_bias == (weights['logit_bias'].item() if 'logit_bias' in weights else 0)


@pytest.mark.parametrize(
    ('name', 'changes'),
    [
        ('hf_clip_highest', {'activation': 'gelu'}),
        ('hf_clip_end', {'pooling': 'highest'}),
        ('hf_clip_end', {'causal': False}),
        ('hf_siglip', {'pooling': 'end', 'end': 1}),
        ('hf_siglip2', {'epsilon': 0.01}),
        ('open_clip_siglip', {'activation': 'quick_gelu'}),
    ],
)
def test_other_options_give_other_features(tmp_path, name, changes):
    _, tokens, features, _ = CASES[name]
    if changes.get('pooling') == 'highest':  # a token that comes after the end of the text, of a higher number
        tokens = tokens.copy()
        tokens[:, -1] = tokens.max() + 1
    difference = np.abs(features_of(read(tmp_path, name), tokens, **changes) - features).max()
    assert difference > 1e-4


def test_shards_one_of_which_has_no_text(tmp_path):
    name = 'hf_siglip'
    expected = read(tmp_path, name)
    folder = tmp_path / 'network'
    (folder / 'model.safetensors').unlink()
    weights = case_weights(name, CASES[name][0])
    parts = {'a.safetensors': 'vision_model.', 'b.safetensors': ('text_model.', 'logit')}
    parts = {file: {key: array for key, array in weights.items() if key.startswith(of)} for file, of in parts.items()}
    for file, part in parts.items():
        save_file(part, folder / file)
    index = {'weight_map': {key: file for file, part in parts.items() for key in part}}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    found = read_text_transformer(folder)
    jax.tree.map(np.testing.assert_array_equal, found.variables, expected.variables)
    assert found.module == expected.module and found.logit_bias == expected.logit_bias


def test_vocabulary_and_merges_give_the_tokens_of_tokenizer_json(tmp_path):
    for name in ('hf_clip_highest', 'hf_clip_end'):
        case, tokens, *_ = CASES[name]
        folder = write_text_case(tmp_path / name, name, case, **{'tokenizer.json': None, 'tokenizer_config.json': None})
        model = case['configs']['tokenizer.json']['model']
        (folder / 'vocab.json').write_text(json.dumps(model['vocab']))
        (folder / 'merges.txt').write_text('\n'.join(['#version: 0.2', *map(' '.join, model['merges']), '']))
        np.testing.assert_array_equal(read_text_transformer(folder).tokenizer.encode(TEXTS), tokens)


def test_tokens_at_the_ends_and_to_fill_up_with(tmp_path):
    _, tokens, *_ = CASES['hf_siglip2']
    more = {'add_bos_token': True, 'pad_token': {'content': '<mask>'}}
    found = read(tmp_path, 'hf_siglip2', **{'tokenizer_config.json': more}).tokenizer.encode(TEXTS[:1])[0]
    words = tokens[0][: list(tokens[0]).index(1)]
    np.testing.assert_array_equal(found, [2, *words, 1, *[4] * (16 - len(words) - 2)])
    # CLIP does not see what texts are filled up with.
    clip = read(tmp_path, 'hf_clip_end', **{'tokenizer_config.json': {'pad_token': 'none'}})
    expected = CASES['hf_clip_end'][2][:1]
    np.testing.assert_allclose(features_of(clip, clip.tokenizer.encode(TEXTS[:1])), expected, atol=1e-5)


def test_what_is_typed_is_text_and_only_long_texts_are_cut(tmp_path):
    tokenizer, end = read(tmp_path, 'hf_siglip2').tokenizer, 1
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = tokenizer.encode(['sofa <eos> table', 'sofa'])
    assert (found == end).sum(axis=1).tolist() == [1, 1] and found[1, 1] == end != found[0, 1]
    with pytest.warns(UserWarning, match=r'text wardrobe with doors, .*\.\.\.: only its first 16 tokens are read'):
        assert tokenizer.encode(TEXTS[3:])[0, -1] == end


def test_cleanings():
    found = {name: clean('  A\t_B-c,  É! ') for name, clean in CLEANINGS.items()}
    assert found == {'whitespace': 'A _B-c, É!', 'lower': 'a _b-c, é!', 'canonical': 'a bc é'}


@pytest.mark.parametrize(
    ('texts', 'message'),
    [
        (['sofa', ' \n', ''], r"2 problems:\n  text ' \\n': nothing to search for; .*\n  text '': nothing"),
        (['?!'], r"text '\?!': nothing to search for; give a few words"),
    ],
)
def test_texts_without_a_word(tmp_path, texts, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, 'hf_siglip').tokenizer.encode(texts)


def without(part):
    return lambda weights: {name: array for name, array in weights.items() if part not in name}


@pytest.mark.parametrize(
    ('name', 'change', 'changes', 'message'),
    [
        ('hf_clip_end', without('text_model'), {}, r'no text transformer of a known layout \(\d+ entries'),
        ('hf_siglip', without('text_model'), {}, 'use weights of CLIP, OpenCLIP or SigLIP with their text part'),
        ('hf_clip_end', without('text_projection'), {}, 'a text part without projection'),
        ('open_clip', without('ln_final.bias'), {}, 'not the weights of a text transformer .* ln_final.bias: absent'),
        ('hf_clip_end', None, {'config.json': None}, 'no config.json beside it, which says the activation'),
        ('hf_clip_end', None, {'config.json': {'model_type': 'align'}}, "model_type: 'align', whose text transformer"),
        ('hf_clip_end', None, {'config.json': {'model_type': 'siglip2'}}, r'NaFlex'),
        ('hf_siglip', None, {'config.json': {'text_config': {'hidden_size': 8}}}, 'width 16, but its config says 8'),
        ('hf_siglip', None, {'config.json': {'text_config': {'num_attention_heads': 3}}}, 'which 3 heads cannot share'),
        ('hf_clip_end', None, {'config.json': {'text_config': {'eos_token_id': 5}}}, 'not end a text with token 5'),
        ('hf_clip_end', None, {'tokenizer.json': None}, r'no tokenizer.json, and not vocab.json with merges.txt; put'),
        ('hf_clip_end', None, {'tokenizer.json': {'model': 3}}, 'tokenizer.json: cannot be read as a tokenizer'),
        ('hf_siglip', None, {'tokenizer_config.json': {'pad_token': 'x#'}}, r"no token that .* \('x#'\)"),
        ('hf_siglip', lambda w: w | {'logit_scale': np.float32([1e9])}, {}, 'a logit scale or bias that is no usual'),
    ],
)
def test_what_is_refused(tmp_path, name, change, changes, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, name, change, **changes)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ({'hf_model_name': 'xlm'}, "text_cfg: hf_model_name: 'xlm': a text transformer that is not read"),
        ({'embed_cls': True}, 'embed_cls: True'),
        ({'proj_type': 'none'}, 'no projection to the space of the images'),
        ({'pool_type': 'first'}, "pool_type: 'first', not one of argmax, eos, last"),
        ({'tokenizer_kwargs': {'strip_sep_token': True}}, 'strip_sep_token: True, which is not read'),
    ],
)
def test_what_is_refused_of_open_clip(tmp_path, text, message):
    model = CASES['open_clip'][0]['configs']['open_clip_config.json']['model_cfg']
    changed = model | {'text_cfg': model['text_cfg'] | text}
    with pytest.raises(DataError, match=message):
        read(tmp_path, 'open_clip', **{'open_clip_config.json': {'model_cfg': changed}})


def test_a_tokenizer_of_another_network_and_only_sentencepiece(tmp_path):
    tokenizer = CASES['hf_siglip2'][0]['configs']['tokenizer.json']
    vocabulary = tokenizer['model']['vocab']
    other = tokenizer | {'model': tokenizer['model'] | {'vocab': vocabulary | {'a': len(vocabulary)}}}
    with pytest.raises(DataError, match=rf'a tokenizer that gives token {len(vocabulary)}, for a network that has'):
        read(tmp_path, 'hf_siglip2', **{'tokenizer.json': other})
    folder = tmp_path / 'network'
    (folder / 'tokenizer.json').unlink()
    (folder / 'spiece.model').write_bytes(b'model')
    with pytest.raises(DataError, match=re.escape('no tokenizer.json; spiece.model alone is not read; put the')):
        read_text_transformer(folder)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'tokenizers', None)
    with pytest.raises(ConfigError, match=r"a search by words needs tokenizers: pip install 'jaxret\[text\]'"):
        read(tmp_path, 'hf_clip_end')
