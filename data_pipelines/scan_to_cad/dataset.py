"""What a checked folder of scans and CAD models holds: pairs, gallery, annotations, and what was left out."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxret.errors import DataError, Problem

# Categories of the public benchmark by their ShapeNet synset, and the lamp, which it counts as other.
CATEGORY_NAMES = {
    '02747177': 'bin', '02808440': 'bathtub', '02818832': 'bed', '02871439': 'bookshelf', '02933112': 'cabinet',
    '03001627': 'chair', '03211117': 'display', '03337140': 'file cabinet', '03636649': 'lamp', '04256520': 'sofa',
    '04379243': 'table',
}  # fmt: skip


@dataclass(frozen=True)
class ScanEntry:
    """A scan with its mask and the CAD model in the scan's pose; `model` is '<synset>_<id>'."""

    name: str
    split: str
    synset: str
    model: str
    scan: Path
    mask: Path
    cad: Path


@dataclass(frozen=True)
class CadEntry:
    """A CAD model of the gallery: its name '<synset>_<id>', synset and grid."""

    model: str
    synset: str
    path: Path


@dataclass(frozen=True)
class Annotation:
    """A scan, its pool of CAD models, and the ranked ones, best first. A model of the pool that is missing is None."""

    scan: str
    pool: tuple[str | None, ...]
    ranked: tuple[str, ...]


@dataclass(frozen=True)
class ScanCadDataset:
    """What a folder holds after checks.

    Attributes:
      root: the folder, links resolved.
      scans: sorted by name.
      cads: the gallery, one grid for every model of scans and pools, sorted by name.
      annotations: in the file's order.
      categories: synsets of scans and gallery, sorted; a label is an index into them.
      skipped: what was left out with on_bad_file='skip', and why.
      required_splits: splits that must not become empty.
      resolution: voxels along each side.
      fingerprint: changes with the folder, the options, and any file used.
    """

    root: Path
    scans: tuple[ScanEntry, ...]
    cads: tuple[CadEntry, ...]
    annotations: tuple[Annotation, ...]
    categories: tuple[str, ...]
    skipped: tuple[Problem, ...]
    required_splits: tuple[str, ...]
    resolution: int
    fingerprint: str

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the categories for people; the synset itself where it is not one of the benchmark's."""
        return tuple(CATEGORY_NAMES.get(synset, synset) for synset in self.categories)

    def split_scans(self, split: str) -> tuple[ScanEntry, ...]:
        """The scans of one split."""
        return tuple(entry for entry in self.scans if entry.split == split)

    def split_table(self) -> dict[str, str]:
        """Split of every scan by its name, to be stored with a run (JSON)."""
        return {entry.name: entry.split for entry in self.scans}

    def without(self, names: Collection[str], problems: Sequence[Problem]) -> 'ScanCadDataset':
        """The layout less some scans and their annotations. Gallery and labels stay what they were.

        Raises:
          DataError: with `problems`, if a required split is empty then.
        """
        scans = tuple(entry for entry in self.scans if entry.name not in names)
        empty = empty_splits(scans, self.required_splits, self.root)
        if empty:
            raise DataError([*problems, *empty])
        annotations = tuple(entry for entry in self.annotations if entry.scan not in names)
        skipped = (*self.skipped, *problems)
        return dataclasses.replace(self, scans=scans, annotations=annotations, skipped=skipped)


def empty_splits(scans: Sequence[ScanEntry], required: Sequence[str], where: Path) -> list[Problem]:
    """A problem for each required split without scans."""
    present = {entry.split for entry in scans}
    action = 'name a pair list that has some'
    return [Problem(str(where), f'no scans in split {split}', action) for split in required if split not in present]
