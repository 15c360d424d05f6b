"""Random embeddings to search in: clustered ones with queries near them, and those of a config."""

import numpy as np
from ml_collections import ConfigDict

from jaxret.search.blocks import aligned_empty

SHARPNESS = 5.0  # of the attention: p = 5 q and some noise


def embeddings(
    shapes: int, views: int, width: int, queries: int, decay: float | None, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gallery [G, V, D], queries and projected queries [Q, D]: shapes around a centre for every 200, all unit.

    The variance of axis i is i^-decay; where decay is None all views are independent, the worst case for bounds.
    """
    rng = np.random.default_rng(seed)
    deviation = np.arange(1, width + 1, dtype=np.float32) ** (-(decay or 0.0) / 2)
    turn = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)

    def draw(*size: int) -> np.ndarray:
        return rng.standard_normal((*size, width), np.float32) * deviation

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    clusters = max(10, shapes // 200)
    centres, sides = draw(clusters, 1), 0.3 * draw(clusters, views)
    gallery = aligned_empty((shapes, views, width), np.float32)
    for start in range(0, shapes, 10_000):
        part = gallery[start : start + 10_000]
        cluster = rng.integers(clusters, size=len(part))
        own = 0.3 * draw(len(part), 1) + 0.15 * draw(len(part), views)
        part[:] = unit(draw(len(part), views) if decay is None else centres[cluster] + sides[cluster] + own) @ turn
    near = gallery[rng.integers(shapes, size=queries), rng.integers(views, size=queries)]
    asked = unit(near + 0.3 * unit(draw(queries)) @ turn)
    noise = rng.uniform(-1, 1, (width, width)).astype(np.float32) / np.sqrt(width, dtype=np.float32)
    return gallery, asked, SHARPNESS * asked + asked @ noise


def random_gallery(shapes: int, config: ConfigDict) -> np.ndarray:
    """Unit embeddings [G, V, D]."""
    views = np.random.default_rng(1).standard_normal(
        (shapes, config.render.views, config.model.embedding_dim), np.float32
    )
    return views / np.linalg.norm(views, axis=-1, keepdims=True)
