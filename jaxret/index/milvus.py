"""The embeddings of an index written to a vector database: Milvus, in a file or on a server, by the same code.

In a file it is milvus-lite, which runs in this process. A database has one row a view (one a shape where a shape is one
vector), and says which state of the index it holds. `milvus_search` searches in it.

Letters: G shapes, V views, D embedding.
"""

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import ConfigError, DataError, Problem, StorageError
from jaxret.index.index import Index
from jaxret.optional_packages import need
from jaxret.workers import progress_bar

KINDS = ('flat', 'hnsw')
COLLECTION = 'jaxret'
_FIELDS = {'row', 'shape', 'id', 'category', 'copy_of', 'embedding'}
_METRICS = {
    'attention': 'IP',
    'mean': 'IP',
    'max': 'IP',
    'best_views': 'IP',
    'dot': 'IP',
    'cosine': 'COSINE',
    'euclidean': 'L2',
}
_INDEX_OPTIONS = {'flat': {}, 'hnsw': {'M': 16, 'efConstruction': 200}}
_WRITTEN_ELEMENTS = 1_000_000  # numbers sent at a time; Milvus takes 64 MB
_LONGEST_TEXT = 65_535  # bytes of Milvus's longest VARCHAR


@dataclass(frozen=True)
class About:
    """What a collection holds.

    Attributes:
      table: of the index, which has another name after every change.
      kind: 'flat' or 'hnsw'.
      shapes, views, width: G, V and D; row v + V g is view v of shape g.
      longest: norm of the longest row.
    """

    table: str
    kind: str
    shapes: int
    views: int
    width: int
    longest: float


