"""Answers to uploads: stored, checked, embedded, searched."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.index.index import Hit, Index
from jaxret.inference.model import Model
from jaxret.inference.query_files import SUFFIXES, kind_of
from jaxret.preprocessing.photos import Box
from jaxret.search.bounds import prepare
from jaxret.serving.limits import Limits
from jaxret.serving.uploads import Arrays, arrays_apart, check_picture, parse_box, shape_query_arrays, shown_name, store

_PRUNED_FROM = 5_000  # shapes; the bounds of fewer are not worth building


class Upload(NamedTuple):
    """One file of a request.

    Attributes:
      name: the client's name of it.
      content: its bytes.
    """

    name: str | None
    content: BinaryIO


@dataclass(frozen=True)
class Query:
    """A query as it was received.

    Attributes:
      kind: one of `Searcher.query_kinds`, or 'text' for words alone.
      path: of its file, under a name of our own; None for words alone.
      mask: of a photo: a file, 'auto' or None.
      box: of a photo: left, top, right, bottom.
      names: path -> the client's name.
      text: words, alone or with a photo; '' for none.
    """

    kind: str
    path: Path | None
    mask: Path | str | None
    box: Box | None
    names: Mapping[str, str]
    text: str = ''


class Searcher:
    """An index and the model that embeds queries to it.

    Args:
      index: what is searched.
      model: of the index's checkpoint.
      limits: of uploads.
    """

    def __init__(self, index: Index, model: Model, *, limits: Limits):
        self._index, self._model, self._limits = index, model, limits
        self.query_kinds = tuple(model.query_kinds)
        self.takes_text = model.takes_text

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Kinds of files that are taken."""
        return tuple(dict.fromkeys(suffix for kind in self.query_kinds for suffix in SUFFIXES[kind]))

    def warm_up(self) -> None:
        """Prepares pruned search of large galleries and compiles the programs of a photo, before the first client."""
        if len(self._index) >= _PRUNED_FROM:
            prepare(self._index.gallery)
        if 'photo' in self.query_kinds:
            grey = np.full((64, 64, 3), 128, np.uint8)
            self._index.search(self._model.embed_photos([grey]), top_k=1)

    def receive(
        self,
        folder: Path,
        file: Upload | None,
        mask: Upload | None = None,
        *,
        text: str = '',
        kind: str | None = None,
        box: str | None = None,
        find_object: bool = False,
    ) -> Query:
        """Stores the uploads of a query and sees what it is.

        Args:
          folder: an empty one, which stays until the query is answered.
          file: the query; None for words alone.
          mask: of a photo.
          text: words, alone or with a photo.
          kind: one of `query_kinds`; None to see it by the suffix of the file's name.
          box: of a photo: 'left,top,right,bottom' in pixels.
          find_object: of a photo without a mask: cut the object out (of the box) by its colours.

        Raises:
          DataError: nothing to search for, no kind that this index takes, no box, or words with another file than a
            photo.
        """
        if text and not self.takes_text:
            action = 'ask an index of CLIP, OpenCLIP or SigLIP so'
            raise DataError(Problem('text', 'the model of this index has no words', action))
        if file is None:
            if not text or mask is not None or box is not None:
                raise DataError(Problem('file', 'no query', 'send a file, or words in `text`'))
            return Query('text', None, None, None, {}, text)
        uploads = {'file': file} | ({} if mask is None else {'mask': mask})
        paths = {part: store(upload.content, upload.name or '', folder / part) for part, upload in uploads.items()}
        names = {str(path): shown_name(uploads[part].name or '') for part, path in paths.items()}
        kind = self._kind(paths['file'], names[str(paths['file'])], kind)
        if text and kind != 'photo':
            raise DataError(Problem('text', f'words with a query of kind {kind!r}', 'send them alone or with a photo'))
        masked = 'auto' if find_object and mask is None else paths.get('mask')
        return Query(kind, paths['file'], masked, None if box is None else parse_box(box), names, text)

    def read_apart(self, query: Query) -> Arrays:
        """Reads a query that is no photo, in a process of its own. For several threads at once.

        Raises:
          DataError: the file cannot be used; it is named as the client did.
        """
        with _client_names(query):
            inputs, most = self._model.query_inputs(query.kind), self._limits.mesh_faces
            up_axis = self._index.query_up_axis
            make = partial(shape_query_arrays, kind=query.kind, inputs=inputs, up_axis=up_axis, max_faces=most)
            return arrays_apart(make, query.path, limits=self._limits)

    def answer(
        self, query: Query, arrays: Arrays | None, *, top: int, categories: Sequence[str] | None = None
    ) -> list[Hit]:
        """The best shapes. For one thread at a time.

        Args:
          query: what was received.
          arrays: what `read_apart` made of it; None of a photo, and of words.
          top: number of shapes.
          categories: only shapes of these; None for all.

        Raises:
          DataError: the photo, its mask or the words cannot be used; files are named as the client did.
        """
        words = self._model.embed_texts([query.text]) if query.text else None
        with _client_names(query):
            if query.path is None:
                embeddings = words
            elif arrays is None:
                for picture in (query.path, query.mask):
                    if isinstance(picture, Path):
                        check_picture(picture, limits=self._limits)
                embeddings = self._model.embed_photos([query.path], masks=[query.mask], boxes=[query.box])
            else:
                embeddings = self._model.embed_query_arrays([arrays], query.kind)
        if words is not None and query.path is not None:
            embeddings = self._index.joined(embeddings, words)
        return self._index.search(embeddings, top_k=top, categories=categories)[0]

    def _kind(self, path: Path, name: str, given: str | None) -> str:
        kind = given or kind_of(path) or 'photo'
        if kind not in self.query_kinds:
            found = f'kind {given[:40]!r}' if given else f'taken for {kind}'
            raise DataError(Problem(name, found, f'this index is asked with {" or ".join(self.query_kinds)}'))
        return kind


@contextlib.contextmanager
def _client_names(query: Query) -> Iterator[None]:
    """Problems of the query's files, under the client's names for them and with advice that fits."""
    try:
        yield
    except DataError as error:
        raise DataError(
            [
                dataclasses.replace(problem, where=query.names[problem.where], action='mend it, or send another file')
                if problem.where in query.names
                else problem
                for problem in error.problems
            ]
        ) from error
