"""How queries are compared with the shapes and references of an index.

Letters: Q queries, N photos of one object, G shapes, V views, D embedding, C cells of a silhouette, K results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxret.errors import ConfigError, refused
from jaxret.index.embeddings import gather
from jaxret.index.files import Manifest
from jaxret.index.shards import SHARDS, ShapeRow, read_matrix
from jaxret.search.blocks import aligned_empty
from jaxret.search.exact import Found, search
from jaxret.search.fusion import fused_search
from jaxret.search.gallery import SearchGallery
from jaxret.search.joined import joined_queries
from jaxret.search.outlines import Outlines
from jaxret.search.parts import Parts
from jaxret.search.references import Evidence
from jaxret.search.turned import search_turned

TEXT_WEIGHT = 0.5  # of a text beside a photo
_WIDENED_BYTES = 2**31  # float16 embeddings that take no more as float32 are kept as such, which saves every query that


@dataclass(frozen=True)
class Question:
    """What is asked beside the queries.

    Attributes:
      top_k: K.
      candidates: bool [G], which shapes are allowed; None allows all.
      purpose: what is searched for, one of the index's; None for the default.
      evidence: of the references that count; None for none.
      texts: [Q, D] of `Model.embed_texts`, which say together with the photos what is wanted; None for none.
      text_weight: of the texts, from 0 (the photos alone) to 1.
    """

    top_k: int
    candidates: np.ndarray | None
    purpose: str | None
    evidence: Evidence | None
    texts: np.ndarray | None = None
    text_weight: float = TEXT_WEIGHT


class Comparison:
    """The arrays of an index, and how they are asked.

    Args:
      folder: of the index.
      manifest: of it.
      rows: of its table.

    Attributes:
      gallery: what is searched.
      projection: float32 [D, D], the map W of CMIC's attention; else None.
      stored: the type in which the index stores embeddings; the gallery's may be wider.
      parts: of embeddings; None where they have none.
      centre: [D], what photos are taken to have in common while none is known; None without parts.

    Raises:
      DataError: the index is damaged, or holds no shapes.
    """

    def __init__(self, folder: Path, manifest: Manifest, rows: Sequence[ShapeRow]):
        self.projection, self.centre = (
            None if name is None else read_matrix(folder / SHARDS / name)
            for name in (manifest.projection, manifest.centre)
        )
        embeddings = gather(folder, rows)
        self.stored = embeddings.dtype
        self.gallery = SearchGallery(_widened(embeddings), manifest.similarity)
        self.parts = None if manifest.parts is None else Parts.from_json(manifest.parts)
        self._outlines = None
        inputs = manifest.shape_inputs
        if inputs.outlines is not None:
            self._outlines = Outlines(gather(folder, rows, 'outlines', checked=True))
        self._rings = [count for _, count, _ in inputs.ring.rings]

    @property
    def width(self) -> int:
        """Of queries that are photos: D, or D + C."""
        return self.gallery.width + (0 if self.parts is None else self.parts.cells)

    def found(self, queries: np.ndarray, question: Question) -> Found:
        """The shapes that score best for queries [Q, N, D + C], of N photos each.

        Raises:
          ConfigError: a purpose that the index does not have, or of which words say nothing; a weight out of range.
          DataError: values that are not finite, texts of another shape, or for a model without words.
        """
        flat = queries.reshape(-1, queries.shape[-1])
        if not np.isfinite(flat).all():
            raise refused('queries', 'values that are not finite', 'embed them again')
        centre = self.centre if question.evidence is None else question.evidence.centre
        seen, photo_share = self._weighed(flat, question.purpose, centre), 1.0
        if question.texts is not None:
            seen = self._with_texts(seen, queries.shape[:2], question)
            photo_share = 1 - question.text_weight
        projected = None if self.projection is None else seen @ self.projection
        silhouettes = None
        if self._outlines is not None and question.purpose != 'class':
            silhouettes = self.parts.outlines(queries)
        options = {'candidates': question.candidates}
        if queries.shape[1] == 1 and (question.evidence is None and silhouettes is None or not len(queries)):
            return search(self.gallery, seen, question.top_k, projected=projected, **options)
        shape = (*queries.shape[:2], -1)
        return fused_search(
            self.gallery,
            seen.reshape(shape),
            question.top_k,
            projected=None if projected is None else projected.reshape(shape),
            evidence=question.evidence,
            photos=queries,
            outlines=None if silhouettes is None else (self._outlines, silhouettes, self.parts.outline),
            photo_share=photo_share,
            **options,
        )

    def found_turned(self, queries: np.ndarray, question: Question) -> Found:
        """As `found`, of views [Q, V, D] of meshes, clouds or scans in their best heading.

        Raises:
          ConfigError, DataError: as `found` and `search_turned`; or texts beside the views.
        """
        if question.texts is not None:
            raise refused('texts', 'given with views of meshes, clouds or scans', 'give them alone or with photos')
        if queries.shape[1:] == self.gallery.embeddings.shape[1:]:
            queries = self._weighed(queries, question.purpose, None)
        return search_turned(self.gallery, queries, question.top_k, rings=self._rings, candidates=question.candidates)

    def _weighed(self, queries: np.ndarray, purpose: str | None, centre: np.ndarray | None) -> np.ndarray:
        """What is compared with embeddings of views, [..., D]."""
        if self.parts is None:
            check_no_purpose(purpose)
            return queries
        return self.parts.view_queries(queries, purpose, centre)

    def _with_texts(self, photos: np.ndarray, shape: tuple[int, int], question: Question) -> np.ndarray:
        """Photos [Q N, D] and the text of each query as one query, [Q N, D]."""
        if self.parts is None:
            raise refused('texts', 'the model of this index has no words', 'ask an index of CLIP, OpenCLIP or SigLIP')
        if not 0 <= question.text_weight <= 1:
            raise ConfigError(f'weight {question.text_weight} of a text: give 0 to 1')
        texts = np.asarray(question.texts, np.float32)
        if texts.shape != (shape[0], self.gallery.width):
            raise refused('texts', f'shape {list(texts.shape)}', f'give [{shape[0]}, {self.gallery.width}]')
        texts = self._weighed(texts, question.purpose, None).repeat(shape[1], axis=0)
        return joined_queries(self.gallery, photos, texts, weight=question.text_weight)


def check_no_purpose(purpose: str | None) -> None:
    """Raises ConfigError for a purpose where embeddings have no parts."""
    if purpose is not None:
        raise ConfigError(f'purpose {purpose!r}: the model of this index leaves no choice')


def _widened(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings in float32 where these are not too large; their values are the same."""
    if embeddings.dtype == np.float32 or 2 * embeddings.nbytes > _WIDENED_BYTES:
        return embeddings
    wide = aligned_empty(embeddings.shape, np.float32)
    wide[:] = embeddings
    return wide
