"""What a checked data set of two domains holds: labelled photos, and shapes whose labels are for evaluation only."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class DomainDataset:
    """What a data set holds after filters and checks.

    Attributes:
      root: the folder, links resolved.
      photos: sorted by name.
      shapes: in an order that does not depend on their classes.
      categories: names of the classes; a label is an index into them.
      skipped: what was left out, and why.
      required_splits: splits that must not become empty: 'train' and 'test', or 'test' alone.
      train_shapes: which shapes may be used, unlabelled, in training: 'train' or 'all'.
      gallery: which shapes are searched: 'test' or 'all'.
      rendered: shapes are meshes, of which views are rendered.
      views: pictures a shape V where they are read from files; 0 where they are rendered.
      channels: 1 if all those pictures are grey, else 3.
      up_axis: axis that points up in the mesh files.
      fingerprint: changes with the folder, the options, and any file used.
    """

    root: Path
    photos: tuple[PhotoFile, ...]
    shapes: tuple[ShapeFiles, ...]
    categories: tuple[str, ...]
    skipped: tuple[Problem, ...]
    required_splits: tuple[str, ...]
    train_shapes: str
    gallery: str
    rendered: bool
    views: int
    channels: int
    up_axis: str
    fingerprint: str

    def split_photos(self, split: str) -> tuple[PhotoFile, ...]:
        """The photos of one split."""
        return tuple(photo for photo in self.photos if photo.split == split)

    def part_shapes(self, part: str) -> tuple[ShapeFiles, ...]:
        """The shapes of training ('train') or of the gallery ('gallery')."""
        wanted = {'train': self.train_shapes, 'gallery': self.gallery}[part]
        return tuple(shape for shape in self.shapes if wanted in ('all', shape.split))

    def split_table(self) -> dict[str, dict[str, str]]:
        """Split of every photo and shape by its name, to be stored with a run (JSON)."""
        return {
            'photos': {photo.name: photo.split for photo in self.photos},
            'shapes': {shape.name: shape.split for shape in self.shapes},
        }

    def without(self, photos: set[str], shapes: set[str], problems: Sequence[Problem]) -> 'DomainDataset':
        """The layout less some photos and shapes, and less the classes that one domain lacks then.

        Labels stay what they were: `categories` is unchanged.

        Raises:
          DataError: with `problems`, if a required part is empty then.
        """
        kept_photos = [photo for photo in self.photos if photo.name not in photos]
        kept_shapes = [shape for shape in self.shapes if shape.name not in shapes]
        kept_photos, kept_shapes, gone = matched(
            kept_photos, kept_shapes, required=self.required_splits, gallery=self.gallery, where=self.root
        )
        skipped = (*problems, *gone)
        empty = empty_parts(
            kept_photos, kept_shapes, required=self.required_splits, train_shapes=self.train_shapes, where=self.root
        )
        if empty:
            raise DataError([*skipped, *empty])
        return dataclasses.replace(
            self, photos=tuple(kept_photos), shapes=tuple(kept_shapes), skipped=self.skipped + skipped
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
    of_photos = {split: {photo.category for photo in photos if photo.split == split} for split in ('train', 'test')}
    of_gallery = {shape.category for shape in shapes if gallery in ('all', shape.split)}
    any_photo, any_shape = {photo.category for photo in photos}, {shape.category for shape in shapes}
    problems, whole = [], set()
    for category in sorted(any_photo | any_shape):
        if category not in any_photo:
            lacks = ['photo']
        elif category not in any_shape:
            lacks = ['shape']
        else:
            lacks = [f'{split} photo' for split in required if category not in of_photos[split]]
            lacks += [] if category in of_gallery else ['gallery shape']
        if lacks:
            found = f'class {category!r} has no {" and no ".join(lacks)}'
            action = 'left out; add some, or name the classes to use (data.classes)'
            problems.append(Problem(str(where), found, action))
        else:
            whole.add(category)
    kept = [photo for photo in photos if photo.category in whole]
    return kept, [shape for shape in shapes if shape.category in whole], problems


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
