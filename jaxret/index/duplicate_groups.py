"""Groups of models that are alike, made of links between pairs: which member stands first, and what is said of each."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jaxret.index.like_shapes import Joined, Link
from jaxret.preprocessing.shape_pairs import BYTES, CLASSES, MESH, MIRRORED, NEAR, SHAPE, Likeness, Traits

_EXACT = ('.step', '.stp', '.iges', '.igs', '.brep')  # surfaces, of which meshes are made
_SIZES = 0.005  # by which sizes of equal shapes differ that are one: triangles differ
# Factors between units that files leave out, within a thousandth.
_UNITS = {
    25.4: 'inches and millimetres', 304.8: 'feet and millimetres', 12.0: 'feet and inches', 10.0: 'centimetres and '
    'millimetres', 100.0: 'metres and centimetres', 1000.0: 'metres and millimetres', 2.54: 'inches and centimetres',
    39.3701: 'metres and inches', 3.28084: 'metres and feet',
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Evidence:
    """How a member of a group is like another one of it, and whether its triangles look inwards."""

    id: str
    like: str
    likeness: Likeness
    inside_out: bool = False

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
        told = {'id': self.id, 'like': self.like, 'class': kind, **values, 'units': self.units}
        return told | {'inside_out': self.inside_out}


@dataclass(frozen=True, eq=False)
class Group:
    """Models that are alike.

    Attributes:
      kind: the weakest class that holds it together.
      members: ids, the best to keep first; of what is equal, mirrored and near groups name only that one.
      evidence: of each member but the first; of mirrored and near groups how it is like the first.
      keep: the members to keep, one for each real size; empty for mirrored and near ones.
      inside_out: whether the first member's triangles look inwards.
    """

    kind: str
    members: list[str]
    evidence: list[Evidence]
    keep: list[str] = field(default_factory=list)
    inside_out: bool = False

    @property
    def distance(self) -> float:
        """The largest of all members."""
        return max(one.likeness.distance for one in self.evidence)

    def to_json(self) -> dict[str, Any]:
        """As `--json` has it."""
        told = {'class': self.kind, 'members': self.members, 'distance': self.distance, 'keep': self.keep}
        return told | {'inside_out': self.inside_out, 'evidence': [one.to_json() for one in self.evidence]}


class EqualModels:
    """Sets of equal models, and how each member is like the first of its set, directly where that is known.

    The first is the one to keep by this order: a CAD format before a mesh; a file that says its unit; a closed surface
    whose triangles look outwards; the shorter path; the alphabet.

    Args:
      ids: of N models.
      links: between them.
      traits: of all models that have a link.
    """

    def __init__(self, ids: Sequence[str], links: Sequence[Link], traits: Mapping[int, Traits]):
        self.ids, self.links, self.traits = ids, links, traits
        self._known = {(one, other): like for one, other, like in links if like.kind not in (MIRRORED, NEAR)}
        self._known |= {pair[::-1]: reversed_likeness(like) for pair, like in self._known.items()}
        self._sets = [Joined(len(ids)) for _ in (BYTES, MESH, SHAPE)]  # each wider than the one before
        for (one, other), like in self._known.items():
            for joined in self._sets[CLASSES.index(like.kind) :]:
                joined.join(one, other)
        self._best: list[dict[int, int]] = [{}, {}, {}]  # of each set
        for number in sorted(traits, key=self._order):
            for best, joined in zip(self._best, self._sets, strict=True):
                best.setdefault(joined.root(number), number)

    def _order(self, number: int) -> tuple:
        traits, id = self.traits[number], self.ids[number]
        outward = traits.closed and not traits.inside_out
        return not _is_exact(id), traits.millimetres is None, not outward, len(id), id

    def first(self, number: int, level: int = 2) -> int:
        """The first of a model's set: 0 for those of its bytes, 1 of its mesh, 2 of its shape."""
        return self._best[level].get(self._sets[level].root(number), number)

    def unproved(self) -> list[tuple[int, int]]:
        """The pairs (first of a set, first of a mesh in it) that were not compared yet."""
        pairs = {(self.first(number), self.first(number, 1)) for number in self.traits}
        return sorted(pair for pair in pairs if pair[0] != pair[1] and pair not in self._known)

    def add(self, one: int, other: int, like: Likeness) -> None:
        """What the comparison of an unproved pair gives."""
        self._known |= {(one, other): like, (other, one): reversed_likeness(like)}

    def evidence(self, number: int) -> tuple[int, Likeness]:
        """Which member of its set a model that is not its first is like, and how."""
        for level, kind in enumerate((BYTES, MESH)):
            other = self.first(number, level)
            if other != number:
                like = self._known.get((other, number), Likeness(kind))
                return other, replace(like, kind=kind, millimetres=self.millimetres(other, number))
        first = self.first(number)
        if (first, number) in self._known:
            return first, self._known[first, number]
        others = [(like.distance, one) for (one, other), like in self._known.items() if other == number]
        other = min(others)[1]
        return other, self._known[other, number]

    def millimetres(self, one: int, other: int) -> tuple[float, float] | None:
        """Longest sides; None where one has no unit."""
        traits = self.traits[one], self.traits[other]
        if any(each.millimetres is None for each in traits):
            return None
        return tuple(each.side * each.millimetres for each in traits)

    def groups(self, *, keep: bool) -> list[Group]:
        """The sets of several models; `keep`: also which members to keep.

        Of each real size the first. A file without a unit is of the size that its numbers are where a file that says
        its unit has the same numbers, else of a size of its own for each size in numbers.
        """
        sets: dict[int, list[int]] = defaultdict(list)
        for number in sorted(self.traits, key=self._order):
            sets[self.first(number)].append(number)
        groups = []
        for members in sets.values():
            if len(members) < 2:
                continue
            told = []
            for number in members[1:]:
                other, like = self.evidence(number)
                told.append(Evidence(self.ids[number], self.ids[other], like, self.traits[number].inside_out))
            kind = max((one.likeness.kind for one in told), key=CLASSES.index)
            kept = [self.ids[number] for number in self._kept(members)] if keep else []
            groups.append(Group(kind, [self.ids[n] for n in members], told, kept, self.traits[members[0]].inside_out))
        return groups

    def _kept(self, members: Sequence[int]) -> list[int]:
        """The first member of each real size."""
        traits = [self.traits[number] for number in members]
        declared = [(n, t) for n, t in zip(members, traits, strict=True) if t.millimetres is not None]
        kept: list[tuple[float, int]] = []
        for number, one in declared:
            _add_size(kept, one.radius * one.millimetres, number)
        unknown: list[tuple[float, int]] = []
        for number, one in zip(members, traits, strict=True):
            if one.millimetres is None and not any(_equal(one.radius, other.radius) for _, other in declared):
                _add_size(unknown, one.radius, number)
        return [number for _, number in (*kept, *unknown)]


