"""An index of 3D models, opened for search. Letters: Q queries, G shapes, V views, D embedding, K results.

    index = jaxret.Index.open('models.index')
    hits = index.search(model.embed_photos(['chair.jpg']), top_k=5)[0]

What is open stays as it was, also while another process writes the index anew; opening again shows the new one. Only
what is taught, here or elsewhere, counts at once.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from jaxret.errors import ConfigError, refused
from jaxret.index.comparing import TEXT_WEIGHT, Comparison, Question, check_also
from jaxret.index.files import Manifest, held_content, table_rows
from jaxret.index.fit_file import StoredFit, fit_key, write_fit
from jaxret.index.fitting import FOLDS, Fit, fit_references
from jaxret.index.hits import Hit, hits_of
from jaxret.index.references import Reference, References, new_session
from jaxret.index.shapes import Shapes
from jaxret.index.teaching import LiveEvidence, check_embeds, prepare_photos
from jaxret.inference.model import Model
from jaxret.preprocessing.photos import Box, Mask
from jaxret.preprocessing.photos import Photo as Picture
from jaxret.search.exact import Found
from jaxret.search.gallery import SearchGallery
from jaxret.search.references import Fusion
from jaxret.search.threads import begin
from jaxret.workers import progress_bar


class Index(Shapes):
    """The shapes of one state of an index; `open` makes it. Safe to search from several threads.

    Attributes, beside those of `Shapes`:
      references: photos known to show some of the shapes.
    """

    def __init__(self, folder: Path, manifest: Manifest, content: bytes, held: contextlib.ExitStack):
        self._held, self._inputs = held, manifest.shape_inputs
        self.references, self._session = References(folder), new_session()
        table = begin(partial(table_rows, content, manifest))
        super().__init__(folder, manifest, table, begin(lambda: Comparison(folder, manifest, table.result())))

    @classmethod
    def open(cls, path: str | Path) -> 'Index':
        """Opens an index. Its table and embeddings are read and checked beside what the caller does next, such as
        loading a model; what needs them waits. Thumbnails stay on disk.

        Args:
          path: folder that `jaxret index` wrote.

        Raises:
          DataError: no index there, or its list is damaged. Where a shard is missing or damaged, or there are no
            shapes, all that compares raises it; `gallery` does at once.
        """
        folder = Path(path).absolute()
        with contextlib.ExitStack() as stack:
            manifest, content = stack.enter_context(held_content(folder))
            return cls(folder, manifest, content, stack.pop_all())

    @property
    def gallery(self) -> SearchGallery:
        """What is searched; its `embeddings` are [G, D] or [G, V, D]. Raises DataError: a shard is damaged."""
        return self._comparison.gallery

    @property
    def _comparison(self) -> Comparison:
        return self._shards.result()

    @cached_property
    def _names(self) -> list[tuple[str, str]]:
        return list(zip(self.ids, self.categories, strict=True))

    @cached_property
    def _evidence(self) -> LiveEvidence:
        return LiveEvidence(self.references, self.manifest, self._row_of, self._comparison)

    def close(self) -> None:
        """Lets the writer remove what only this index still needs, once that is read."""
        self._shards.exception()
        self.references.close()
        self._held.close()

    def __enter__(self) -> 'Index':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def system(self) -> str:
        """The name of the system that embedded the shapes."""
        return self.manifest.system

    @property
    def fingerprint(self) -> str:
        """Of the weights that embedded the shapes; queries must come from a model with the same."""
        return self.manifest.fingerprint

    @property
    def query_up_axis(self) -> str:
        """That of the manifest."""
        return self.manifest.query_up_axis

    @property
    def projection(self) -> np.ndarray | None:
        """float32 [D, D], the map W of CMIC's attention; else None."""
        return self._comparison.projection

    @property
    def stored(self) -> np.dtype:
        """The type in which embeddings are stored; that of the gallery may be wider."""
        return self._comparison.stored

    @property
    def purposes(self) -> tuple[str, ...]:
        """What can be searched for, the default first; () where the model leaves no choice."""
        return () if self._comparison.parts is None else self._comparison.parts.purposes

    def search(
        self,
        queries: np.ndarray,
        *,
        top_k: int = 10,
        categories: Sequence[str] | None = None,
        where: str | None = None,
        purpose: str | None = None,
        references: bool = True,
        texts: np.ndarray | None = None,
        text_weight: float = TEXT_WEIGHT,
        also: Sequence[Sequence[str]] | None = None,
    ) -> list[list[Hit]]:
        """The shapes that score best; scores are exact, equal ones are in the order of `ids`.

        Args:
          queries: float32 [Q, D] of a model with this index's fingerprint; of the built-in model [Q, D + C] of photos,
            [Q, D] of texts. [Q, W, D] of meshes, clouds and scans, views or headings, which are compared with the
            models in their best heading, and not with known photos.
          top_k: K; fewer where there are fewer shapes.
          categories: only shapes of these; None for all.
          where: only shapes whose facts meet this, such as 'size<200mm and watertight' (`where.parse_where`); none of
            unknown unit meets a condition in mm.
          purpose: what is searched for, one of `purposes`; None for the default.
          references: let known photos count (`jaxret.search.fusion`); for queries that are no photos give False.
          texts: [Q, D] of `Model.embed_texts`, which together with the photos say what is wanted; None for none.
          text_weight: of the texts, from 0 (the photos alone) to 1 (the texts alone). Scores are fused in proportion to
            how far each spreads over the index (`jaxret.search.joined`).
          also: of each mesh, cloud or scan ids of shapes that are among its hits however they score, if they meet the
            conditions, such as `alike` ones.

        Returns:
          of each query its hits, best first.

        Raises:
          ConfigError: `top_k` below 1, a weight out of range, a category, purpose or id that the index does not have, a
            condition that is not understood or that its shapes have no facts for, a purpose of which words say nothing,
            or `also` for other queries.
          DataError: queries or texts of another length, or with values that are not finite; texts with views, or for a
            model without words; or damaged references.
        """
        queries = np.asarray(queries, np.float32)
        if also is not None:
            check_also(also, queries, self._row_of)
        shapes = queries.ndim == 3
        words = not shapes and queries.shape[-1:] == (self.gallery.width,) != (self._comparison.width,)
        known = references and not shapes and not words
        question, fit = self._question(top_k, (categories, where), purpose, texts, text_weight, references=known)
        if shapes:
            found = self._comparison.found_turned(queries, question)
        else:
            found = self._comparison.found(self._comparison.checked(queries, words=words)[:, None], question)
        outlined = self._comparison.outlined(queries) if fit else [False] * len(queries)
        hits = [self._hits(found, number, question, top_k, fit, seen) for number, seen in enumerate(outlined)]
        further = also or [()] * len(hits)
        return [self._with(*each, question) for each in zip(hits, queries, further, strict=True)]

    def search_together(
        self,
        queries: np.ndarray,
        *,
        top_k: int = 10,
        categories: Sequence[str] | None = None,
        where: str | None = None,
        purpose: str | None = None,
        references: bool = True,
        texts: np.ndarray | None = None,
        text_weight: float = TEXT_WEIGHT,
    ) -> list[Hit]:
        """The shapes that fit several photos of one object best: scores are means over the photos, and exact.

        Arguments and errors as for `search`, with at least one photo and at most one text; a view is that which fits
        the first.
        """
        queries = self._comparison.checked(np.asarray(queries, np.float32))
        if not len(queries):
            raise refused('queries', 'no photo', 'give at least one')
        question, fit = self._question(top_k, (categories, where), purpose, texts, text_weight, references=references)
        found = self._comparison.found(queries[None], question)
        return self._hits(found, 0, question, top_k, fit, self._comparison.outlined(queries).any())

    def _with(self, hits: list[Hit], query: np.ndarray, ids: Sequence[str], question: Question) -> list[Hit]:
        """Hits of a query [W, D], and those shapes of `ids` that the question allows and that are not among them."""
        missing = {*ids} - {hit.id for hit in hits}
        if not missing:
            return hits
        further = np.zeros(len(self), bool)
        further[[self._row_of[id] for id in missing]] = True
        if question.candidates is not None:
            further &= question.candidates
        asked = replace(question, candidates=further, top_k=max(1, int(further.sum())))
        more = self._hits(self._comparison.found_turned(query[None], asked), 0, asked, asked.top_k, None, False)
        return [
            replace(hit, rank=rank) for rank, hit in enumerate(sorted(hits + more, key=lambda hit: -hit.score), start=1)
        ]

    def _question(
        self,
        top_k: int,
        among: tuple[Sequence[str] | None, str | None],
        purpose: str | None,
        texts: np.ndarray | None,
        text_weight: float,
        *,
        references: bool,
    ) -> tuple[Question, StoredFit | None]:
        """What is asked, and what tells how sure the answer is: known of photos alone, among all shapes, by default."""
        evidence, fit = self._evidence.now() if references else (None, None)
        if top_k < 1:
            raise ConfigError(f'top_k = {top_k}: top_k must be at least 1')
        if among != (None, None) or texts is not None or purpose not in (None, *self.purposes[:1]):
            fit = None
        most = top_k if fit is None else max(top_k, 2)  # of which the second tells how far the first is ahead
        return Question(most, self.candidates(*among), purpose, evidence, texts, text_weight), fit

    def _hits(
        self, found: Found, query: int, question: Question, most: int, fit: StoredFit | None, outlined: bool
    ) -> list[Hit]:
        """The hits of a query, with a silhouette or without, at most so many; `fit` tells how sure the first is."""
        counts = None if question.evidence is None else question.evidence.counts
        hits = [
            replace(hit, copy_of=self.copy_of(hit.id))
            for hit in hits_of(found, query, self._names, self._inputs, counts)
        ]
        if fit is not None and fit.outlined == outlined:
            chance, present = (certainty and certainty(found.scores[query]) for certainty in (fit.right, fit.present))
            hits[0] = replace(hits[0], chance=chance, present=present)
        return hits[:most]

    def fit(self, *, progress: bool = False) -> Fit:
        """Learns of the references and keeps what was learnt; searches know at once. See `jaxret.index.fitting`.

        Raises:
          ConfigError: an index of a trained run.
          DataError: too few references.
          StorageError: the index's folder cannot be written.
        """
        known, fusion = self._evidence.references(), Fusion(**self.manifest.fusion)
        with progress_bar('Learning' if progress else None, 2 * FOLDS) as advance:
            fit = fit_references(self._comparison, *known, fusion, advance=advance)
        write_fit(self.folder, fit, key=fit_key(self.manifest))
        return fit

    def teach(self, model: Model, photo: Picture, id: str, *, mask: Mask = None, box: Box | None = None) -> None:
        """Adds a photo that is known to show a shape to the references, at once and for all who have the index open.

        The same photo (with the same mask and box) taught again counts once; for another shape it replaces the older.

        Args:
          model: with this index's fingerprint.
          photo, mask, box: as for `Model.embed_photos`.
          id: of the shape.

        Raises:
          KeyError: an unknown id.
          CheckpointError: another model.
          DataError: the photo cannot be used, or this system takes no photos.
          StorageError: the index's folder cannot be written.
        """
        if id not in self._row_of:
            raise KeyError(id)
        check_embeds(model, self.fingerprint)
        name = str(photo) if isinstance(photo, str | Path) else 'array'
        (taught,) = prepare_photos(model, [(photo, mask, box)], [name])
        self.references.add([(id, taught)], key=self.fingerprint, origin='python', session=self._session)

    def undo(self) -> list[Reference]:
        """Takes back what `teach` added last and still counts; returns it, [] for nothing."""
        return self.references.undo(self._session)
