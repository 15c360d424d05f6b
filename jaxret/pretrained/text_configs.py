"""What the JSON files beside weights say of a text transformer and of how texts are prepared for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxret.errors import refused
from jaxret.pretrained.network_configs import Reader
from jaxret.pretrained.vit_configs import ACTIVATIONS
from jaxret.pretrained.vit_weights import Tower

_MODEL_TYPES = {'clip': 'clip', 'clip_text_model': 'clip', 'siglip': 'siglip', 'siglip_text_model': 'siglip'}
_HIGHEST = 2  # as `eos_token_id`: the published code then takes the token of the highest number
# Keys of OpenCLIP whose networks are not read, unless they have this value.
_PLAIN = {
    'hf_model_name': None,
    'embed_cls': False,
    'qk_norm': False,
    'scaled_cosine_attn': False,
    'scale_heads': False,
    'scale_attn_inner': False,
    'scale_attn': False,
    'scale_fc': False,
    'tokenizer_mode': None,
}
_POOLINGS = {'argmax': 'highest', 'eos': 'end', 'last': 'last'}


class TextDescription(NamedTuple):
    """Of a text transformer what its arrays do not show.

    Attributes:
      options: attributes of `TextTransformer` by name.
      expected: what the config says of the sizes that the arrays show, by attribute.
      cleaning: of texts before they become tokens, a key of `jaxret.pretrained.tokenizer.CLEANINGS`.
    """

    options: Mapping[str, Any]
    expected: Mapping[str, int]
    cleaning: str


def describe_text(tower: Tower, configs: Mapping[str, Reader], *, where: str) -> TextDescription:
    """What the JSON files say of a text transformer.

    Args:
      tower: its arrays.
      configs: by the names of their files, those that there are.
      where: the file of weights, for messages.

    Raises:
      DataError: the config is missing, of another network, or of one that is not read.
    """
    name = 'config.json' if tower.layout.kind == 'clip' else 'open_clip_config.json'
    if name not in configs:
        found = f'no {name} beside it, which says the activation, the heads and the pooling of its text transformer'
        raise refused(where, found, f'put {name} beside the weights')
    if tower.layout.kind == 'clip':
        return _hugging_face(configs[name], configs.get('tokenizer_config.json', Reader({}, '')))
    return _open_clip(configs[name])


def _hugging_face(config: Reader, tokenizer: Reader) -> TextDescription:
    kind = config.value('model_type', str, '')
    if kind not in _MODEL_TYPES:
        raise config.refuse('model_type', f'{kind!r:.100}, whose text transformer is not read')
    siglip = _MODEL_TYPES[kind] == 'siglip'
    text = config.part('text_config') if 'text_config' in config.values else config
    activation, epsilon, heads = ('gelu_pytorch_tanh', 1e-6, 12) if siglip else ('quick_gelu', 1e-5, 8)
    options = {
        'activation': text.choice('hidden_act', ACTIVATIONS, activation),
        'epsilon': text.fraction('layer_norm_eps', epsilon),
        'heads': text.count('num_attention_heads', heads),
        'causal': not siglip,
    }
    if siglip:
        options['pooling'] = 'last'
    else:
        end = text.value('eos_token_id', int, 49407)
        options |= {'pooling': 'highest'} if end == _HIGHEST else {'pooling': 'end', 'end': end}
    keys = {
        'width': 'hidden_size',
        'blocks': 'num_hidden_layers',
        'vocabulary': 'vocab_size',
        'context': 'max_position_embeddings',
    }
    expected = {name: value for name, key in keys.items() if isinstance(value := text.values.get(key), int)}
    # SigLIP learned from texts without punctuation, SigLIP 2 (whose files name Gemma's tokenizer) from lower case.
    plain = siglip and tokenizer.value('tokenizer_class', str, '').startswith('SiglipTokenizer')
    return TextDescription(options, expected, 'canonical' if plain else 'lower')


def _open_clip(config: Reader) -> TextDescription:
    model = config.part('model_cfg')
    text = model.part('text_cfg')
    for key, value in _PLAIN.items():
        if (found := text.values.get(key)) not in (None, value):
            raise text.refuse(key, f'{found!r:.100}: a text transformer that is not read')
    if text.value('proj_type', str, 'linear') != 'linear':
        raise text.refuse('proj_type', f'{text.values["proj_type"]!r:.100}: no projection to the space of the images')
    approximate = text.part('act_kwargs').value('approximate', str, 'none')
    quick = model.value('quick_gelu', bool, False)
    options = {
        'activation': 'quick_gelu' if quick else 'gelu_tanh' if approximate == 'tanh' else 'gelu',
        'epsilon': text.part('norm_kwargs').fraction('eps', 1e-5),
        'heads': text.count('heads', 8),
        'causal': not text.value('no_causal_mask', bool, False),
        'pooling': text.choice('pool_type', _POOLINGS, 'argmax'),
        'end': text.value('eos_id', int, 2),
    }
    expected = {
        'width': text.count('width', 512),
        'blocks': text.count('layers', 12),
        'vocabulary': text.value('vocab_size', int, 49408),
        'context': text.count('context_length', 77),
    }
    return TextDescription(options, expected, _cleaning(text))


def _cleaning(text: Reader) -> str:
    """OpenCLIP's own tokenizer makes lower case, others leave it where nothing is said."""
    arguments = text.part('tokenizer_kwargs')
    if arguments.value('strip_sep_token', bool, False):
        raise arguments.refuse('strip_sep_token', 'True, which is not read')
    choices = {'canonicalize': 'canonical', 'lower': 'lower', 'whitespace': 'whitespace'}
    return arguments.choice('clean', choices, 'whitespace' if text.value('hf_tokenizer_name', str, '') else 'lower')
