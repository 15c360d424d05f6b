"""What a checked folder of scans and CAD models holds: pairs, gallery, annotations, and what was left out."""

import dataclasses
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines import dataset
from data_pipelines.dataset import Dataset, of_split, split_of
from jaxret.errors import DataError, Problem

# Categories of the public benchmark by their ShapeNet synset, and the lamp, which it counts as other.
CATEGORY_NAMES = {
    '02747177': 'bin', '02808440': 'bathtub', '02818832': 'bed', '02871439': 'bookshelf', '02933112': 'cabinet',
    '03001627': 'chair', '03211117': 'display', '03337140': 'file cabinet', '03636649': 'lamp', '04256520': 'sofa',
    '04379243': 'table',
}  # fmt: skip

PUBLISHED_COLUMNS = tuple(name for name in CATEGORY_NAMES.values() if name != 'lamp')


@dataclass(frozen=True)
class ScanEntry:
    """A scan with its mask and the CAD model in the scan's pose; `model` is '<synset>_<id>', `category` the synset."""

    name: str
    split: str
    category: str
    model: str
    scan: Path
    mask: Path
    cad: Path


@dataclass(frozen=True)
class CadEntry:
    """A CAD model of the gallery: its name '<synset>_<id>', synset (`category`) and grid."""

    model: str
    category: str
    path: Path


@dataclass(frozen=True)
class Annotation:
    """A scan, its pool of CAD models, and the ranked ones, best first. A model of the pool that is missing is None."""

    scan: str
    pool: tuple[str | None, ...]
    ranked: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ScanCadDataset(Dataset):
    """What a folder holds after checks; see `Dataset`. Categories are synsets of scans and gallery.

    Attributes:
      scans: sorted by name.
      cads: the gallery, one grid for every model of scans and pools, sorted by name.
      annotations: in the file's order.
      resolution: voxels along each side.
    """

    scans: tuple[ScanEntry, ...]
    cads: tuple[CadEntry, ...]
    annotations: tuple[Annotation, ...]
    resolution: int

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the categories for people; the synset itself where it is not one of the benchmark's."""
        return tuple(CATEGORY_NAMES.get(synset, synset) for synset in self.categories)

    def split_scans(self, split: str) -> tuple[ScanEntry, ...]:
        """The scans of one split."""
        return of_split(self.scans, split)

    def split_table(self) -> dict[str, str]:
        """Split of every scan by its name, to be stored with a run (JSON)."""
        return split_of(self.scans)

    def without(self, names: Collection[str], problems: Sequence[Problem]) -> 'ScanCadDataset':
        """The data set less some scans and their annotations. Gallery and labels stay what they were.

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
    action = 'name a pair list that has some'
    return dataset.empty_splits(scans, required, where, kind='scans', action=action)
