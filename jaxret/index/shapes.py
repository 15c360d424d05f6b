"""What an index knows of its shapes beside how they look. Letters: G shapes."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import ConfigError, DataError
from jaxret.geometry.signatures import LENGTH, Signatures
from jaxret.geometry.up_axis import AUTO
from jaxret.index.facts import ShapeFacts
from jaxret.index.files import Manifest
from jaxret.index.shards import SHARDS, ShapeRow, read_extra, read_thumbnail
from jaxret.index.where import Matching
from jaxret.preprocessing.shapes import file_checksum

_ALIKE = 2.0  # between shapes by `Signatures.shapes`, of which those of one shape differ by at most 1


class Shapes:
    """The shapes of a table, by their ids.

    Args:
      folder, manifest: of the index.
      table: what will be the rows.
      shards: done once all shards were compared with their checksums; fails where one is missing or damaged.

    Attributes:
      folder: of the index.
      manifest: what the index is.
    """

    def __init__(self, folder: Path, manifest: Manifest, table: Future[Sequence[ShapeRow]], shards: Future):
        self.folder, self.manifest, self._table, self._shards = folder, manifest, table, shards

    def __len__(self) -> int:
        return self.manifest.shapes

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Of the shapes."""
        return tuple(row.id for row in self._rows)

    @cached_property
    def categories(self) -> tuple[str, ...]:
        """One a shape; '' where it has none."""
        return tuple(row.category for row in self._rows)

    @property
    def _rows(self) -> Sequence[ShapeRow]:
        return self._table.result()

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.ids)}

    @cached_property
    def _facts(self) -> ShapeFacts:
        self._shards.result()
        return ShapeFacts(self.folder, self._rows)

    @cached_property
    def _first_of(self) -> dict[str, str]:
        """The first shape of every content."""
        return {row.checksum: row.id for row in reversed(self._rows)}

    def candidates(self, categories: Sequence[str] | None = None, where: str | None = None) -> np.ndarray | None:
        """Which shapes are of these categories and meet the conditions, bool [G]; None for all.

        Raises:
          ConfigError: as `check_categories` and `matching`.
        """
        if categories is not None:
            self.check_categories(categories)
        chosen = None if categories is None else np.isin(np.array(self.categories), list(categories))
        if where is None:
            return chosen
        met = self.matching(where).shapes
        return met if chosen is None else met & chosen

    def facts(self, id: str) -> dict[str, Any] | None:
        """Size, triangles and more of a shape (`jaxret.geometry.measures.mesh_facts`).

        Returns:
          the facts, with `size` and `size_mm` as width, height and depth, +y up; None for a shape that was
          indexed before they were kept.

        Raises:
          KeyError: an unknown id.
          DataError: damaged.
        """
        return self._facts.of(self._row_of[id])

    def matching(self, where: str) -> Matching:
        """The shapes whose facts meet some conditions (`where.parse_where`), and how many have no unit for them.

        Raises:
          ConfigError: conditions that are not understood, or shapes without facts.
          DataError: damaged.
        """
        return self._facts.matching(where)

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
        self._shards.result()
        return read_thumbnail(self.folder / SHARDS / row.shard, row.row)

    def model_path(self, id: str) -> Path:
        """The model's file, where it was when it was indexed. Raises KeyError for an unknown id."""
        row = self._rows[self._row_of[id]]
        return Path(self.manifest.sources[row.source].folder) / row.id

    def model_mark(self, id: str) -> list[int]:
        """What its files were when it was indexed (`file_mark`). Raises KeyError for an unknown id."""
        return self._rows[self._row_of[id]].mark

    def copy_of(self, id: str) -> str:
        """The first shape whose file has the same content; '' where it is this one. Raises KeyError: an unknown id."""
        first = self._first_of[self._rows[self._row_of[id]].checksum]
        return '' if first == id else first

    def axis_of_query(self, path: Path) -> str:
        """The axis that points up in a mesh as a query, 'y', 'z' or 'auto': that of the models; where they have both,
        that of a model with the same content.
        """
        axis = self.manifest.query_up_axis
        if axis != AUTO:
            return axis
        same = self._same_content(path)
        return same.up_axis if same else axis

    def kind_of_query(self, path: Path, kind: str) -> str:
        """The kind of a query file; distances that a model of the index is made of are a shape, and no scan of one."""
        return 'mesh' if kind == 'scan' and 'mesh' in self.manifest.query_kinds and self._same_content(path) else kind

    def _same_content(self, path: Path) -> ShapeRow | None:
        try:
            checksum = file_checksum(path, textured=self.manifest.shape_inputs.textured)
        except DataError:  # said where it is embedded
            return None
        return next((row for row in self._rows if row.checksum == checksum), None)

    def alike(self, signature: np.ndarray, *, most: int = 8) -> list[str]:
        """Ids of shapes that may be a mesh, turned, scaled or mirrored, or nearly so: the nearest first.

        Args:
          signature: float32 [S] of the mesh (`signatures.signature`).
          most: how many at most.

        Raises:
          DataError: a damaged shard.
        """
        apart = np.abs(self._signatures - Signatures.of(signature[None]).shapes).max(axis=1)
        order = np.argsort(apart, kind='stable')[:most]
        return [self.ids[number] for number in order if apart[number] <= _ALIKE]

    @cached_property
    def _signatures(self) -> np.ndarray:
        """Of all shapes as `Signatures.shapes`, [G, D]; infinite for those that were indexed before they were kept."""
        names = {row.shard for row in self._rows}
        of_shard = {name: read_extra(self.folder / SHARDS / name, 'signature') for name in names}
        kept = np.array([of_shard[row.shard] is not None for row in self._rows])
        signatures = np.zeros((len(self), LENGTH), np.float32)
        for number in np.flatnonzero(kept):
            signatures[number] = of_shard[self._rows[number].shard][self._rows[number].row]
        return np.where(kept[:, None], Signatures.of(signatures).shapes, np.inf)

    def up_axis(self, id: str) -> str:
        """The axis that points up in a shape's file, 'y' or 'z'. Raises KeyError for an unknown id."""
        return self._rows[self._row_of[id]].up_axis
