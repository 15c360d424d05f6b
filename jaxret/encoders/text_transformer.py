"""Transformers of texts as CLIP, OpenCLIP and SigLIP have them: tokens, blocks, norm, one token, projection.

CLIP (Radford et al. 2021, arXiv:2103.00020) reads from left to right and takes the token that ends the text; SigLIP
(Zhai et al. 2023, arXiv:2303.15343) reads in both directions and takes the last token, which may be padding.

Letters: B batch, T tokens, D width, F features of the space that texts share with images.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import linear
from jaxret.encoders.transformer import LINEAR_INIT, Block
from jaxret.errors import ConfigError

POOLINGS = ('end', 'highest', 'last')


class TextTransformer(nn.Module):
    """Text transformer.

    Attributes:
      vocabulary: number of tokens that there are.
      context: positions, the most tokens of a text.
      width: D.
      blocks: number of blocks.
      heads: of each attention.
      mlp_width: features between the layers of each MLP.
      projection: F.
      projection_bias: whether the projection has a bias.
      causal: a token attends to itself and to those before it alone.
      pooling: 'end' (the first token `end`), 'highest' (the first one of the highest number, as networks have it whose
        config says `eos_token_id` 2, whatever the tokenizer's is) or 'last'.
      end: token that ends a text.
      layer_scale: a learnt factor for every channel of what a block's parts add.
      activation: a key of `jaxret.encoders.transformer.ACTIVATIONS`.
      epsilon: of the norms.
      dtype: of the computation; parameters and features are float32 always.
    """

    vocabulary: int
    context: int
    width: int
    blocks: int
    heads: int
    mlp_width: int
    projection: int
    projection_bias: bool = False
    causal: bool = True
    pooling: str = 'end'
    end: int = 49407
    layer_scale: bool = False
    activation: str = 'quick_gelu'
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """int32 [B, T] -> float32 [B, F], not of unit length.

        A text that 'end' finds no end in is pooled at its first token, as the published code does.

        Raises:
          ConfigError: more tokens than positions, or another pooling than there is.
        """
        chex.assert_rank(tokens, 2)
        chex.assert_type(tokens, int)
        count = tokens.shape[1]
        if count > self.context:
            raise ConfigError(f'texts of {count} tokens for a network of {self.context} positions')
        if self.pooling not in POOLINGS:
            raise ConfigError(f'unknown pooling {self.pooling!r}; use one of: {", ".join(POOLINGS)}')
        table = self.param('tokens', LINEAR_INIT, (self.vocabulary, self.width))
        positions = self.param('positions', LINEAR_INIT, (self.context, self.width))
        x = (table[tokens] + positions[None, :count]).astype(self.dtype)
        options = (self.heads, self.mlp_width, self.activation, self.epsilon, self.layer_scale, self.dtype, self.causal)
        for block in range(self.blocks):
            x = Block(*options, name=f'blocks_{block}')(x)
        x = nn.LayerNorm(self.epsilon, dtype=self.dtype, name='norm')(x)
        x = jnp.take_along_axis(x, self._place(tokens)[:, None, None], axis=1)[:, 0].astype(jnp.float32)
        return linear(self.projection, self.width, use_bias=self.projection_bias, name='projection')(x)

    def _place(self, tokens: jax.Array) -> jax.Array:
        """Number of the token that stands for its text, [B]."""
        if self.pooling == 'last':
            return jnp.full(tokens.shape[:1], tokens.shape[1] - 1)
        return (tokens if self.pooling == 'highest' else tokens == self.end).argmax(axis=1)
