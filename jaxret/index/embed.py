"""Reads and embeds model files, into shards."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

from jaxret.errors import DataError
from jaxret.index.shards import SHARD_SHAPES, Place, Shard, content_key, write_shard
from jaxret.inference.model import Model
from jaxret.preprocessing.shapes import ShapeRecord, shape_record_of
from jaxret.workers import map_parallel, reading_memory

SOFTWARE = ('jaxret', 'jax', 'flax', 'numpy', 'trimesh', 'embreex')
_AHEAD = 1  # shards that wait while one is embedded: what is read takes memory
Result = tuple[str, Place] | DataError  # checksum and place, or why the file cannot be used


def embed_files(
    folder: Path, model: Model, key: str, items: Sequence[tuple[Path, str]], *, processes: int | None, progress: bool
) -> Iterator[tuple[int, Result]]:
    """Reads and embeds files; every 128 of them are a shard, less those that cannot be used.

    One shard is embedded, in a thread, while the next ones are read: the accelerator, or cores that XLA leaves idle,
    do not wait for files, nor files for them.

    Args:
      folder: of the index.
      model: that embeds.
      key: of the model and inputs (`embedding_key`).
      items: files, each with the axis that points up in it.
      processes: that read them; None takes one a core.
      progress: show a progress bar.

    Yields:
      index into `items`, result.
    """
    function = partial(shape_record_of, inputs=model.shape_inputs)
    results = map_parallel(
        function,
        items,
        processes=processes,
        serial_below=1,  # a file that crashes, hangs or asks for all memory costs only itself
        ordered=True,
        memory=reading_memory(processes),
        progress='Indexing' if progress else None,
    )
    waiting: list[tuple[int, ShapeRecord]] = []
    begun: deque[Future[list[tuple[int, Result]]]] = deque()
    encoder = ThreadPoolExecutor(1)
    try:
        for number, result in results:
            if isinstance(result, DataError):
                yield number, result
            else:
                waiting.append((number, result))
            if waiting and ((number + 1) % SHARD_SHAPES == 0 or number + 1 == len(items)):
                begun.append(encoder.submit(_embed_shard, folder, model, key, items, waiting))
                waiting = []
            while begun and (len(begun) > _AHEAD or begun[0].done()):
                yield from begun.popleft().result()
        for shard in begun:
            yield from shard.result()
    finally:
        encoder.shutdown(cancel_futures=True)


def _embed_shard(
    folder: Path, model: Model, key: str, items: Sequence[tuple[Path, str]], shapes: Sequence[tuple[int, ShapeRecord]]
) -> list[tuple[int, Result]]:
    """Embeds shapes, each with its index into `items`, and writes their shard."""
    embeddings = model.embed_shape_arrays([record.arrays for _, record in shapes])
    keys = [content_key(record.checksum, items[place][1]) for place, record in shapes]
    records = [record for _, record in shapes]
    extras = {name: np.stack([record.extras[name] for record in records]) for name in records[0].extras}
    pictures, facts = [record.thumbnail for record in records], [record.facts for record in records]
    shard = write_shard(folder, Shard(embeddings, pictures, keys, extras, facts), key=key)
    return [(place, (record.checksum, (shard, row))) for row, (place, record) in enumerate(shapes)]


def versions() -> dict[str, str]:
    """Of the software that decides what an embedding is."""
    return {package: version(package) for package in SOFTWARE}
