"""The command `jaxret export --index`: the embeddings of an index as a file, or in a vector database."""

import argparse
from pathlib import Path

from jaxret.cli.next_step import quoted, tell_next
from jaxret.errors import ConfigError
from jaxret.index.index import Index
from jaxret.index.parquet import check_table_path, write_table_file


def check_export(options: argparse.Namespace) -> None:
    """Raises ConfigError for options that do not go together."""
    for name, belongs, to in (
        ('database', options.index, '--index'),
        ('kind', options.checkpoint or options.model, '--checkpoint or --model'),
        ('approximate', options.database, '--database'),
        ('collection', options.database, '--database'),
    ):
        if getattr(options, name) and not belongs:
            raise ConfigError(f'--{name} goes with {to}')


def export_embeddings(options: argparse.Namespace) -> None:
    """Writes them where the options say, and prints what was written.

    Raises:
      ConfigError: a file or database that cannot be, or an extra that is not installed.
      DataError: no index.
      StorageError: file or database cannot be written.
    """
    if options.out:
        check_table_path(Path(options.out))
        with Index.open(options.index) as index:
            size = write_table_file(index, options.out)
            print(f'{options.out}: {len(index)} shapes, {size / 2**20:.1f} MiB')
        read = 'pyarrow.parquet.read_table' if Path(options.out).suffix == '.parquet' else 'pyarrow.feather.read_table'
        tell_next(f'python -c "import {read.rpartition(".")[0]}; print({read}({options.out!r}))"')
        return
    from jaxret.index.milvus import COLLECTION, export_to_database

    collection = options.collection or COLLECTION
    with Index.open(options.index) as index:
        rows = export_to_database(
            index, options.database, collection=collection, kind='hnsw' if options.approximate else 'flat'
        )
        print(f'{options.database}: {len(index)} shapes, {rows} rows in collection {collection!r}')
    tell_next(f'jaxret search --index {quoted(options.index)} --database {quoted(options.database)} QUERY')
