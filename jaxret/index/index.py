"""An index of 3D models, opened for search. Letters: Q queries, G shapes, V views, D embedding, K results.

    index = jaxret.Index.open('models.index')
    hits = index.search(model.embed_photos(['chair.jpg']), top_k=5)[0]

What is open stays as it was, also while another process writes the index anew; opening again shows the new one.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxret.errors import CheckpointError, ConfigError, DataError, Problem
from jaxret.index.files import Manifest, held_table
from jaxret.index.shards import SHARDS, ShapeRow, read_embeddings, read_projection, read_thumbnail
from jaxret.inference.model import Model
from jaxret.inference.pretrained_model import PRETRAINED, load_model
from jaxret.preprocessing.inputs import ShapeInputs
from jaxret.search.blocks import aligned_empty
from jaxret.search.exact import Found, search
from jaxret.search.gallery import SearchGallery
from jaxret.search.joined import joined_queries
from jaxret.search.turned import search_turned

TEXT_WEIGHT = 0.5  # of a text beside a photo


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
      rank: from 1.
      id: of the shape.
      category: of the shape; '' where it has none.
      score: higher is closer: a similarity, or a negative distance (scan-CAD).
      view: where views are compared one by one, number of the one that fits best (CMIC: that the attention chose), from
        0; else None.
      azimuth: of that view's camera in degrees; 0 looks at the front (+z), 90 at the right side (+x); else None.
      elevation: of that camera in degrees above the horizon; else None.
    """

    rank: int
    id: str
    category: str
    score: float
    view: int | None
    azimuth: float | None
    elevation: float | None = None


class Index:
    """The shapes of one state of an index; `open` makes it. Safe to search from several threads.

    Attributes:
      folder: of the index.
      manifest: what the index is.
      ids: of the shapes.
      categories: one a shape; '' where it has none.
      gallery: what is searched; its `embeddings` are [G, D] or [G, V, D].
      projection: float32 [D, D], the map W of CMIC's attention; else None.
    """

    def __init__(self, folder: Path, manifest: Manifest, rows: Sequence[ShapeRow], held: contextlib.ExitStack):
        self.folder, self.manifest = folder, manifest
        self.ids = tuple(row.id for row in rows)
        self.categories = tuple(row.category for row in rows)
        self._rows, self._held = tuple(rows), held
        self._names = list(zip(self.ids, self.categories, strict=True))
        self._row_of = {name: number for number, name in enumerate(self.ids)}
        self._inputs = manifest.shape_inputs
        self.projection = None
        if manifest.projection:
            self.projection = read_projection(folder / SHARDS / manifest.projection)
        self.gallery = SearchGallery(_embeddings(folder, rows), manifest.similarity)

    @classmethod
    def open(cls, path: str | Path) -> 'Index':
        """Reads an index; its embeddings go to memory, its thumbnails stay on disk.

        Args:
          path: folder that `jaxret index` wrote.

        Raises:
          DataError: no index there, or damaged.
        """
        folder = Path(path).absolute()
        with contextlib.ExitStack() as stack:
            manifest, rows = stack.enter_context(held_table(folder))
            return cls(folder, manifest, rows, stack.pop_all())

    def close(self) -> None:
        """Lets the writer remove what only this index still needs."""
        self._held.close()

    def __enter__(self) -> 'Index':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def system(self) -> str:
        """The name of the system that embedded the shapes."""
        return self.manifest.system

    @property
    def fingerprint(self) -> str:
        """Of the weights that embedded the shapes; queries must come from a model with the same."""
        return self.manifest.fingerprint

    @property
    def query_up_axis(self) -> str | None:
        """That of the manifest."""
        return self.manifest.query_up_axis

    def search(
        self, queries: np.ndarray, *, top_k: int = 10, categories: Sequence[str] | None = None
    ) -> list[list[Hit]]:
        """The shapes that score best; scores are exact, equal ones are in the order of `ids`.

        Args:
          queries: float32 [Q, D] of a model with this index's fingerprint; or [Q, V, D], the views of meshes, clouds or
            scans by the built-in model, which are compared in their best heading.
          top_k: K; fewer where there are fewer shapes.
          categories: only shapes of these; None for all.

        Returns:
          of each query its hits, best first.

        Raises:
          ConfigError: `top_k` below 1, or a category that no shape has.
          DataError: queries of another length, or with values that are not finite.
        """
        if top_k < 1:
            raise ConfigError(f'top_k = {top_k}: top_k must be at least 1')
        candidates = None
        if categories is not None:
            self.check_categories(categories)
            candidates = np.isin(np.array(self.categories), list(categories))
        queries = np.asarray(queries, np.float32)
        found = self._found(queries, top_k, candidates)
        return [hits_of(found, query, self._names, self._inputs) for query in range(len(queries))]

    def joined(self, photos: np.ndarray, texts: np.ndarray, *, weight: float = TEXT_WEIGHT) -> np.ndarray:
        """Queries [Q, D] of photos and texts that together say what is wanted, one text a photo.

        Their scores are fused in proportion to how far each spreads over the index (`jaxret.search.joined`).

        Args:
          photos: [Q, D] of `Model.embed_photos`.
          texts: [Q, D] of `Model.embed_texts`.
          weight: of the texts, from 0 (the photos alone) to 1.

        Raises:
          ConfigError: another weight.
          DataError: queries of another shape, such as those of meshes.
        """
        if not 0 <= weight <= 1:
            raise ConfigError(f'weight {weight} of a text: give 0 to 1')
        for name, queries in (('photos', photos), ('texts', texts)):
            if queries.shape != (len(texts), self.gallery.width):
                action = f'give [{len(texts)}, {self.gallery.width}], one text a photo'
                raise DataError(Problem(name, f'shape {list(queries.shape)}', action))
        return joined_queries(self.gallery, photos, texts, weight=weight)

    def _found(self, queries: np.ndarray, top_k: int, candidates: np.ndarray | None) -> Found:
        if queries.ndim == 3 and self.manifest.similarity == 'best_views':
            rings = [count for _, count, _ in self._inputs.ring.rings]
            return search_turned(self.gallery, queries, top_k, rings=rings, candidates=candidates)
        if queries.ndim != 2 or queries.shape[1] != self.gallery.width:
            raise DataError(
                Problem(
                    'queries',
                    f'shape {list(queries.shape)}',
                    f'give [Q, {self.gallery.width}], embedded by the model of this index',
                )
            )
        projected = None if self.projection is None else queries @ self.projection
        return search(self.gallery, queries, top_k, projected=projected, candidates=candidates)

    def check_categories(self, categories: Sequence[str]) -> None:
        """Raises ConfigError for a category that no shape has, or a name that is not in a list."""
        if isinstance(categories, str):
            raise ConfigError(f'categories = {categories!r}: give a list of names, such as [{categories!r}]')
        unknown = sorted(set(categories) - set(self.categories))
        if unknown:
            raise ConfigError(
                f'category {unknown[0]!r}: no shape has it; choose from '
                f'{", ".join(sorted(set(self.categories) - {""})) or "none"}'
            )

    def thumbnail(self, id: str) -> bytes:
        """A picture of a shape: a PNG file. Raises KeyError for an unknown id, DataError where it is damaged."""
        row = self._rows[self._row_of[id]]
        return read_thumbnail(self.folder / SHARDS / row.shard, row.row)

    def model_path(self, id: str) -> Path:
        """The model's file, where it was when it was indexed. Raises KeyError for an unknown id."""
        row = self._rows[self._row_of[id]]
        return Path(self.manifest.sources[row.source].folder) / row.id

    def model_mark(self, id: str) -> list[int]:
        """What its files were when it was indexed (`file_mark`). Raises KeyError for an unknown id."""
        return self._rows[self._row_of[id]].mark

    def up_axis(self, id: str) -> str:
        """The axis that points up in a shape's file, 'y' or 'z'. Raises KeyError for an unknown id."""
        return self.manifest.sources[self._rows[self._row_of[id]].source].up_axis


