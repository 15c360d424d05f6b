"""Search with a vector database, which finds candidates that are then scored exactly here.

A query looks up the rows of the database that are nearest to it, takes the shapes they belong to, and scores those as
`Index.search` does, CMIC's attention included.

A shape cannot score more than its best row where the score is a mean of its views' products with any weights
(`attention`, `mean`, `best_views`) or the product itself. So where the K-th best score is above every row that was not
looked at, the answer is that of `Index.search`, and says so (`Answer.complete`); an approximate index (`hnsw`) promises
nothing.

Letters: Q queries, G shapes, V views, D embedding, K results, N candidates.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxret.errors import ConfigError, DataError, Problem, StorageError
from jaxret.index.comparing import check_no_purpose
from jaxret.index.files import Manifest, read_manifest
from jaxret.index.index import Hit, hits_of
from jaxret.index.milvus import COLLECTION, check_names, current_collection, database_errors, opened, read_about
from jaxret.index.shards import SHARDS, read_matrix
from jaxret.search.exact import search
from jaxret.search.gallery import SearchGallery
from jaxret.search.parts import Parts
from jaxret.search.similarity import VIEW_KINDS, key_error, unit64

_MOST_ROWS = 16_384  # that Milvus returns for a query
_NAMES = ('id', 'category', 'copy_of')
_READ_ELEMENTS = 500_000  # numbers asked for at a time


@dataclass(frozen=True)
class Answer:
    """Of one query the hits, best first, and whether they are surely those of `Index.search` of the views alone."""

    hits: list[Hit]
    complete: bool


class DatabaseSearch:
    """Search in a database for one state of an index. Of the index only `index.json` and W are read.

    Args:
      folder: of the index.
      uri, collection: as for `export_to_database`.

    Attributes:
      manifest: of the index.

    Raises:
      ConfigError: a bad uri or name, or the extra is not installed.
      DataError: no index, or the database holds another state of it or nothing.
      StorageError: the database cannot be reached.
    """

    def __init__(self, folder: str | Path, uri: str, *, collection: str = COLLECTION):
        check_names(uri, collection)
        self.manifest: Manifest = read_manifest(Path(folder))
        self._projection, self._centre = (
            None if name is None else read_matrix(Path(folder) / SHARDS / name)
            for name in (self.manifest.projection, self.manifest.centre)
        )
        self._parts = None if self.manifest.parts is None else Parts.from_json(self.manifest.parts)
        again = f'write it with `jaxret export --index {folder} --database {uri}`'
        if '://' not in uri and not Path(uri).exists():
            raise DataError(Problem(uri, 'no such database', again))
        with contextlib.ExitStack() as stack:
            self._client = stack.enter_context(opened(uri))
            name = current_collection(self._client, collection)
            if name is None:
                raise DataError(Problem(uri, f'no collection {collection!r}', again))
            about = read_about(self._client, name)
            if about is None:
                raise DataError(Problem(uri, f'collection {collection!r} is of an earlier version, or no index', again))
            if about.table != self.manifest.table:
                raise DataError(Problem(uri, 'holds another index, or another state of this one', again))
            self._client.load_collection(name)
            self._uri, self._name, self._about = uri, name, about
            self._stack = stack.pop_all()

    @property
    def exact(self) -> bool:
        """Whether the database looks at every row."""
        return self._about.kind == 'flat'

    def close(self) -> None:
        """Leaves the database."""
        self._stack.close()

    def __enter__(self) -> 'DatabaseSearch':
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def search(
        self,
        queries: np.ndarray,
        *,
        top_k: int = 10,
        categories: Sequence[str] | None = None,
        candidates: int = 100,
        purpose: str | None = None,
    ) -> list[Answer]:
        """The shapes that score best among N candidates of every query.

        With N = G that is `Index.search` without references and silhouettes, of which a database knows nothing.

        Args:
          queries: float32 [Q, D] of a model with the index's fingerprint; or [Q, T, D], headings of shapes.
          top_k: K; fewer where there are fewer shapes.
          categories: only shapes of these; None for all.
          candidates: N; at most 16,384 rows of the database.
          purpose: as for `Index.search`.

        Raises:
          ConfigError: `top_k` or `candidates` that cannot be, a category that no shape has, or a purpose that the index
            does not have.
          DataError: queries of another length, or with values that are not finite.
          StorageError: the database cannot be reached any more.
        """
        if top_k < 1 or not top_k <= candidates <= _MOST_ROWS // self._about.views:
            raise ConfigError(
                f'{candidates} candidates for {top_k} results: give at least as many as results, and at '
                f'most {_MOST_ROWS // self._about.views}'
            )
        queries = np.asarray(queries, np.float32)
        if queries.ndim == 3 and self.manifest.similarity in VIEW_KINDS:
            raise DataError(
                Problem('queries', 'views of meshes, clouds or scans', 'a database answers photos; search without it')
            )
        if queries.ndim == 3:  # headings
            rest = {'top_k': top_k, 'categories': categories, 'candidates': candidates, 'purpose': purpose}
            return [_best_of(self.search(headings, **rest), top_k) for headings in queries]
        if self._parts is None:
            check_no_purpose(purpose)
        elif queries.shape[-1] in (self._parts.width, self._parts.width + self._parts.cells):
            queries = self._parts.view_queries(queries, purpose, self._centre)
        if queries.ndim != 2 or queries.shape[1] != self._about.width or not np.isfinite(queries).all():
            raise DataError(
                Problem(
                    'queries',
                    f'shape {list(queries.shape)}, or not finite',
                    f'give [Q, {self._about.width}], embedded by the checkpoint of this index',
                )
            )
        with database_errors(self._uri):
            chosen = self._filter(categories)
            found = [self._candidates(query, candidates, chosen) for query in queries]
            shapes = sorted({shape for near, _ in found for shape in near})
            stored = self._read(shapes)
        # Of all queries at once, as `Index.search` does: a product of other sizes is rounded differently.
        projected = None if self._projection is None else queries @ self._projection
        return [
            self._answer(
                queries[number],
                None if projected is None else projected[number : number + 1],
                near,
                beyond,
                stored,
                top_k,
            )
            for number, (near, beyond) in enumerate(found)
        ]

    def _filter(self, categories: Sequence[str] | None) -> str:
        if categories is None:
            return ''
        for category in categories:
            if not self._client.query(
                self._name, filter=_is_one_of('category', [category]), output_fields=['row'], limit=1
            ):
                raise ConfigError(f'category {category!r}: no shape has it')
        return _is_one_of('category', categories)

    def _candidates(self, query: np.ndarray, count: int, chosen: str) -> tuple[list[int], float | None]:
        """Shapes of the nearest rows, nearest first, and the nearest row of any other shape; None where there is none.

        Rows are inner products (the larger the nearer), or squared distances.
        """
        every = self._about.shapes * self._about.views
        limit = min(every, (count + 1) * self._about.views, _MOST_ROWS)
        wide = {} if self.exact else {'ef': limit}
        rows = self._client.search(
            self._name,
            data=[query],
            anns_field='embedding',
            limit=limit,
            filter=chosen,
            output_fields=['shape'],
            search_params={'params': wide},
        )[0]
        best: dict[int, float] = {}
        for row in rows:
            best.setdefault(row['entity']['shape'], row['distance'])
        near = list(best)
        if len(near) > count:
            return near[:count], best[near[count]]
        return near, rows[-1]['distance'] if len(rows) == limit < every else None

    def _read(self, shapes: Sequence[int]) -> dict[int, tuple[str, str, str, np.ndarray]]:
        """Id, category, which shape it is a copy of, and embeddings [V, D] of shapes."""
        stored, views = {}, self._about.views
        step = max(1, _READ_ELEMENTS // (views * self._about.width))
        for start in range(0, len(shapes), step):
            part = shapes[start : start + step]
            wanted = [shape * views + view for shape in part for view in range(views)]
            rows = self._client.get(self._name, ids=wanted, output_fields=[*_NAMES, 'embedding'])
            by_number = {row['row']: row for row in rows}
            if by_number.keys() != set(wanted):
                raise StorageError(f'{self._uri}: rows are missing; run `jaxret export` again')
            for shape in part:
                mine = [by_number[shape * views + view] for view in range(views)]
                embeddings = np.array([row['embedding'] for row in mine], np.float32)
                stored[shape] = *(mine[0][name] for name in _NAMES), embeddings
        return stored

    def _answer(
        self,
        query: np.ndarray,
        projected: np.ndarray | None,
        near: Sequence[int],
        beyond: float | None,
        stored: dict[int, tuple[str, str, str, np.ndarray]],
        top_k: int,
    ) -> Answer:
        if not near:
            return Answer([], self.exact)
        near = sorted(near)  # equal scores are in the order of the index
        embeddings = np.stack([stored[shape][-1] for shape in near])
        gallery = SearchGallery(
            embeddings if self.manifest.similarity in VIEW_KINDS else embeddings[:, 0], self.manifest.similarity
        )
        found = search(gallery, query[None], top_k, projected=projected)
        copies = {stored[shape][0]: stored[shape][2] for shape in near}
        hits = hits_of(found, 0, [stored[shape][:2] for shape in near], self.manifest.shape_inputs)
        hits = [replace(hit, copy_of=copies[hit.id]) for hit in hits]
        return Answer(
            hits,
            self.exact
            and (beyond is None or (len(hits) == top_k and self._above(query, float(found.scores[0, -1]), beyond))),
        )

    def _above(self, query: np.ndarray, score: float, beyond: float) -> bool:
        """Whether every shape whose rows are not nearer than `beyond` scores less, rounding included."""
        kind = self.manifest.similarity
        if kind == 'max':  # element-wise, which may exceed the product with every view
            return False
        if kind == 'cosine':
            error = key_error('dot', unit64(query[None]), None, 1.0, 1)[0]
        else:
            error = key_error(kind if kind == 'euclidean' else 'dot', query[None], None, self._about.longest, 1)[0]
        return bool(score**2 < beyond - 4 * error if kind == 'euclidean' else score > beyond + 2 * error)


def _best_of(answers: Sequence[Answer], top_k: int) -> Answer:
    """The best of some answers, each shape once."""
    best: dict[str, Hit] = {}
    for hit in sorted((hit for answer in answers for hit in answer.hits), key=lambda hit: (-hit.score, hit.id)):
        best.setdefault(hit.id, hit)
    ranked = [replace(hit, rank=rank) for rank, hit in enumerate(list(best.values())[:top_k], start=1)]
    return Answer(ranked, all(answer.complete for answer in answers))


def _is_one_of(field: str, values: Sequence[str]) -> str:
    return f'{field} in {json.dumps(list(values), ensure_ascii=False)}'
