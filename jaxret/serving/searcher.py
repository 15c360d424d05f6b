"""Answers to uploads: stored, checked, embedded, searched."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import DataError, Problem, refused
from jaxret.geometry.formats import unread_format
from jaxret.index.aligned import FEWEST, aligned_hits
from jaxret.index.index import Hit, Index
from jaxret.index.references import Photo
from jaxret.index.teaching import embed_pictures, photo_checksum
from jaxret.inference.model import Model
from jaxret.inference.query_files import SUFFIXES, kind_of
from jaxret.preprocessing.photos import read_object
from jaxret.preprocessing.reference_pictures import reference_picture, shading
from jaxret.search.bounds import prepare
from jaxret.serving.limits import Limits
from jaxret.serving.queries import KeptPhoto
from jaxret.serving.uploads import (
    PACKED,
    SIGNATURE,
    Arrays,
    Query,
    Upload,
    arrays_apart,
    check_picture,
    check_up_axis,
    is_empty,
    parse_box,
    shape_query_arrays,
    shown_name,
    store,
)

_PRUNED_FROM = 5_000  # shapes; the bounds of fewer are not worth building


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
        found = [suffix for kind in self.query_kinds for suffix in SUFFIXES[kind]]
        return tuple(dict.fromkeys([*found, *(PACKED if 'mesh' in self.query_kinds else ())]))

    def warm_up(self) -> None:
        """Waits until the index was read and checked, prepares pruned search of large galleries, and compiles the
        programs of a photo, before the first client.
        """
        gallery = self._index.gallery
        if len(gallery) >= _PRUNED_FROM:
            prepare(gallery)
        if 'photo' in self.query_kinds:
            grey, everywhere = np.full((64, 64, 3), 128, np.uint8), np.full((64, 64), 255, np.uint8)
            self._index.search(self._model.embed_photos([grey], masks=[everywhere]), top_k=1)

    def receive_all(
        self,
        folder: Path,
        files: Sequence[Upload],
        masks: Sequence[Upload],
        boxes: Sequence[str],
        *,
        text: str = '',
        kind: str | None = None,
        find_object: bool = False,
        up_axis: str = '',
    ) -> list[Query]:
        """Stores the uploads of a request: a query, several photos of one object, words, or words and photos.

        Args:
          folder: an empty one, which stays until the request is answered.
          files: the queries; none for words alone.
          masks, boxes: of each photo in their order, empty where one has none; or () where none has one.
          text, kind, find_object, up_axis: see `receive`.

        Raises:
          DataError: as `receive`; or too many files, another number of masks or boxes, or several that are no photos.
        """
        if len(files) > self._limits.photos:
            raise refused('file', f'{len(files)} files', f'send at most {self._limits.photos} photos of one object')
        for name, given in (('mask', masks), ('box', boxes)):
            if given and len(given) != len(files):
                found = f'{len(given)} for {len(files)} files'
                raise refused(name, found, 'give one for each photo, an empty one where it has none')
        if not files:
            return [self.receive(folder, None, text=text, kind=kind, up_axis=up_axis)]
        queries = []
        for number, file in enumerate(files):
            place = folder / str(number)
            place.mkdir(mode=0o700)
            mask = masks[number] if masks and not (len(files) > 1 and is_empty(masks[number].content)) else None
            box = (boxes[number] or None) if boxes else None
            options = {'text': text, 'kind': kind, 'box': box, 'find_object': find_object, 'up_axis': up_axis}
            queries.append(self.receive(place, file, mask, **options))
        if len(queries) > 1 and any(query.kind != 'photo' for query in queries):
            raise refused('file', 'several files that are not all photos', 'send several photos, or one other file')
        return queries

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
        up_axis: str = '',
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
          up_axis: that points up in a mesh or cloud; '' for that of the index's models.

        Raises:
          DataError: nothing to search for, no kind that this index takes, no box, words with another file than a
            photo, or an up axis of what has none.
        """
        if text and not self.takes_text:
            action = 'ask an index of CLIP, OpenCLIP or SigLIP so'
            raise DataError(Problem('text', 'the model of this index has no words', action))
        if file is None:
            check_up_axis(up_axis, 'text')
            if not text:
                raise DataError(Problem('file', 'no query', 'send a file, or words in `text`'))
            return Query('text', None, None, None, {}, text)
        uploads = {'file': file} | ({} if mask is None else {'mask': mask})
        paths = {part: store(upload.content, upload.name or '', folder / part) for part, upload in uploads.items()}
        names = {str(path): shown_name(uploads[part].name or '') for part, path in paths.items()}
        kind = self._kind(paths['file'], names[str(paths['file'])], kind)
        if text and kind != 'photo':
            raise DataError(Problem('text', f'words with a query of kind {kind!r}', 'send them alone or with a photo'))
        check_up_axis(up_axis, kind)
        masked = 'auto' if find_object and mask is None else paths.get('mask')
        return Query(kind, paths['file'], masked, None if box is None else parse_box(box), names, text, up_axis)

    def read_apart(self, query: Query) -> Arrays:
        """Reads a query that is no photo, in a process of its own. For several threads at once.

        Raises:
          DataError: the file cannot be used; it is named as the client did.
        """
        with _client_names(query):
            inputs, most = self._model.query_inputs(query.kind), self._limits.mesh_faces
            up_axis = query.up_axis or self._index.axis_of_query(query.path)
            make = partial(shape_query_arrays, kind=query.kind, inputs=inputs, up_axis=up_axis, max_faces=most)
            return arrays_apart(make, query.path, limits=self._limits)

    def answer(self, query: Query, arrays: Arrays, *, top_k: int, aligns: bool, **asked: Any) -> list[Hit]:
        """The best shapes for a query that is neither photo nor words. For one thread at a time.

        Args:
          query: what was received.
          arrays: what `read_apart` made of it.
          top_k: number of shapes; with `aligns` as many as `align` is to choose from.
          asked: categories, where and purpose, as for `Index.search`.

        Raises:
          ConfigError: a purpose that the index does not have, or conditions that are not understood.
          DataError: the query cannot be used; it is named as the client did.
        """
        own = {name: array for name, array in arrays.items() if name != SIGNATURE}
        with _client_names(query):
            embeddings = self._model.embed_query_arrays([own], query.kind)
        if aligns:
            top_k, asked = max(top_k, FEWEST), {**asked, 'also': [self._index.alike(arrays[SIGNATURE])]}
        return self._index.search(embeddings, top_k=top_k, **asked, references=False)[0]

    def align(self, query: Query, arrays: Arrays, hits: Sequence[Hit]) -> list[Hit]:
        """Hits of a mesh laid on it, in processes of their own. For several threads at once."""
        also, seconds = self._index.alike(arrays[SIGNATURE]), self._limits.mesh_seconds
        return aligned_hits(self._index, hits, query.path, also=also, processes=2, seconds=seconds).hits

    def answer_photos(self, queries: Sequence[Query], **asked: Any) -> tuple[list[Hit], tuple[KeptPhoto, ...]]:
        """The best shapes for photos of one object, for words, or both; and the photos to be remembered.

        For one thread at a time.

        Args:
          queries: what was received.
          asked: as for `answer`.

        Raises:
          ConfigError: as `answer`.
          DataError: photos or masks cannot be used, all of them; they are named as the client did. Or the words cannot.
        """
        words = self._model.embed_texts([queries[0].text]) if queries[0].text else None
        if queries[0].kind == 'text':
            return self._index.search(words, **asked, references=False)[0], ()
        kept, rows, problems = [], [], []
        for query in queries:
            try:
                with _client_names(query):
                    photo, embedding = self._read_photo(query)
                    kept.append(photo)
                    rows.append(embedding)
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)
        return self._index.search_together(np.concatenate(rows), **asked, texts=words), tuple(kept)

    def prepare(self, photos: Sequence[KeptPhoto]) -> list[Photo]:
        """Photos as they are taught, with embeddings. For one thread at a time."""
        pictures, names = [photo.picture for photo in photos], [photo.name for photo in photos]
        embeddings = embed_pictures(self._model, pictures, names=names)
        return [
            Photo(photo.name, photo.sha256, photo.picture, embedding)
            for photo, embedding in zip(photos, embeddings, strict=True)
        ]

    def _read_photo(self, query: Query) -> tuple[KeptPhoto, np.ndarray]:
        """What is remembered of a photo, and its embedding [1, D]. It is decoded once."""
        for picture in (query.path, query.mask):
            if isinstance(picture, Path):
                check_picture(picture, limits=self._limits)
        inputs = self._model.query_inputs('photo')
        read = read_object(query.path, inputs=inputs, mask=query.mask, box=query.box)
        checksum = photo_checksum(query.path, query.mask, query.box)
        kept = reference_picture(read, whole=inputs.whole_frame)
        masks = [read.silhouette if read.known else None]
        embedding = self._model.embed_photos([read.pixels], masks=masks, boxes=[query.box])
        mask = shading(read.silhouette) if read.known else None
        return KeptPhoto(query.names[str(query.path)], checksum, kept, mask), embedding

    def _kind(self, path: Path, name: str, given: str | None) -> str:
        action = None if given or kind_of(path) else unread_format(name)
        if action is not None:
            raise DataError(Problem(name, 'files of this format are not read', action))
        kind = given or kind_of(path) or ('mesh' if path.suffix in PACKED else 'photo')
        if kind not in self.query_kinds:
            found = f'kind {given[:40]!r}' if given else f'taken for {kind}'
            raise DataError(Problem(name, found, f'this index is asked with {" or ".join(self.query_kinds)}'))
        return self._index.kind_of_query(path, kind) if kind == 'scan' and not given else kind


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
