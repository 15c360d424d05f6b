"""A trained system as a tool: from files and arrays to embeddings, of queries and of the shapes that are searched.

Letters: Q queries, G shapes, V views, D embedding, B a batch.

    model = jaxret.load('runs/pix3d-small-sample')
    queries = model.embed_photos(['chair.jpg'])

The work is cut in two: `model.shape_inputs` with `shape_record` makes arrays from one model file (pure, without JAX, in
any process), `model.embed_shape_arrays` makes embeddings from arrays (in batches, on the accelerator).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxret.errors import DataError, Problem, refused
from jaxret.inference.batches import padded_batches
from jaxret.inference.query_files import query_arrays
from jaxret.preprocessing.inputs import PhotoInputs, ShapeInputs
from jaxret.preprocessing.photos import Box, Mask, Photo
from jaxret.preprocessing.shapes import shape_arrays
from jaxret.search.parts import Parts
from jaxret.search.references import Fusion
from jaxret.systems.base import TrainedSystem, Variables
from jaxret.workers import map_parallel


@dataclass(frozen=True, eq=False)
class Model:
    """A system with trained weights; `loading` and `pretrained_model` make it.

    Attributes:
      system: its name, such as 'cmic'; 'pretrained' for the built-in model.
      workdir: of the run; the name or folder of the built-in model's weights.
      step: of its checkpoint.
      fingerprint: SHA-256 of the weights that embed (and of the settings of the built-in model). Indexes are of one
        fingerprint.
      similarity: how embeddings are compared, one of `jaxret.search.similarity.KINDS`.
      shape_inputs: what is made of a model file.
      projection: float32 [D, D], the map W of CMIC's attention; else None.
      notes: what a user should know about this run.
      fusion: how references and views of an index are pooled.
      parts: of embeddings; None where they have none.
    """

    system: str
    workdir: Path
    step: int
    fingerprint: str
    similarity: str
    shape_inputs: ShapeInputs
    projection: np.ndarray | None
    notes: tuple[str, ...]
    fusion: Fusion
    parts: Parts | None
    _parts: TrainedSystem = field(repr=False)
    _variables: Variables = field(repr=False)
    _batch_size: int = field(repr=False)
    _compiled: Callable[..., jax.Array] = field(repr=False)

    @property
    def query_kinds(self) -> tuple[str, ...]:
        """What can be embedded as a query: some of 'photo', 'mesh', 'points', 'scan'."""
        return tuple(self._parts.queries)

    def embed_photos(
        self, photos: Sequence[Photo], *, masks: Mask | Sequence[Mask] = None, boxes: Sequence[Box | None] | None = None
    ) -> np.ndarray:
        """Embeddings of photos.

        Args:
          photos: files, or uint8 [H, W, 3].
          masks: of each photo a file, an array [H, W] (not 0 on the object), 'auto' or None; 'auto' or None alone is
            for all.
          boxes: of each photo (left, top, right, bottom) in pixels around the object, or None.

        Returns:
          float32 [Q, D]; of the built-in model followed by the cells of the object's silhouette.

        Raises:
          DataError: photos, masks or boxes that cannot be used, all of them; or this system takes no photos.
        """
        self.query_inputs('photo')
        _check_several(photos)
        if isinstance(masks, Path):
            raise ValueError(f'masks = {str(masks)!r}: give a list with one for each photo')
        masks = [masks] * len(photos) if masks is None or isinstance(masks, str) else list(masks)
        boxes = [None] * len(photos) if boxes is None else list(boxes)
        if not len(photos) == len(masks) == len(boxes):
            raise ValueError(f'{len(photos)} photos, {len(masks)} masks, {len(boxes)} boxes')
        own = [{'mask': mask, 'box': box} for mask, box in zip(masks, boxes, strict=True)]
        return self._embed_files('photo', photos, own)

    def embed_meshes(self, paths: Sequence[str | Path], *, up_axis: str | None = None) -> np.ndarray:
        """Embeddings [Q, W, D] of mesh files as queries; `up_axis` as in training where it is None.

        W are views all around where the gallery has one embedding a view, else headings.

        Raises:
          DataError: meshes that cannot be used, all of them; or this system takes no meshes.
        """
        return self._embed_files('mesh', paths, up_axis=up_axis)

    def embed_points(self, clouds: Sequence[str | Path | np.ndarray], *, up_axis: str | None = None) -> np.ndarray:
        """Embeddings [Q, W, D] of point clouds, as of meshes: files (.ply, .xyz, .npy), or arrays [N, 3].

        Raises:
          DataError: clouds that cannot be used, all of them; or this system takes no points.
        """
        return self._embed_files('points', clouds, up_axis=up_axis)

    def embed_scans(self, paths: Sequence[str | Path]) -> np.ndarray:
        """Embeddings of scans, files of distances on a grid (.sdf, .df, .vox): [Q, W, D], as of meshes.

        Of scan-CAD [Q, D], by the part of the network that was trained for scans, of grids of 32 x 32 x 32.

        Raises:
          DataError: scans that cannot be used, all of them; or this system takes no scans.
        """
        return self._embed_files('scan', paths)

    takes_text = property(lambda self: self._parts.texts is not None, doc='Whether texts can be embedded as queries.')

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings [Q, D] of texts, such as 'round table with one leg'.

        Raises:
          ConfigError: the extra `text` is not installed.
          DataError: texts without a word, all of them; a model without words, or without tokenizer.
        """
        if self._parts.texts is None:
            raise refused(str(self.workdir), 'a model without words', 'index with one of CLIP, OpenCLIP or SigLIP')
        return self._parts.texts(texts)

    def embed_shapes(
        self,
        paths: Sequence[str | Path],
        *,
        up_axis: str | None = None,
        processes: int | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """Embeddings of model files as the gallery that is searched.

        Args:
          paths: meshes; for scan-CAD also files of distances.
          up_axis: axis that points up in mesh files; None as in training.
          processes: that read the files; None takes one a core.
          progress: show a progress bar.

        Returns:
          float32 [G, D], or [G, V, D] where views are compared one by one (CMIC); of the built-in model float16.

        Raises:
          DataError: files that cannot be used, all of them.
        """
        _check_several(paths)
        function = partial(shape_arrays, inputs=self.shape_inputs, up_axis=up_axis or self.shape_inputs.up_axis)
        arrays = list(
            map_parallel(
                function,
                [Path(path) for path in paths],
                processes=processes,
                serial_below=48,
                ordered=True,
                progress='Reading models' if progress else None,
            )
        )
        problems = [problem for _, result in arrays if isinstance(result, DataError) for problem in result.problems]
        if problems:
            raise DataError(problems)
        return self.embed_shape_arrays([result for _, result in arrays])

    def embed_shape_arrays(self, arrays: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
        """Embeddings of shapes that `shape_record` or `shape_arrays` made: float32 [G, D] or [G, V, D]."""
        return self._embed(arrays, self._parts.gallery).astype(self._parts.stored, copy=False)

    def embed_query_arrays(self, arrays: Sequence[Mapping[str, np.ndarray]], kind: str) -> np.ndarray:
        """Embeddings [Q, D] or [Q, W, D] of queries of one kind, as `query_arrays` makes them."""
        turned = self.query_inputs(kind).headings is not None
        rows = [row for one in arrays for row in _rows(one)] if turned else arrays
        embeddings = self._embed(rows, self._parts.queries[kind].modality)
        return embeddings.reshape(len(arrays), -1, embeddings.shape[1]) if turned else embeddings

    def query_inputs(self, kind: str) -> PhotoInputs | ShapeInputs:
        """What is made of a query of one kind.

        Raises:
          DataError: this system cannot embed it.
        """
        if kind not in self._parts.queries:
            raise DataError(
                Problem(
                    f'query of kind {kind!r}',
                    f'a {self.system} model cannot embed it',
                    f'give {" or ".join(self.query_kinds)}',
                )
            )
        return self._parts.queries[kind].inputs

    def query_encoder(self, kind: str) -> tuple[Callable[..., jax.Array], dict[str, jax.ShapeDtypeStruct]]:
        """The encoder of one kind of query with its weights inside, as a function of named arrays [B, ...].

        Returns:
          the function, and what it takes of one query: shapes [1, ...] and types by name.
        """
        self.query_inputs(kind)
        query = self._parts.queries[kind]

        def encode(**arrays: jax.Array) -> jax.Array:
            if query.inputs.headings is None:
                return self._parts.embed(self._variables, arrays, query.modality)
            count, turns = next(iter(arrays.values())).shape[:2]
            rows = {name: values.reshape(-1, *values.shape[2:]) for name, values in arrays.items()}
            return self._parts.embed(self._variables, rows, query.modality).reshape(count, turns, -1)

        arrays = query.inputs.arrays.items()
        return encode, {name: jax.ShapeDtypeStruct((1, *shape), dtype) for name, (shape, dtype) in arrays}

    def _embed_files(
        self, kind: str, queries: Sequence, own: Sequence[Mapping[str, Any]] | None = None, **shared: Any
    ) -> np.ndarray:
        """Embeddings of queries of one kind, with options of `query_arrays` that each has of its own or all share."""
        inputs = self.query_inputs(kind)
        _check_several(queries)
        rows, problems = [], []
        for query, options in zip(queries, own or [shared] * len(queries), strict=True):
            try:
                rows.append(query_arrays(query, kind=kind, inputs=inputs, **options))
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)
        return self.embed_query_arrays(rows, kind)

    def _embed(self, arrays: Sequence[Mapping[str, np.ndarray]], modality: str) -> np.ndarray:
        """Embeddings of any number of items, in batches of sizes that are compiled once."""
        results = []
        for start, count, size in padded_batches(len(arrays), self._batch_size):
            rows = arrays[start : start + count]
            rows = [*rows, *[rows[-1]] * (size - count)]
            batch = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
            results.append(np.asarray(self._compiled(self._variables, batch, modality), np.float32)[:count])
        if not results:
            raise ValueError('nothing to embed')
        return np.concatenate(results)


def _rows(headings: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The arrays of each heading of a query."""
    return [dict(zip(headings, values, strict=True)) for values in zip(*headings.values(), strict=True)]


def _check_several(files: Sequence) -> None:
    """Raises ValueError for one file in the place of several: a string would be taken letter by letter."""
    if isinstance(files, str | Path):
        raise ValueError(f'{str(files)!r} is one file: give a list, such as [{str(files)!r}]')
