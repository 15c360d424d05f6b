"""What a checked data set of two domains holds: labelled photos, and shapes whose labels are for evaluation only."""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_pipelines.dataset import Dataset, of_split, split_of
from jaxret.errors import DataError, Problem


@dataclass(frozen=True)
class PhotoFile:
    """One labelled photo: name (path below the folder), file, category, split ('train', 'val' or 'test')."""

    name: str
    path: Path
    category: str
    split: str


@dataclass(frozen=True)
class ShapeFiles:
    """One shape, given as pictures or as a mesh.

    Attributes:
      name: unique; path below the folder.
      key: its file's or folder's own name, which does not tell the folder of its class.
      category: its class; no training record or batch knows it.
      split: 'train' or 'test'.
      views: files of its pictures, in their order; empty where there is a mesh.
      mesh: mesh file, or None.
    """

    name: str
    key: str
    category: str
    split: str
    views: tuple[Path, ...] = ()
    mesh: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files."""
        return self.views if self.mesh is None else (self.mesh,)


@dataclass(frozen=True, kw_only=True)
class DomainDataset(Dataset):
    """What a data set holds after filters and checks; see `Dataset`. Every class has photos and gallery shapes.

    Attributes:
      photos: sorted by name.
      shapes: in an order that does not depend on their classes.
      train_shapes: which shapes may be used, unlabelled, in training: 'train' or 'all'.
      gallery: which shapes are searched: 'test' or 'all'.
      rendered: shapes are meshes, of which views are rendered.
      views: pictures a shape V where they are read from files; 0 where they are rendered.
      channels: 1 if all those pictures are grey, else 3.
      up_axis: axis that points up in the mesh files.
    """

    photos: tuple[PhotoFile, ...]
    shapes: tuple[ShapeFiles, ...]
    train_shapes: str
    gallery: str
    rendered: bool
    views: int
    channels: int
    up_axis: str

    def split_photos(self, split: str) -> tuple[PhotoFile, ...]:
        """The photos of one split."""
        return of_split(self.photos, split)

    def part_shapes(self, part: str) -> tuple[ShapeFiles, ...]:
        """The shapes of training ('train') or of the gallery ('gallery')."""
        wanted = {'train': self.train_shapes, 'gallery': self.gallery}[part]
        return tuple(shape for shape in self.shapes if wanted in ('all', shape.split))

    def split_table(self) -> dict[str, dict[str, str]]:
        """Split of every photo and shape by its name, to be stored with a run (JSON)."""
        return {'photos': split_of(self.photos), 'shapes': split_of(self.shapes)}

    def without(self, names: Collection[str], problems: Sequence[Problem]) -> 'DomainDataset':
        """The data set less some photos and shapes, and less the classes that one domain lacks then.

        Labels stay what they were: `categories` is unchanged.

        Raises:
          DataError: with `problems`, if a required part is empty then.
        """
        photos, shapes, gone = matched(
            [photo for photo in self.photos if photo.name not in names],
            [shape for shape in self.shapes if shape.name not in names],
            required=self.required_splits,
            gallery=self.gallery,
            where=self.root,
        )
        skipped = (*problems, *gone)
        parts = {'required': self.required_splits, 'train_shapes': self.train_shapes}
        empty = empty_parts(photos, shapes, where=self.root, **parts)
        if empty:
            raise DataError([*skipped, *empty])
        return dataclasses.replace(
            self, photos=tuple(photos), shapes=tuple(shapes), skipped=self.skipped + tuple(skipped)
        )


def matched(
    photos: Iterable[PhotoFile], shapes: Iterable[ShapeFiles], *, required: Sequence[str], gallery: str, where: Path
) -> tuple[list[PhotoFile], list[ShapeFiles], list[Problem]]:
    """What belongs to a class of both domains: one with training photos (if any are required), test photos and gallery
    shapes. A class needs no training shapes: which of those it has is a label of the target.

    Args:
      photos: of all classes.
      shapes: of all classes.
      required: splits that are used.
      gallery: 'test' or 'all'.
      where: for the message.

    Returns:
      the photos and shapes of such classes, and a problem for each other class.
    """
    photos, shapes = list(photos), list(shapes)
    of_photos = {(photo.category, photo.split) for photo in photos}
    of_gallery = {shape.category for shape in shapes if gallery in ('all', shape.split)}
    any_photo, any_shape = {photo.category for photo in photos}, {shape.category for shape in shapes}

    def lacks(category: str) -> list[str]:
        if category not in any_photo & any_shape:
            return ['shape' if category in any_photo else 'photo']
        lacking = [f'{split} photo' for split in required if (category, split) not in of_photos]
        return lacking + ([] if category in of_gallery else ['gallery shape'])

    lacking = {category: lacks(category) for category in sorted(any_photo | any_shape)}
    action = 'left out; add some, or name the classes to use (data.classes)'
    problems = [
        Problem(str(where), f'class {category!r} has no {" and no ".join(kinds)}', action)
        for category, kinds in lacking.items()
        if kinds
    ]
    photos = [photo for photo in photos if not lacking[photo.category]]
    return photos, [shape for shape in shapes if not lacking[shape.category]], problems


def empty_parts(
    photos: Sequence[PhotoFile],
    shapes: Sequence[ShapeFiles],
    *,
    required: Sequence[str],
    train_shapes: str,
    where: Path,
) -> list[Problem]:
    """A problem for each part that a run needs and that is empty."""
    if not photos or not shapes:
        return [Problem(str(where), 'no class has both photos and shapes', 'give both domains the same class names')]
    if 'train' in required and not any(train_shapes in ('all', shape.split) for shape in shapes):
        return [Problem(str(where), 'no shapes to train on', 'add some, or use data.train_shapes=all')]
    return []
