"""Networks that tell pairs or domains apart: does an embedding belong to a conv map, is an embedding a photo's.

Letters: N maps, M embeddings, h, w height and width of a map, C its channels, L cells, D embedding, H hidden units.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxret.encoders.layers import drop_units, linear


class PairDiscriminator(nn.Module):
    """Score of every map with every embedding: T(m, k) = w . relu(W relu(U [m; k])), with biases.

    Global: m is the whole map as one vector. Local: m is one cell, and every cell has a score (1x1 convolutions of the
    map with the embedding tiled over it). The first layer of a concatenation is a sum, U_m m + U_k k, so each part is
    computed once an input and only the H sums stand for each pair; cells come one after the other and are computed
    again for the gradient. The largest array is [N, M, H].

    Differs from DIM's public code in: no convolutions before the concatenation of the global form.

    Source: Hjelm et al. (ICLR 2019); HIFA (paper 004), section 3.2, which gives no sizes.

    Attributes:
      hidden: H.
      local: cells instead of the whole map.
    """

    hidden: int
    local: bool = False

    @nn.compact
    def __call__(self, maps: jax.Array, embeddings: jax.Array) -> jax.Array:
        """Scores of all pairs.

        Args:
          maps: float [N, h, w, C].
          embeddings: float [M, D].

        Returns:
          float32 [L, N, M], L = h w for the local form and 1 for the global one.
        """
        chex.assert_rank([maps, embeddings], [4, 2])
        chex.assert_type([maps, embeddings], float)
        cells = maps.shape[1] * maps.shape[2] if self.local else 1
        maps = maps.astype(jnp.float32).reshape(maps.shape[0], cells, -1)
        inputs = maps.shape[-1] + embeddings.shape[-1]
        map_part = linear(self.hidden, inputs, use_bias=False, name='map')(maps)  # [N, L, H]
        embedding_part = linear(self.hidden, inputs, name='embedding')(embeddings.astype(jnp.float32))  # [M, H]

        def scores_of_cell(module: nn.Module, carry: None, cell: jax.Array) -> tuple[None, jax.Array]:
            del module
            x = nn.relu(cell[:, None, :] + embedding_part[None, :, :])  # [N, M, H]
            x = nn.relu(linear(self.hidden, self.hidden, name='hidden')(x))
            return carry, linear(1, self.hidden, name='output')(x)[..., 0]

        scan = nn.scan(nn.remat(scores_of_cell), variable_broadcast='params', split_rngs={'params': False})
        return scan(self, None, jnp.moveaxis(map_part, 1, 0))[1]


class DomainDiscriminator(nn.Module):
    """Logit that an embedding is of the source domain: two hidden layers with ReLU and dropout.

    Source: Ganin and Lempitsky (ICML 2015); widths as in the MI3DOR baseline's public code (1024, 1024, dropout .5).

    Attributes:
      hidden: H, of both layers.
      dropout: share of the hidden units dropped in training.
    """

    hidden: int
    dropout: float

    @nn.compact
    def __call__(self, embeddings: jax.Array, *, keys: jax.Array | None = None) -> jax.Array:
        """Logits of embeddings.

        Args:
          embeddings: float [N, D].
          keys: random keys [N] for the dropout; None drops nothing.

        Returns:
          float32 [N].
        """
        chex.assert_rank(embeddings, 2)
        chex.assert_type(embeddings, float)
        x = embeddings.astype(jnp.float32)
        for layer in range(2):
            x = nn.relu(linear(self.hidden, x.shape[-1], name=f'hidden{layer + 1}')(x))
            x = drop_units(x, keys, rate=self.dropout, layer=layer)
        return linear(1, self.hidden, name='output')(x)[:, 0]
