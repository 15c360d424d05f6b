"""Duplicates among the models of an index, or of a folder: groups of equal shapes, and pairs that are mirrored or near.

found = find_duplicates(folder_models('parts'))
for group in found.groups:
    print(group.kind, group.members)
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxret.errors import DataError, Problem
from jaxret.geometry.formats import MESH_SUFFIXES
from jaxret.geometry.signatures import Signatures
from jaxret.index.files import held_table
from jaxret.index.like_shapes import Joined, Link, find_links
from jaxret.index.model_files import find_models
from jaxret.index.shards import SHARDS, check_shard, read_extra, read_thumbnail
from jaxret.preprocessing.shape_pairs import CLASSES, MIRRORED, NEAR, Likeness, is_closed, read_signature
from jaxret.workers import map_parallel, reading_memory

_EXACT = ('.step', '.stp', '.iges', '.igs', '.brep')  # surfaces, of which meshes are made
# Factors between units that files leave out, within a thousandth.
_UNITS = {
    25.4: 'inches and millimetres', 304.8: 'feet and millimetres', 12.0: 'feet and inches', 10.0: 'centimetres and '
    'millimetres', 100.0: 'metres and centimetres', 1000.0: 'metres and millimetres', 2.54: 'inches and centimetres',
    39.3701: 'metres and inches', 3.28084: 'metres and feet',
}  # fmt: skip


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
class Evidence:
    """How a member of a group is like another."""

    id: str
    like: str
    likeness: Likeness

    @property
    def units(self) -> str:
        """Between which units the factor is, '' for no such factor, or where both files say their unit."""
        factor = max(self.likeness.factor, 1 / self.likeness.factor)
        if self.likeness.millimetres is not None:
            return ''
        return next((names for unit, names in _UNITS.items() if math.isclose(factor, unit, rel_tol=1e-3)), '')

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        values = asdict(self.likeness)
        kind = values.pop('kind')
        return {'id': self.id, 'like': self.like, 'class': kind, **values, 'units': self.units}


@dataclass(frozen=True, eq=False)
class Group:
    """Models that are alike.

    Attributes:
      kind: the weakest class that holds it together.
      members: ids. Of equal shapes all; of mirrored and near ones the first, and those that are so to it, each for all
        that equal it.
      evidence: of each member but the first.
      keep: the member to keep; '' for mirrored and near ones.
    """

    kind: str
    members: list[str]
    evidence: list[Evidence]
    keep: str = ''

    @property
    def distance(self) -> float:
        """The largest of all members."""
        return max(one.likeness.distance for one in self.evidence)

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        told = {'class': self.kind, 'members': self.members, 'distance': self.distance}
        return told | ({'keep': self.keep} if self.keep else {}) | {'evidence': [e.to_json() for e in self.evidence]}


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
            models.append(ModelEntry(row.id, path, source.up_axis, row.checksum, signature, (shard, row.row)))
    return models


def find_duplicates(
    models: Sequence[ModelEntry], *, processes: int | None = None, progress: bool = True, keep: bool = False
) -> Duplicates:
    """Finds which models are alike.

    Args:
      models: of `index_models` or `folder_models`; a signature that is missing is made of the file.
      processes: that read models; None takes one a core.
      progress: show progress bars.
      keep: say which member of a group of equal shapes to keep (`kept`).

    Raises:
      DataError: none of the models can be used.
    """
    workers = {'processes': processes, 'progress': progress}
    models, problems = _with_signatures(models, **workers)
    if not models:
        raise DataError(problems or Problem('models', 'none', 'name a folder or an index with models'))
    signatures = Signatures.of(np.stack([model.signature for model in models]))
    links, unread = find_links([m.path for m in models], [m.checksum for m in models], signatures, **workers)
    joined = Joined(len(models))
    for one, other, like in links:
        if like.kind not in (MIRRORED, NEAR):
            joined.join(one, other)
    groups = _equal_groups(models, links, joined)
    for kind in (MIRRORED, NEAR):
        groups += _like_groups(models, [link for link in links if link[2].kind == kind], joined, kind)
    if keep:
        groups = _with_kept(groups, models, signatures, processes)
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


def _equal_groups(models: Sequence[ModelEntry], links: Sequence[Link], joined: Joined) -> list[Group]:
    """Groups of equal shapes; each member but the first with the link that joins it to those before."""
    near: dict[int, list[tuple[int, Likeness]]] = defaultdict(list)
    for one, other, like in links:
        if like.kind not in (MIRRORED, NEAR):
            near[one].append((other, like))
            near[other].append((one, _reversed(like)))
    groups = []
    for first in sorted({joined.root(number) for number in near}):
        order, evidence, waiting = {first}, [], [first]
        while waiting:
            one = waiting.pop(0)
            for other, like in sorted(near[one], key=lambda item: CLASSES.index(item[1].kind)):
                if other not in order:
                    order.add(other)
                    waiting.append(other)
                    evidence.append(Evidence(models[other].id, models[one].id, like))
        kind = max((one.likeness.kind for one in evidence), key=CLASSES.index)
        groups.append(Group(kind, [models[first].id, *(one.id for one in evidence)], evidence))
    return groups


def _like_groups(models: Sequence[ModelEntry], links: Sequence[Link], joined: Joined, kind: str) -> list[Group]:
    """Groups of what is like its first member: every link is in one, and none goes on from a member that is not it.

    The first is one with most links that are in no group yet.
    """
    best: dict[tuple[int, int], Evidence] = {}
    for one, other, like in links:
        ends = joined.root(one), joined.root(other)
        for (first, second), evidence in (
            (ends, Evidence(models[other].id, models[one].id, like)),
            (ends[::-1], Evidence(models[one].id, models[other].id, _reversed(like))),
        ):
            known = best.get((first, second))
            if known is None or like.mean < known.likeness.mean:
                best[first, second] = evidence
    near: dict[int, set[int]] = defaultdict(set)
    for first, second in best:
        near[first].add(second)
    groups = []
    while near:
        first = min(near, key=lambda number: (-len(near[number]), number))
        others = sorted(near.pop(first))
        for other in others:
            near[other].discard(first)
            if not near[other]:
                del near[other]
        evidence = [best[first, other] for other in others]
        groups.append(Group(kind, [models[first].id, *(models[other].id for other in others)], evidence))
    return groups


def _reversed(like: Likeness) -> Likeness:
    """How the reference is like the shape."""
    sizes = None if like.millimetres is None else like.millimetres[::-1]
    return replace(like, factor=1 / like.factor, millimetres=sizes)


def _with_kept(
    groups: Sequence[Group], models: Sequence[ModelEntry], signatures: Signatures, processes: int | None
) -> list[Group]:
    """The groups of equal shapes with the member to keep.

    The first by this order: a CAD format before a mesh; a closed surface; more faces; the shorter path; the alphabet.
    """
    number = {model.id: place for place, model in enumerate(models)}
    asked = sorted({member for group in groups if group.kind not in (MIRRORED, NEAR) for member in group.members})
    closed = dict.fromkeys(asked, False)
    paths = [models[number[id]].path for id in asked]
    for place, result in map_parallel(is_closed, paths, processes=processes, memory=reading_memory(processes)):
        closed[asked[place]] = result is True

    def order(id: str) -> tuple:
        faces = signatures.faces[number[id]]
        return not _is_exact(id), not closed[id], -faces, len(id), id

    return [
        group if group.kind in (MIRRORED, NEAR) else replace(group, keep=min(group.members, key=order))
        for group in groups
    ]


def _is_exact(id: str) -> bool:
    """Whether a model or part is of a CAD format."""
    return any(step.lower().removesuffix('.gz').endswith(_EXACT) for step in id.split('/'))
