"""The embeddings of an index as one Parquet or Arrow file, for tools that know nothing of this library.

Letters: G shapes, V views, D embedding.

One row a shape, in the order of the index: `id`, `category`, `model` (path of its file), `up_axis`, and `embedding`, a
list of D float32 (of the built-in model float16), or V lists of D where views are compared one by one (CMIC, the
built-in model). The key `jaxret` of the schema's metadata is JSON: system, similarity, fingerprint, step, versions, for
CMIC's attention `projection`, the matrix W [D, D], and for the built-in model `parts`, what of D is what.
"""

import json
from pathlib import Path

from jaxret.errors import ConfigError
from jaxret.files import replaced_atomically
from jaxret.index.index import Index
from jaxret.optional_packages import need

SUFFIXES = ('.parquet', '.arrow')
_PART_ELEMENTS = 8_000_000  # numbers written at a time


def check_table_path(path: Path) -> None:
    """Raises ConfigError for a suffix that is neither .parquet nor .arrow, or where pyarrow is not installed."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f'{path}: embeddings are written as {" or ".join(SUFFIXES)}; name a file that ends so')
    need('pyarrow.parquet', extra='parquet', purpose='a file of embeddings')


def write_table_file(index: Index, path: Path | str) -> int:
    """Writes the embeddings of an index; bit by bit those of the index.

    Args:
      index: whose.
      path: of the file: .parquet, or .arrow (the IPC file format, which can be mapped to memory).

    Returns:
      bytes written.

    Raises:
      ConfigError: another suffix, or pyarrow is not installed.
      StorageError: the file cannot be written.
    """
    path = Path(path)
    check_table_path(path)
    import pyarrow as pa
    from pyarrow import parquet

    embeddings = index.gallery.embeddings
    kind = pa.from_numpy_dtype(index.stored)
    for size in reversed(embeddings.shape[1:]):
        kind = pa.list_(kind, size)
    text = [pa.field(name, pa.string(), nullable=False) for name in ('id', 'category', 'model', 'up_axis')]
    schema = pa.schema([*text, pa.field('embedding', kind, nullable=False)], {'jaxret': json.dumps(_about(index))})
    step = max(1, _PART_ELEMENTS // max(1, embeddings[:1].size))
    with replaced_atomically(path) as temporary:
        writer = parquet.ParquetWriter if path.suffix == '.parquet' else pa.ipc.new_file
        with writer(str(temporary), schema) as file:
            for start in range(0, len(index), step):
                ids = index.ids[start : start + step]
                values = pa.array(embeddings[start : start + step].astype(index.stored, order='C').ravel())
                for size in reversed(embeddings.shape[1:]):
                    values = pa.FixedSizeListArray.from_arrays(values, size)
                columns = [
                    ids,
                    index.categories[start : start + step],
                    [str(index.model_path(name)) for name in ids],
                    [index.up_axis(name) for name in ids],
                ]
                arrays = [*(pa.array(column, pa.string()) for column in columns), values]
                file.write_batch(pa.record_batch(arrays, schema=schema))
    return path.stat().st_size


def _about(index: Index) -> dict:
    manifest, projection = index.manifest, index.projection
    return {
        'system': manifest.system,
        'similarity': manifest.similarity,
        'fingerprint': manifest.fingerprint,
        'step': manifest.step,
        'versions': manifest.versions,
        'projection': None if projection is None else projection.tolist(),
        'parts': manifest.parts,
    }
