"""The parts of assemblies as shapes of their own."""

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path, PurePosixPath

from jaxret.errors import DataError
from jaxret.geometry.formats import ASSEMBLY_SUFFIXES, model_suffix
from jaxret.geometry.scenes import part_names
from jaxret.index.model_files import ModelFile, file_mark
from jaxret.index.shards import ShapeRow
from jaxret.workers import map_parallel, reading_memory


class PartFinder:
    """Finds the parts of assemblies; of files that are as they were, without reading them.

    Args:
      rows: of the index as it is.
      looked: numbers of its folders whose parts were found.
      failed: paths that could not be used: their files are read again.
      textured: as in `file_mark`.
      processes, progress: as in `update_index`.
    """

    def __init__(
        self,
        rows: Sequence[ShapeRow],
        looked: Set[int],
        failed: Sequence[str],
        *,
        textured: bool,
        processes: int | None,
        progress: bool,
    ):
        self.rows = [row for row in rows if row.source in looked]
        self.failed, self.textured = failed, textured
        self.processes, self.progress = processes, progress

    def __call__(self, number: int, files: Sequence[ModelFile]) -> list[ModelFile]:
        """The models of a folder by its number, each assembly of several parts replaced by these."""
        names = self._known(number, files)
        unknown = [file for file in files if model_suffix(file.path) in ASSEMBLY_SUFFIXES and file.id not in names]
        results = map_parallel(
            part_names,
            [file.path for file in unknown],
            processes=self.processes,
            serial_below=1,  # as in `embed_files`
            memory=reading_memory(self.processes),
            progress='Looking for parts' if self.progress else None,
        )
        for place, result in results:  # a file that cannot be read stays whole, and fails where it is embedded
            names[unknown[place].id] = [] if isinstance(result, DataError) else result
        found = []
        for file in files:
            parts = names.get(file.id, [])
            found += [replace(file, id=f'{file.id}/{part}', path=file.path / part) for part in parts] or [file]
        return sorted(found, key=lambda file: file.id)

    def _known(self, number: int, files: Sequence[ModelFile]) -> dict[str, list[str]]:
        """Parts of the files that are as they were, by id."""
        rows = defaultdict(list)
        for row in self.rows:
            if row.source == number:
                for above in (PurePosixPath(row.id), *PurePosixPath(row.id).parents):
                    rows[str(above)].append(row)
        failed = {str(above) for path in self.failed for above in (Path(path), *Path(path).parents)}
        known = {}
        for file in files:
            mark = file_mark(file.path, textured=self.textured) if file.id in rows else []
            if mark and str(file.path) not in failed and all(row.mark == mark for row in rows[file.id]):
                known[file.id] = [row.id[len(file.id) + 1 :] for row in rows[file.id] if row.id != file.id]
        return known
