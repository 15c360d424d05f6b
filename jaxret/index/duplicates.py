"""Duplicates among the models of an index, or of a folder: groups of equal shapes, and pairs that are mirrored or near.

found = find_duplicates(folder_models('parts'))
for group in found.groups:
    print(group.kind, group.members)
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.geometry.formats import MESH_SUFFIXES
from jaxret.geometry.signatures import Signatures
from jaxret.index.duplicate_groups import EqualModels, Group, like_groups
from jaxret.index.files import held_table
from jaxret.index.like_shapes import find_links
from jaxret.index.model_files import find_models
from jaxret.index.shards import SHARDS, check_shard, read_extra, read_thumbnail
from jaxret.preprocessing.shape_pairs import (
    CLASSES,
    MESH,
    SHAPE,
    Likeness,
    Traits,
    compare_files,
    read_signature,
    read_traits,
)
from jaxret.workers import map_parallel, reading_memory


@dataclass(frozen=True, eq=False)
class ModelEntry:
    """A model to compare.

    Attributes:
      id: as in an index.
      path: of its file, member or part.
      up_axis: axis that points up in it, for pictures.
      checksum: of its content; '' where it was not read yet.
      signature: float32 [S]; None likewise.
      picture: shard and row of its thumbnail in an index; None for none.
    """

    id: str
    path: Path
    up_axis: str = 'y'
    checksum: str = ''
    signature: np.ndarray | None = None
    picture: tuple[Path, int] | None = None

    def thumbnail(self) -> bytes | None:
        """A PNG file; None where the index has none. Raises DataError: damaged."""
        return None if self.picture is None else read_thumbnail(*self.picture)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """What was found among `models`; `problems` are files that could not be used."""

    models: list[ModelEntry]
    groups: list[Group]
    problems: list[Problem]


def folder_models(folder: Path | str, *, up_axis: str = 'y') -> tuple[list[ModelEntry], list[Problem]]:
    """The models below a folder, with the ids that an index of it has, and what is wrong with it.

    Raises:
      DataError: no such folder, or no models in it.
    """
    found = find_models(Path(folder), MESH_SUFFIXES)
    problems = [*found.problems, *found.unread]
    if not found.models:
        raise DataError([Problem(str(folder), 'no models in it', f'it takes {" ".join(MESH_SUFFIXES)}'), *problems])
    return [ModelEntry(model.id, model.path, up_axis) for model in found.models], problems


def index_models(folder: Path | str) -> list[ModelEntry]:
    """The models of an index, with what it holds of them.

    Raises:
      DataError: no index there, or damaged.
    """
    folder = Path(folder).absolute()
    models, held = [], {}
    with held_table(folder) as (manifest, rows):
        for row in rows:
            shard, source = folder / SHARDS / row.shard, manifest.sources[row.source]
            if shard not in held:
                check_shard(shard)
                held[shard] = read_extra(shard, 'signature')
            signature = None if held[shard] is None else held[shard][row.row]
            path = Path(source.folder) / row.id
            models.append(ModelEntry(row.id, path, row.up_axis, row.checksum, signature, (shard, row.row)))
    return models


def find_duplicates(
    models: Sequence[ModelEntry], *, processes: int | None = None, progress: bool = True, keep: bool = False
) -> Duplicates:
    """Finds which models are alike.

    Args:
      models: of `index_models` or `folder_models`; a signature that is missing is made of the file.
      processes: that read models; None takes one a core.
      progress: show progress bars.
      keep: say which members of a group of equal shapes to keep (`EqualModels.groups`).

    Raises:
      DataError: none of the models can be used.
    """
    workers = {'processes': processes, 'progress': progress}
    models, problems = _with_signatures(models, **workers)
    if not models:
        raise DataError(problems or Problem('models', 'none', 'name a folder or an index with models'))
    signatures = Signatures.of(np.stack([model.signature for model in models]))
    links, unread = find_links([m.path for m in models], [m.checksum for m in models], signatures, **workers)
    linked = sorted({number for one, other, _ in links for number in (one, other)})
    traits = dict(zip(linked, _traits([models[number].path for number in linked], processes), strict=True))
    equal = EqualModels([model.id for model in models], links, traits)
    wanted = equal.unproved()
    paths = [(models[one].path, models[other].path) for one, other in wanted]
    for number, like in map_parallel(compare_files, paths, processes=processes, memory=reading_memory(processes)):
        if isinstance(like, Likeness) and like.kind in (MESH, SHAPE):
            equal.add(*wanted[number], like)
    groups = equal.groups(keep=keep) + like_groups(equal)
    order = sorted(groups, key=lambda group: (CLASSES.index(group.kind), -len(group.members), group.members))
    return Duplicates(models, order, problems + unread)


def _with_signatures(
    models: Sequence[ModelEntry], *, processes: int | None, progress: bool
) -> tuple[list[ModelEntry], list[Problem]]:
    """The models that can be used, with checksums and signatures."""
    models, problems = list(models), []
    missing = [number for number, model in enumerate(models) if model.signature is None]
    results = map_parallel(
        read_signature,
        [models[number].path for number in missing],
        processes=processes,
        memory=reading_memory(processes),
        progress='Reading models' if progress else None,
    )
    for place, result in results:
        if isinstance(result, DataError):
            problems += result.problems
        else:
            number = missing[place]
            models[number] = replace(models[number], checksum=result[0], signature=result[1])
    return [model for model in models if model.signature is not None], problems


def _traits(paths: Sequence[Path], processes: int | None) -> list[Traits]:
    """Of model files; of one that cannot be read any more those of the worst."""
    found = [Traits(False, False, 1.0, 1.0, None)] * len(paths)
    for number, result in map_parallel(read_traits, paths, processes=processes, memory=reading_memory(processes)):
        if not isinstance(result, DataError):
            found[number] = result
    return found
