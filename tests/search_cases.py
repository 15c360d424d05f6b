"""Embeddings that are difficult to search in, and what two searches must have in common."""

import numpy as np

from jaxret.search.similarity import VIEW_KINDS

VIEWS, WIDTH = 3, 8
EMBEDDINGS = (
    'random',
    'clustered',
    'equal',
    'duplicates',
    'nearly equal',
    'tiny',
    'zeros',
    'lengths',
    'axis',
    'offset',
    'half',
)


def embeddings(name: str, kind: str, shapes: int, queries: int, *, width: int = WIDTH, seed: int = 0):
    """Gallery, queries and projected queries of some difficult kinds."""
    rng = np.random.default_rng(seed)
    size = (shapes, VIEWS, width) if kind in VIEW_KINDS else (shapes, width)
    x = rng.standard_normal(size)
    if name in ('clustered', 'nearly equal'):
        x = x[rng.integers(7, size=shapes)] + (0.05 if name == 'clustered' else 1e-6) * x
    elif name == 'equal':
        x = np.broadcast_to(x[:1], size)
    elif name == 'duplicates':
        x = x[rng.integers(max(1, shapes // 3), size=shapes)]
    elif name == 'axis':  # one axis holds everything: the bounds are tight and many are equal
        x = np.zeros(size)
        x[..., 0] = rng.integers(-2, 3, size=size[:-1])
    if name not in ('lengths', 'axis'):
        x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    if name == 'lengths':
        x = x * 10.0 ** rng.uniform(-6, 3, size=(*size[:-1], 1))
    elif name == 'tiny':
        x = x * 10.0 ** rng.uniform(-44, -18, size=(*size[:-1], 1))
    elif name == 'offset':
        x = x + 300.0
    elif name == 'zeros':
        x[rng.random(size[:-1]) < 0.4] = 0
    x = x.astype(np.float16 if name == 'half' else np.float32)
    near = x[rng.integers(shapes, size=queries)].astype(np.float32)
    near = near[:, 1] if kind in VIEW_KINDS else near
    q = near + 0.1 * np.abs(near).max() * rng.standard_normal(near.shape).astype(np.float32)
    q[0] = near[0]
    if name == 'zeros':
        q[-1] = 0
    p = (4 * q + rng.standard_normal(q.shape).astype(np.float32)) if kind == 'attention' else None
    return x, q, p


def same(a, b) -> None:
    np.testing.assert_array_equal(a.indices, b.indices)
    assert a.scores.tobytes() == b.scores.tobytes()
    if a.views is not None or b.views is not None:
        np.testing.assert_array_equal(a.views, b.views)


def concentrated():
    """Gallery [4000, 4, 32] and queries of clusters with few strong axes."""
    rng = np.random.default_rng(0)
    decay = np.arange(1, 33) ** -1.5
    centres = rng.standard_normal((40, 1, 32)) * decay
    x = centres[rng.integers(40, size=4000)] + 0.2 * rng.standard_normal((4000, 4, 32)) * decay
    x = (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)
    return x, x[:6, 1] + 0.01 * rng.standard_normal((6, 32)).astype(np.float32)
