"""How queries are compared with the shapes and references of an index.

Letters: Q queries, N photos of one object, G shapes, V views, D embedding, C cells of a silhouette, K results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxret.errors import ConfigError, refused
from jaxret.index.embeddings import gather, gather_views
from jaxret.index.files import Manifest
from jaxret.index.shards import SHARDS, ShapeRow, read_matrix
from jaxret.search.blocks import aligned_empty
from jaxret.search.codes import CodedViews
from jaxret.search.exact import Found, search
from jaxret.search.fusion import fused_search
from jaxret.search.gallery import SearchGallery
from jaxret.search.joined import joined_queries
from jaxret.search.outlines import Outlines
from jaxret.search.parts import Parts
from jaxret.search.references import Evidence, mean_of_best
from jaxret.search.similarity import VIEW_KINDS
from jaxret.search.turned import search_headings, search_turned
from jaxret.search.viewpoint import refined_poses

TEXT_WEIGHT = 0.5  # of a text beside a photo
# Neighbours of the best camera: where cameras are dense, nearer ones.
_OUTLINE_REACH = {'reach': 30.0, 'temperature': 0.05}
_VIEW_REACH = {'reach': 45.0, 'temperature': 0.04}
_SCORED_ELEMENTS = 2**25  # products at a time
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


def check_also(also: Sequence[Sequence[str]], queries: np.ndarray, known: Mapping[str, int]) -> None:
    """Checks what `Index.search` takes as `also`.

    Args:
      also: ids, of each query.
      queries: of the search.
      known: ids of the index.

    Raises:
      ConfigError: queries that are no shapes, ids for another number of queries, or one that the index does not have.
    """
    if queries.ndim != 3:
        raise ConfigError('also: only for queries that are shapes, [Q, W, D]; leave it out for photos and texts')
    if len(also) != len(queries):
        raise ConfigError(
            f'also: {len(also)} lists of ids for {len(queries)} queries; give each query its own, perhaps []'
        )
    for ids in also:
        if isinstance(ids, str):
            raise ConfigError(f'also: {ids!r} is not a list of ids; give [{ids!r}]')
        unknown = sorted({*ids} - known.keys())
        if unknown:
            raise ConfigError(
                f'also: the index has no {", ".join(map(repr, unknown[:5]))}; give ids that are in `Index.ids`'
            )


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
        embeddings = gather_views(folder, rows, manifest.codebook)
        self.stored = embeddings.dtype
        self.gallery = SearchGallery(_widened(embeddings), manifest.similarity)
        self.parts = None if manifest.parts is None else Parts.from_json(manifest.parts)
        self._outlines = None
        inputs = manifest.shape_inputs
        if inputs.outlines is not None:
            self._outlines = Outlines(gather(folder, rows, 'outlines', checked=True))
            self._outline_poses = np.array(inputs.outlines.poses)
        self._view_poses = np.array(
            [(inputs.azimuth(view), inputs.elevation(view)) for view in range(len(inputs.view_ids))]
        )
        self._turns = inputs.turns if self.gallery.similarity in VIEW_KINDS else None

    def checked(self, queries: np.ndarray, *, words: bool = False) -> np.ndarray:
        """Queries of photos, or of words, as they are. Raises DataError where they are not [Q, `width`] of theirs."""
        width = self.gallery.width if words else self.width
        if queries.ndim != 2 or queries.shape[1] != width:
            action = f'give [Q, {width}], embedded by the model of this index'
            raise refused('queries', f'shape {list(queries.shape)}', action)
        return queries

    @property
    def width(self) -> int:
        """Of queries that are photos: D, or D + C."""
        return self.gallery.width + (0 if self.parts is None else self.parts.cells)

    def outlined(self, photos: np.ndarray) -> np.ndarray:
        """Whether silhouettes count in the default comparison of photos [..., D + C]: bool [...]."""
        if self._outlines is None:
            return np.zeros(photos.shape[:-1], bool)
        return (photos[..., self.parts.width :] != 0).any(axis=-1)

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
        shape = (*queries.shape[:2], seen.shape[1])
        if queries.shape[1] == 1 and (question.evidence is None and silhouettes is None or not len(queries)):
            found = search(self.gallery, seen, question.top_k, projected=projected, **options)
            return self._with_poses(found, seen.reshape(shape), silhouettes)
        found = fused_search(
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
        return self._with_poses(found, seen.reshape(shape), silhouettes)

    def _with_poses(self, found: Found, seen: np.ndarray, silhouettes: np.ndarray | None) -> Found:
        """With the poses of the first photos that have a silhouette, else of the first ones, seen [Q, N, D]."""
        if self.parts is None:
            return found
        poses = np.zeros((*found.indices.shape, 2))
        for query, ids in enumerate(found.indices):
            outlined = [] if silhouettes is None else [bits for bits in silhouettes[query] if bits.any()]
            if outlined:
                poses[query] = refined_poses(
                    self._outlines.overlaps(outlined[0], ids), self._outline_poses, **_OUTLINE_REACH
                )
            else:
                views = self.gallery.products(seen[query, :1], ids)[0]
                poses[query] = refined_poses(views, self._view_poses, **_VIEW_REACH)
        return replace(found, poses=poses)

    def view_scores(self, embeddings: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Scores of all shapes by their views and silhouettes, float32 [Q, G], in float32 arithmetic.

        Args:
          embeddings: float32 [Q, D + C] of photos.
          centre: [D], what photos have in common.
        """
        queries = self.parts.view_queries(embeddings, None, centre)
        silhouettes = self.parts.outlines(embeddings) if self._outlines is not None else None
        scores = np.zeros((len(queries), len(self.gallery)), np.float32)
        step = max(1, _SCORED_ELEMENTS // (len(self.gallery) * self.gallery.views))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            scores[part] = mean_of_best(self.gallery.products(queries[part]))
        for number in range(len(queries) if silhouettes is not None else 0):
            covered = self._outlines.scores(silhouettes[number][None], np.arange(len(self.gallery)))
            scores[number] += self.parts.outline * covered
        return scores

    def found_turned(self, queries: np.ndarray, question: Question) -> Found:
        """As `found`, of views or headings [Q, W, D] of meshes, clouds or scans in their best heading.

        Raises:
          ConfigError, DataError: as `found`, `search_turned` and `search_headings`; or texts beside the shapes.
        """
        if question.texts is not None:
            raise refused('texts', 'given with meshes, clouds or scans', 'give them alone or with photos')
        if self._turns is None:
            check_no_purpose(question.purpose)
            return search_headings(self.gallery, queries, question.top_k, candidates=question.candidates)
        if queries.shape[2] == self.gallery.width:
            queries = self._weighed(queries, question.purpose, None)
        how = {'turns': self._turns, 'poses': self._view_poses}
        return search_turned(self.gallery, queries, question.top_k, candidates=question.candidates, **how)

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


def _widened(embeddings: np.ndarray | CodedViews) -> np.ndarray | CodedViews:
    """Embeddings in float32 where these are not too large; their values are the same."""
    if embeddings.dtype == np.float32 or 2 * embeddings.nbytes > _WIDENED_BYTES:
        return embeddings
    wide = aligned_empty(embeddings.shape, np.float32)
    wide[:] = embeddings
    return wide
