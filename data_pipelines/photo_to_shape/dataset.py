"""What a checked data set of photos and shapes holds: the queries, the gallery, and what was left out."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines import dataset
from data_pipelines.dataset import Dataset, Faults, all_problems, fingerprint, of_split, split_of
from data_pipelines.file_checks import PairFacts, Wrong, signature, wrong_ones
from data_pipelines.folders import open_folder
from jaxret.errors import DataError, Problem

# Masks: files, silhouettes of the true shape in its annotated pose, the whole photo.
MASKS = FILES, POSE, FRAME = ('files', 'pose', 'frame')
_NO_OBJECT = 'no object pixels'
_NO_OBJECT_ACTION = 'mend the mask, use on_bad_file=skip, or use no masks: crop=none and model.mask=none'


@dataclass(frozen=True)
class PhotoEntry:
    """One photo: name (its path in the data set), files, category, model (name of its shape), split, bbox.

    The bbox is in pixels of the photo as displayed.
    """

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


@dataclass(frozen=True, kw_only=True)
class PhotoDataset(Dataset):
    """What a folder holds after filters and checks; see `Dataset`.

    Attributes:
      photos: the queries, sorted by name.
      shapes: the gallery, sorted by name.
      up_axis: axis that points up in the mesh files.
      masks: what the masks of the photos in train and val, and of those in test, are; each one of `MASKS`.
      unsure: names of the photos whose masks could also be meant for their pixels as stored (EXIF).
    """

    photos: tuple[PhotoEntry, ...]
    shapes: tuple[ShapeEntry, ...]
    up_axis: str
    masks: tuple[str, str] = (FILES, FILES)
    unsure: tuple[str, ...] = ()

    def split_table(self) -> dict[str, str]:
        """Split of every photo by its name, to be stored with a run (JSON) and given back to the reader."""
        return split_of(self.photos)

    def split_photos(self, split: str) -> tuple[PhotoEntry, ...]:
        """The photos of one split."""
        return of_split(self.photos, split)

    def without(self, names: Collection[str], problems: Sequence[Problem]) -> 'PhotoDataset':
        """The data set less some photos and shapes, given by name, and less the photos of those shapes.

        Raises:
          DataError: with `problems`, if no shape or a required split is empty then.
        """
        photos, shapes, orphans = _left(self.photos, self.shapes, names)
        skipped = (*problems, *orphans)
        empty = empty_splits(photos, self.required_splits, self.root)
        if empty or not shapes:
            raise DataError([*skipped, *empty])
        return dataclasses.replace(
            self, photos=tuple(photos), shapes=tuple(shapes), skipped=self.skipped + tuple(skipped)
        )


def without_bad(
    photos: Sequence[PhotoEntry], shapes: Sequence[ShapeEntry], bad: Mapping[str, Wrong], faults: Faults
) -> tuple[list[PhotoEntry], list[ShapeEntry]]:
    """Photos and shapes in use: all, or without the bad ones and the photos of bad shapes where `faults` skips them.

    Args:
      photos: of the data set.
      shapes: of the data set.
      bad: what is wrong, by name of photo or shape; added to `faults`.
      faults: of the data set.
    """
    faults.of_files(all_problems(bad))
    if not faults.skip:
        return list(photos), list(shapes)
    photos, shapes, orphans = _left(photos, shapes, bad)
    faults.of_files(orphans)
    return photos, shapes


def bad_pairs(
    names: Sequence[str], masks: Sequence[Path], found: Sequence[PairFacts | Wrong], *, empty_masks: bool
) -> dict[str, Wrong]:
    """What is wrong with photos and masks, by the photo's name.

    Args:
      names: of the photos.
      masks: their files.
      found: what was found in each pair.
      empty_masks: whether a mask may be empty.
    """
    bad = wrong_ones(names, found)
    for name, mask, facts in zip(names, masks, found, strict=True):
        if name not in bad and facts[2] is None and not empty_masks:
            bad[name] = (Problem(str(mask), _NO_OBJECT, _NO_OBJECT_ACTION),)
    return bad


def photo_dataset(
    root: Path,
    photos: Sequence[PhotoEntry],
    shapes: Sequence[ShapeEntry],
    faults: Faults,
    *,
    required_splits: Sequence[str] = (),
    up_axis: str = 'y',
    masks: tuple[str, str] = (FILES, FILES),
    unsure: Collection[str] = (),
) -> PhotoDataset:
    """The data set of what is in use; `unsure` as there, of all. Raises DataError where something refuses it."""
    faults.refuse()
    photos = sorted(photos, key=lambda photo: photo.name)
    shapes = sorted(shapes, key=lambda shape: shape.model)
    rows = [
        (photo.name, photo.category, photo.model, photo.split, photo.bbox, str(photo.mask), signature(photo.image),
         signature(photo.mask))
        for photo in photos
    ]  # fmt: skip
    files = [(shape.model, shape.category, str(shape.path), signature(shape.path)) for shape in shapes]
    return PhotoDataset(
        root=root,
        photos=tuple(photos),
        shapes=tuple(shapes),
        categories=tuple(sorted({item.category for item in (*photos, *shapes)})),
        skipped=tuple(faults.skipped),
        required_splits=tuple(required_splits),
        up_axis=up_axis,
        masks=masks,
        unsure=tuple(photo.name for photo in photos if photo.name in unsure),
        fingerprint=fingerprint(str(root), up_axis, rows, files),
    )


def open_masks(root: Path, mask_dir: str) -> Path:
    """A folder of other masks than the data's own, links resolved.

    Args:
      root: the data's folder.
      mask_dir: below it, or an absolute path.

    Raises:
      DataError: it is no folder.
    """
    return open_folder(root / mask_dir, layout='which masks are named as below mask/', key='data.mask_dir')


def divided(photos: Sequence[PhotoEntry], split: Mapping[str, str]) -> list[PhotoEntry]:
    """The photos with the splits that a table gives them by name, where it does."""
    return [dataclasses.replace(photo, split=split.get(photo.name, photo.split)) for photo in photos]


def few_shapes(shapes: Sequence[ShapeEntry], least: int, where: Path, action: str) -> list[Problem]:
    """A problem if there are fewer than `least` shapes, or none."""
    if len(shapes) >= max(1, least):
        return []
    return [Problem(str(where), f'{len(shapes)} usable shapes where {max(1, least)} are needed', action)]


def empty_splits(photos: Sequence[PhotoEntry], required: Sequence[str], where: Path) -> list[Problem]:
    """A problem for each required split that has no photos."""
    hold_out = (
        'raise val_fraction, add train photos of shapes that have only one, mark photos with split val, or use '
        'select=last, which needs none'
    )
    return dataset.empty_splits(
        photos,
        required,
        where,
        kind='photos',
        action='widen the filters (categories, occluded, truncated), or correct the key split',
        actions={'val': hold_out} if any(photo.split == 'train' for photo in photos) else None,
    )


def count_note(found: Mapping[str, int], paper: Mapping[str, int]) -> str | None:
    """Counts beside those of the CMIC paper, where they differ."""
    pairs = ', '.join(f'{key} {found[key]} ({paper[key]})' for key in paper)
    return None if found == paper else f'counts here (in the CMIC paper): {pairs}'


def _left(
    photos: Sequence[PhotoEntry], shapes: Sequence[ShapeEntry], gone: Collection[str]
) -> tuple[list[PhotoEntry], list[ShapeEntry], list[Problem]]:
    """Photos and shapes without some, and the problems of photos that go with their shape."""
    orphans = [
        Problem(photo.name, f'its shape {photo.model} cannot be used', 'left out with its shape')
        for photo in photos
        if photo.model in gone and photo.name not in gone
    ]
    photos = [photo for photo in photos if photo.name not in gone and photo.model not in gone]
    return photos, [shape for shape in shapes if shape.model not in gone], orphans
