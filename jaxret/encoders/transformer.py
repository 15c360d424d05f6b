"""Layers of transformers: attention, MLP, the block of both, and pooling by attention.

Letters: B batch, T tokens, D width.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

LINEAR_INIT = nn.initializers.truncated_normal(0.02)


def _swiglu(x: jax.Array) -> jax.Array:
    gate, value = jnp.split(x, 2, axis=-1)
    return nn.silu(gate) * value


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    'gelu': lambda x: nn.gelu(x, approximate=False),
    'gelu_tanh': lambda x: nn.gelu(x, approximate=True),
    'quick_gelu': lambda x: x * nn.sigmoid(1.702 * x),
    'swiglu': _swiglu,
}


class Attention(nn.Module):
    """Multi-head attention of tokens to each other, or of the first ones to the others alone.

    Attributes:
      heads: that the width is divided among.
      queries: 0, or the number of first tokens that ask the others; only these come out.
      dtype: of the computation; the softmax is float32.
      causal: a token attends to itself and to those before it alone.
    """

    heads: int
    queries: int = 0
    dtype: Any = jnp.float32
    causal: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, T, D], or [B, queries, D]."""
        batch, tokens, width = x.shape
        x = nn.Dense(3 * width, dtype=self.dtype, kernel_init=LINEAR_INIT, name='qkv')(x)
        x = x.reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = x[:, :, 0], x[:, :, 1], x[:, :, 2]
        if self.queries:
            query, key, value = query[:, : self.queries], key[:, self.queries :], value[:, self.queries :]
        y = jax.nn.dot_product_attention(query, key, value, is_causal=self.causal)
        return nn.Dense(width, dtype=self.dtype, kernel_init=LINEAR_INIT, name='out')(y.reshape(*y.shape[:2], width))


class Mlp(nn.Module):
    """Two linear layers with an activation between.

    Attributes:
      features: between the layers (after the gate, where 'swiglu' has one).
      activation: a key of `ACTIVATIONS`.
      dtype: of the computation.
    """

    features: int
    activation: str
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        wide = self.features * (2 if self.activation == 'swiglu' else 1)
        y = ACTIVATIONS[self.activation](nn.Dense(wide, dtype=self.dtype, kernel_init=LINEAR_INIT, name='fc1')(x))
        return nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=LINEAR_INIT, name='fc2')(y)


class Block(nn.Module):
    """x + scale attention(norm(x)), then x + scale mlp(norm(x)), with the attributes of `VisionTransformer`."""

    heads: int
    mlp_width: int
    activation: str
    epsilon: float
    layer_scale: bool
    dtype: Any = jnp.float32
    causal: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, T, D]."""
        attention = Attention(self.heads, dtype=self.dtype, causal=self.causal, name='attention')
        mlp = Mlp(self.mlp_width, self.activation, self.dtype, name='mlp')
        for part, layer in enumerate((attention, mlp), start=1):
            y = layer(nn.LayerNorm(self.epsilon, dtype=self.dtype, name=f'norm{part}')(x))
            if self.layer_scale:
                y *= self.param(f'scale{part}', nn.initializers.constant(1e-5), (x.shape[-1],)).astype(y.dtype)[
                    None, None
                ]
            x += y
        return x


class AttentionPooling(nn.Module):
    """SigLIP's head: a learnt query attends to the tokens, then x + mlp(norm(x)) (arXiv:2106.04560, "MAP")."""

    heads: int
    mlp_width: int
    activation: str
    epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[B, T, D] -> [B, D]."""
        probe = self.param('probe', nn.initializers.xavier_uniform(), (1, tokens.shape[-1])).astype(tokens.dtype)
        probe = jnp.broadcast_to(probe, (tokens.shape[0], *probe.shape))
        x = jnp.concatenate([probe, tokens], axis=1)
        x = Attention(self.heads, queries=1, dtype=self.dtype, name='attention')(x)[:, 0]
        y = nn.LayerNorm(self.epsilon, dtype=self.dtype, name='norm')(x)
        return x + Mlp(self.mlp_width, self.activation, self.dtype, name='mlp')(y)
