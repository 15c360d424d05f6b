"""The gallery side of search: embeddings, checked once, and the rows that fast scoring takes.

Letters: G gallery shapes, V views, D embedding.
"""

from collections.abc import Iterator

import numpy as np

from jaxret.errors import ConfigError, refused
from jaxret.search.blocks import aligned_empty
from jaxret.search.codes import CodedViews
from jaxret.search.similarity import KINDS, VIEW_KINDS, exact_scores, pooled64, unit64
from jaxret.search.threads import spread

_LONGEST = 1e15  # longer embeddings could overflow in float32
_LOOKED_UP = 1 / 8  # from this share of the shapes on all products are looked up: that is quicker than to decode some
_PART_ELEMENTS = 2_000_000  # numbers converted at a time


class SearchGallery:
    """Embeddings of a gallery and how they are scored. Make it once; searches share what is derived from it.

    Args:
      embeddings: [G, V, D] for `VIEW_KINDS`, else [G, D]; float32 or float16, kept as they are. Mapped
        from an .npy file they stay there; else make them in `blocks.aligned_empty`, or every block is copied. For
        'best_views' also `CodedViews`: scores are then those of what the codes stand for.
      similarity: one of `similarity.KINDS`.

    Attributes:
      embeddings, similarity: as given.
      rows: what fast scoring multiplies with: the embeddings; pooled ('mean', 'max') or scaled to unit length
        ('cosine') in float32.
      centre: float32 [D]; for 'euclidean' about the mean of the gallery, else 0.
      radius: longest row less the centre.
      longest: length of the longest embedding.
      bounds: `bounds.GalleryBounds` once `bounds.prepare` has been called, else None.
      waits: searches before `search` tries again to prune, after the bounds left too many shapes.
      resident: blocks of rows that stay on accelerators from one search to the next.

    Raises:
      ConfigError: unknown similarity.
      DataError: wrong shape or type, values that are not finite, or embeddings longer than 1e15.
    """

    def __init__(self, embeddings: np.ndarray | CodedViews, similarity: str):
        if similarity not in KINDS:
            raise ConfigError(f'similarity {similarity!r} is unknown; choose one of {", ".join(KINDS)}')
        rank = 3 if similarity in VIEW_KINDS else 2
        if embeddings.dtype not in (np.float32, np.float16):
            raise refused('gallery embeddings', f'{embeddings.dtype}', 'store them as float32 or float16')
        if embeddings.ndim != rank or 0 in embeddings.shape[1:]:
            raise refused(
                'gallery embeddings',
                f'shape {embeddings.shape}',
                f'{similarity!r} needs {"[G, V, D]" if rank == 3 else "[G, D]"}',
            )
        self.embeddings, self.similarity = embeddings, similarity
        self.centre = np.zeros(self.width, np.float32)
        if similarity == 'euclidean' and len(embeddings):
            sample = embeddings[:: max(1, len(embeddings) // 10_000)].astype(np.float64)
            self.centre = sample.mean(axis=0).astype(np.float32)
        self.rows = (
            embeddings
            if similarity in ('attention', 'best_views', 'dot', 'euclidean')
            else aligned_empty((len(embeddings), self.width), np.float32)
        )
        self.radius = self.longest = 0.0
        self.bounds = None
        self.waits = 0
        self.resident: dict = {}  # blocks that stay on accelerators
        if self.coded:
            self.radius = self.longest = embeddings.longest
            return
        lengths = spread(self._add, parts(embeddings))
        self.longest, self.radius = np.max(lengths, axis=0).tolist() if lengths else (0.0, 0.0)

    def _add(self, part: slice) -> tuple[float, float]:
        """Checks some embeddings and makes their rows; the longest of both."""
        values = np.asarray(self.embeddings[part], np.float32)
        if self.rows is not self.embeddings:
            derived = unit64(values) if self.similarity == 'cosine' else pooled64(self.similarity, values)
            self.rows[part] = derived
        # Of the embeddings, not the rows: a pooled or scaled row would hide a value that is not finite or too large.
        lengths = np.linalg.norm(values.astype(np.float64), axis=-1)
        if not lengths.max() <= _LONGEST:
            first = part.start + int(np.argmax(~(lengths <= _LONGEST).reshape(len(values), -1).all(axis=1)))
            raise refused(f'gallery embeddings[{first}]', 'not finite, or longer than 1e15', 'embed this shape again')
        rows = np.asarray(self.rows[part], np.float64) - self.centre
        return float(lengths.max()), float(np.linalg.norm(rows, axis=-1).max())

    def __len__(self) -> int:
        return len(self.embeddings)

    def score(
        self, query: np.ndarray, projected: np.ndarray | None, ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Exact scores of one query and the shapes of these indices, and their views: `similarity.exact_scores`."""
        return exact_scores(self.similarity, query, projected, self.embeddings, ids)

    @property
    def coded(self) -> bool:
        """Whether the embeddings are codes."""
        return isinstance(self.embeddings, CodedViews)

    def products(self, queries: np.ndarray, ids: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Products in float32 of queries [Q, D] and the views of shapes of these indices: [Q, N, V]."""
        ids = np.arange(len(self))[ids]
        if self.coded and len(ids) > _LOOKED_UP * len(self):
            return self.embeddings.products(queries)[:, ids]
        products = np.empty((len(queries), len(ids), self.views), np.float32)
        for part in parts(self.embeddings, len(ids)):
            rows = self.embeddings[ids[part]].astype(np.float32, copy=False)
            products[:, part] = (rows @ queries.T).transpose(2, 0, 1)
        return products

    @property
    def width(self) -> int:
        """D."""
        return self.embeddings.shape[-1]

    @property
    def views(self) -> int:
        """V of the rows: 1 where a shape is one row."""
        return self.rows.shape[1] if self.rows.ndim == 3 else 1


def parts(array: np.ndarray, count: int | None = None) -> Iterator[slice]:
    """Slices of the first axis, or of so many rows, that bound how much is converted at a time."""
    count = len(array) if count is None else count
    step = max(1, _PART_ELEMENTS // max(1, array[:1].size))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
