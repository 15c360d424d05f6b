"""What a checked data set of photos and shapes holds: the queries, the gallery, and what was left out."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxret.errors import DataError, Problem


@dataclass(frozen=True)
class PhotoEntry:
    """One photo: name (its path in the data set), files, category, model (name of its shape), split, bbox in pixels."""

    name: str
    image: Path
    mask: Path
    category: str
    model: str
    split: str
    bbox: tuple[float, float, float, float] | None


@dataclass(frozen=True)
class ShapeEntry:
    """One gallery shape: model (its name: path below the folder with '/', or '<synset>/<id>'), file, category."""

    model: str
    path: Path
    category: str


@dataclass(frozen=True)
class PhotoDataset:
    """What a folder holds after filters and checks.

    Attributes:
      root: the folder, links resolved.
      photos: the queries, sorted by name.
      shapes: the gallery, sorted by name.
      categories: of photos and shapes, sorted.
      skipped: what was left out with on_bad_file='skip', and why.
      required_splits: splits that must not become empty.
      up_axis: axis that points up in the mesh files.
      fingerprint: changes with the folder, the options, and any file used.
    """

    root: Path
    photos: tuple[PhotoEntry, ...]
    shapes: tuple[ShapeEntry, ...]
    categories: tuple[str, ...]
    skipped: tuple[Problem, ...]
    required_splits: tuple[str, ...]
    up_axis: str
    fingerprint: str

    def split_table(self) -> dict[str, str]:
        """Split of every photo by its name, to be stored with a run (JSON) and given back to the reader."""
        return {photo.name: photo.split for photo in self.photos}

    def split_photos(self, split: str) -> tuple[PhotoEntry, ...]:
        """The photos of one split."""
        return tuple(photo for photo in self.photos if photo.split == split)

    def without(self, names: set[str], problems: Sequence[Problem]) -> 'PhotoDataset':
        """The layout less some photos and shapes, given by name, and less the photos of those shapes.

        Raises:
          DataError: with `problems`, if no shape or a required split is empty then.
        """
        shapes = tuple(shape for shape in self.shapes if shape.model not in names)
        photos = tuple(photo for photo in self.photos if photo.name not in names and photo.model not in names)
        orphans = [photo for photo in self.photos if photo.model in names and photo.name not in names]
        skipped = (*problems, *(orphan(photo.name, photo.model) for photo in orphans))
        empty = empty_splits(photos, self.required_splits, str(self.root))
        if empty or not shapes:
            raise DataError([*skipped, *empty])
        return dataclasses.replace(self, photos=photos, shapes=shapes, skipped=self.skipped + skipped)


def orphan(name: str, model: str) -> Problem:
    """Problem of a photo whose shape is left out."""
    return Problem(name, f'its shape {model} cannot be used', 'left out with its shape')


def empty_splits(photos: Sequence[PhotoEntry], required: Sequence[str], where: str) -> list[Problem]:
    """A problem for each required split that has no photos."""
    counts = Counter(photo.split for photo in photos)
    widen = 'widen the filters (categories, occluded, truncated), or correct the key split'
    hold_out = 'raise val_fraction, add train photos of shapes that have only one, or mark photos with split val'
    return [
        Problem(where, f'no photos in split {split}', hold_out if split == 'val' and counts['train'] else widen)
        for split in required
        if counts[split] == 0
    ]