def like_groups(equal: EqualModels) -> list[Group]:
    """Groups of what is mirrored or near to their first member; of equal models only the first of their set.

    The first is the one with most links that are in no group yet. Links between two others of a group, within a set,
    and near ones of what is mirrored, are in none.
    """
    best: dict[tuple[int, int], Likeness] = {}
    for link in equal.links:
        for one, other, like in (link, (link[1], link[0], reversed_likeness(link[2]))):
            ends = equal.first(one), equal.first(other)
            if like.kind not in (MIRRORED, NEAR) or ends[0] == ends[1]:
                continue
            like = _between(equal, ends, (one, other), like)
            if ends not in best or _strength(like) < _strength(best[ends]):
                best[ends] = like
    groups = []
    for kind in (MIRRORED, NEAR):
        near: dict[int, set[int]] = defaultdict(set)
        for (first, other), like in best.items():
            if like.kind == kind:
                near[first].add(other)
        groups += _starred(equal, near, best, kind)
    return groups


def _starred(
    equal: EqualModels, near: dict[int, set[int]], best: Mapping[tuple[int, int], Likeness], kind: str
) -> list[Group]:
    groups = []
    while any(near.values()):
        first = min(near, key=lambda one: (-len(near[one]), sum(best[one, x].mean for x in near[one]), equal.ids[one]))
        others = sorted(near[first], key=lambda other: (best[first, other].mean, equal.ids[other]))
        known = {first, *others}
        for one in known:
            near[one] -= known
        ids = equal.ids
        told = [Evidence(ids[x], ids[first], best[first, x], equal.traits[x].inside_out) for x in others]
        members = [ids[first], *(ids[other] for other in others)]
        groups.append(Group(kind, members, told, inside_out=equal.traits[first].inside_out))
    return groups


def _between(equal: EqualModels, ends: tuple[int, int], pair: tuple[int, int], like: Likeness) -> Likeness:
    """How the first of a set is like that of another, from members of them: sizes are its own, distances are theirs."""
    if ends == pair:
        return like
    first, other, own, other_own = (equal.traits[number].radius for number in (*ends, *pair))
    factor = like.factor * (other / first) / (other_own / own)
    return replace(like, factor=factor, millimetres=equal.millimetres(*ends))


def reversed_likeness(like: Likeness) -> Likeness:
    """How the reference is like the shape."""
    sizes = None if like.millimetres is None else like.millimetres[::-1]
    return replace(like, factor=1 / like.factor, millimetres=sizes)


def _strength(like: Likeness) -> tuple[int, float]:
    return CLASSES.index(like.kind), like.mean


def _add_size(kept: list[tuple[float, int]], size: float, number: int) -> None:
    if not any(_equal(size, other) for other, _ in kept):
        kept.append((size, number))


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_SIZES)


def _is_exact(id: str) -> bool:
    """Whether a model or part is of a CAD format."""
    return any(step.lower().removesuffix('.gz').endswith(_EXACT) for step in id.split('/'))