def export_to_database(
    index: Index, uri: str, *, collection: str = COLLECTION, kind: str = 'flat', progress: bool = True
) -> int:
    """Writes the embeddings of an index to a database, in place of what it held under this name.

    Searches go on with the old rows until all new ones are there.

    Args:
      index: whose.
      uri: a file ending in .db, or the address of a Milvus server, 'http://host:19530'.
      collection: name in the database; letters, digits and _.
      kind: 'flat' looks at every row, so that answers can be exact; 'hnsw' is approximate and faster for millions.
      progress: show a progress bar.

    Returns:
      rows written.

    Raises:
      ConfigError: a bad uri, name or kind, or the extra is not installed.
      StorageError: the database cannot be reached or written.
      DataError: an id or category that is too long for it.
    """
    check_names(uri, collection, kind)
    _check_texts(index)
    embeddings = index.gallery.embeddings
    views = embeddings.shape[1] if embeddings.ndim == 3 else 1
    shape = len(embeddings), views, embeddings.shape[-1]
    longest = max((float(np.linalg.norm(part.astype(np.float64), axis=-1).max()) for part in embeddings), default=0.0)
    name = f'{collection}_{Path(index.manifest.table).stem}'
    with opened(uri) as client:
        current = current_collection(client, collection)
        for stale in client.list_collections():  # of this index's states before, and of a run that was killed
            if stale != current and re.fullmatch(f'{collection}_[0-9a-f]{{16}}', stale):
                client.drop_collection(stale)
        if current == name:  # the same state again, perhaps as another kind
            client.drop_alias(collection)
            client.drop_collection(name)
            current = None
        _create(client, name, _METRICS[index.manifest.similarity], About(index.manifest.table, kind, *shape, longest))
        step = max(1, _WRITTEN_ELEMENTS // embeddings[:1].size)
        with progress_bar('Writing shapes' if progress else None, len(index)) as advance:
            for start in range(0, len(index), step):
                shapes = range(start, min(start + step, len(index)))
                client.insert(
                    name,
                    [
                        {
                            'row': shape * views + view,
                            'shape': shape,
                            'id': index.ids[shape],
                            'category': index.categories[shape],
                            'copy_of': index.copy_of(index.ids[shape]),
                            'embedding': row.astype(np.float32),
                        }
                        for shape in shapes
                        for view, row in enumerate(embeddings[shape].reshape(views, -1))
                    ],
                )
                for _ in shapes:
                    advance()
        client.flush(name)
        client.load_collection(name)
        if current is None:
            client.create_alias(name, collection)
        else:
            client.alter_alias(name, collection)
            client.drop_collection(current)
    return len(embeddings) * views


def _create(client: Any, name: str, metric: str, about: About) -> None:
    from pymilvus import DataType, MilvusClient

    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field('row', DataType.INT64, is_primary=True)
    schema.add_field('shape', DataType.INT64)
    schema.add_field('id', DataType.VARCHAR, max_length=_LONGEST_TEXT)
    schema.add_field('category', DataType.VARCHAR, max_length=_LONGEST_TEXT)
    schema.add_field('copy_of', DataType.VARCHAR, max_length=_LONGEST_TEXT)
    schema.add_field('embedding', DataType.FLOAT_VECTOR, dim=about.width)
    indexes = client.prepare_index_params()
    indexes.add_index('embedding', index_type=about.kind.upper(), metric_type=metric, params=_INDEX_OPTIONS[about.kind])
    client.create_collection(
        name,
        schema=schema,
        index_params=indexes,
        consistency_level='Strong',
        properties={'jaxret': json.dumps(asdict(about))},
    )


def current_collection(client: Any, collection: str) -> str | None:
    """The full name of the collection that is behind a name now; None where there is none."""
    if collection not in client.list_aliases()['aliases']:
        return None
    return client.describe_alias(collection)['collection_name']


def read_about(client: Any, name: str) -> About | None:
    """What a collection holds; None where `export_to_database` did not write it, or that of an earlier version."""
    described = client.describe_collection(name)
    if {field['name'] for field in described['fields']} != _FIELDS:
        return None
    properties: Mapping[str, str] = described.get('properties') or {}
    try:
        return About(**json.loads(properties['jaxret']))
    except (KeyError, ValueError, TypeError):
        return None


def check_names(uri: str, collection: str = COLLECTION, kind: str = 'flat') -> None:
    """Raises ConfigError for a uri, name or kind that cannot be, or where the extra is not installed."""
    if '://' not in uri and not uri.endswith('.db'):
        raise ConfigError(f'database {uri!r}: name a file ending in .db, or a server such as http://localhost:19530')
    if not re.fullmatch(r'[A-Za-z_][A-Za-z0-9_]{0,200}', collection):
        raise ConfigError(f'collection {collection!r}: use letters, digits and _, no digit first')
    if kind not in KINDS:
        raise ConfigError(f'database index {kind!r}: choose one of {", ".join(KINDS)}')
    os.environ.setdefault('GRPC_VERBOSITY', 'NONE')  # read once, when gRPC is imported
    need('pymilvus', extra='database', purpose='a vector database')
    if '://' not in uri:
        need('milvus_lite', extra='database', purpose='a database in a file')


def _check_texts(index: Index) -> None:
    long = [
        name
        for name, category in zip(index.ids, index.categories, strict=True)
        if max(len(name.encode()), len(category.encode())) > _LONGEST_TEXT
    ]
    if long:
        raise DataError(
            [Problem(name[:80], f'id or category of more than {_LONGEST_TEXT} bytes', 'shorten it') for name in long]
        )


@contextlib.contextmanager
def opened(uri: str) -> Iterator[Any]:
    """A client of a database. Raises StorageError where it cannot be reached, then or within the `with` block."""
    from pymilvus import MilvusClient

    for name in ('pymilvus', 'milvus_lite', 'grpc._server'):  # the error that is raised says it
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with database_errors(uri):
        if '://' not in uri:
            Path(uri).absolute().parent.mkdir(parents=True, exist_ok=True)
        client = MilvusClient(uri)
        try:
            yield client
        finally:
            client.close()
            if '://' not in uri:  # else this process would keep the file locked until it ends
                from milvus_lite.server_manager import server_manager_instance

                server_manager_instance.release_server(uri)


@contextlib.contextmanager
def database_errors(uri: str) -> Iterator[None]:
    """Turns an error of the database into a StorageError that names it."""
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except (MilvusException, OSError) as error:
        raise StorageError(
            f'{uri}: the database cannot be used ({getattr(error, "message", "") or error}); check that '
            f'it runs, and where it is a file that no other process has it open'
        ) from error
