"""Text transformers: which tokens a text's features depend on, and what cannot be.

What they compute is compared with the published code by stored outputs, in tests/pretrained/test_text_files.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references_encoders import random_variables

from jaxret.encoders.text_transformer import TextTransformer
from jaxret.errors import ConfigError

TOKENS = np.array([[3, 1, 4, 7, 0, 7], [2, 7, 9, 5, 0, 0]], np.int32)


def tiny(**options):
    fixed = {'vocabulary': 10, 'context': 6, 'width': 8, 'blocks': 2, 'heads': 2, 'mlp_width': 12, 'projection': 5}
    return TextTransformer(**fixed | {'end': 7} | options)


@pytest.mark.parametrize(
    ('options', 'read'),
    [
        ({}, (4, 2)),  # up to the first token 7
        ({'pooling': 'highest'}, (4, 3)),  # up to the first token of the highest number, 7 and 9
        ({'pooling': 'last', 'causal': False, 'projection_bias': True}, (6, 6)),
        ({'causal': False}, (6, 6)),
    ],
)
def test_features_depend_on_the_tokens_that_are_read(options, read):
    module = tiny(**options)
    variables = random_variables(module, TOKENS)
    apply = jax.jit(module.apply, compiler_options={'xla_backend_optimization_level': 0})
    features = apply(variables, TOKENS)
    assert features.shape == (2, 5) and features.dtype == jnp.float32
    for place in range(TOKENS.shape[1]):
        changed = TOKENS.copy()
        changed[:, place] = 6  # neither the end nor the highest
        kept = TOKENS[:, place] == (9 if options.get('pooling') == 'highest' else 7)
        difference = np.abs(apply(variables, changed) - features).max(axis=1)
        for text in range(2):
            if not kept[text] or place >= read[text]:
                assert (difference[text] > 1e-6) == (place < read[text]), (text, place)


@pytest.mark.parametrize(
    ('options', 'count', 'message'),
    [({'context': 5}, 6, 'texts of 6 tokens for a network of 5 positions'), ({'pooling': 'mean'}, 6, "pooling 'mean'")],
)
def test_what_cannot_be(options, count, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(tiny(**options).init, jax.random.key(0), jax.ShapeDtypeStruct((2, count), jnp.int32))
