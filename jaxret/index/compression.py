"""Embeddings of an index of many shapes as codes, which take a thirtieth of the memory and of the disk.

A codebook is learnt once, when there are shapes enough; shapes that are added later have codes of it, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.index.embeddings import gather, read_codebook
from jaxret.index.shards import SHARD_SHAPES, SHARDS, ShapeRow, read_shard, shard_shapes, write_matrix, write_shard
from jaxret.search.codes import Codebook
from jaxret.search.parts import Parts

MANY = SHARD_SHAPES  # shapes from which on a codebook is learnt; of fewer it would know too little
_LEARNED_FROM = 512  # shapes, evenly spaced


def compressed(
    folder: Path, rows: Sequence[ShapeRow], key: str, parts: Parts | None, codebook: Mapping[str, Any] | None
) -> tuple[list[ShapeRow], dict[str, Any] | None]:
    """The rows in shards of codes, and the codebook; the rows as they are where there is none and shapes are few.

    Args:
      folder: of the index.
      rows: all of the next table.
      key: of the model and inputs (`embedding_key`).
      parts: of the model's embeddings; None where they have none, and stay as they are.
      codebook: of the index before (`Manifest.codebook`), or None.
    """
    if parts is None or (codebook is None and len(rows) < MANY):
        return list(rows), None
    raw = [shard for shard in dict.fromkeys(row.shard for row in rows) if _is_raw(folder, shard, key)]
    if codebook is None:
        sample = gather(folder, rows[:: -(-len(rows) // _LEARNED_FROM)])
        book = Codebook.learned(sample.reshape(-1, sample.shape[-1]).astype(np.float32), parts.layout)
        codebook = {'file': write_matrix(folder, book.flat()), 'layout': [list(part) for part in book.layout]}
    else:
        book = read_codebook(folder, codebook)
    coded = {}
    for shard in raw:
        whole = read_shard(folder / SHARDS / shard)
        codes = replace(whole, embeddings=book.encode(whole.embeddings))
        coded[shard] = write_shard(folder, codes, key=coded_key(key, codebook))
    return [replace(row, shard=coded.get(row.shard, row.shard)) for row in rows], dict(codebook)


def coded_key(key: str, codebook: Mapping[str, Any] | None) -> str:
    """Of shards whose embeddings are codes; the key itself without a codebook."""
    return key if codebook is None else f'{key} {codebook["file"]}'


def _is_raw(folder: Path, shard: str, key: str) -> bool:
    return shard_shapes(folder / SHARDS / shard, key=key) is not None