def hits_of(found: Found, query: int, names: Sequence[tuple[str, str]], inputs: ShapeInputs) -> list[Hit]:
    """What was found for one query, best first.

    Args:
      found: of a gallery.
      query: which of its queries.
      names: id and category of the gallery's shapes.
      inputs: what was made of their files.
    """
    hits = []
    for place, (index, score) in enumerate(zip(found.indices[query], found.scores[query], strict=True)):
        view = None if found.views is None else int(found.views[query, place])
        pose = (None, None) if view is None else (inputs.azimuth(view), inputs.elevation(view))
        hits.append(Hit(place + 1, *names[index], float(score), view, *pose))
    return hits


def _embeddings(folder: Path, rows: Sequence[ShapeRow]) -> np.ndarray:
    """Embeddings of all rows, in their order."""
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.shard, []).append(place)
    embeddings = None
    for shard, wanted in places.items():
        stored = read_embeddings(folder / SHARDS / shard)
        numbers = [rows[place].row for place in wanted]
        if not 0 <= min(numbers) <= max(numbers) < len(stored):
            raise DataError(
                Problem(
                    str(folder / SHARDS / shard),
                    'holds fewer shapes than the table names',
                    'run `jaxret index --rebuild`',
                )
            )
        if embeddings is None:
            embeddings = aligned_empty((len(rows), *stored.shape[1:]), stored.dtype)
        embeddings[wanted] = stored[numbers]
    if embeddings is None:
        raise DataError(Problem(str(folder), 'the index holds no shapes', 'index a folder with models'))
    return embeddings


def load_for_index(manifest: Manifest, workdir: str | Path | None = None) -> Model:
    """The model that embedded the shapes of an index, to embed queries.

    Args:
      manifest: of the index.
      workdir: of its run, or the folder of the built-in model's weights, where that was moved; None for where it was.

    Raises:
      CheckpointError: no run there, or its best checkpoint has other weights.
    """
    try:
        model = load_model(manifest.system, workdir or manifest.workdir, default=manifest.shape_inputs.representation)
    except CheckpointError as error:
        if workdir:
            raise
        raise CheckpointError(
            f'{error}\nthe index was made with {manifest.workdir}; if that was moved, name it with --checkpoint'
        ) from error
    if model.fingerprint != manifest.fingerprint and manifest.system == PRETRAINED:
        raise CheckpointError(
            f'{model.workdir}: has other weights or settings ({model.fingerprint[:12]}) than the built-in model of the '
            f'index ({manifest.fingerprint[:12]}, {manifest.workdir}); embed the models anew with '
            f'`jaxret index --rebuild`'
        )
    if model.fingerprint != manifest.fingerprint:
        raise CheckpointError(
            f'{model.workdir}: its best checkpoint, of step {model.step}, has other weights ({model.fingerprint[:12]}) '
            f'than the index ({manifest.fingerprint[:12]}, step {manifest.step} of {manifest.workdir}); name that run '
            f'with --checkpoint, or embed the models anew with `jaxret index --rebuild`'
        )
    return model
