"""What a run was started on, `split.json` of its work directory."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Self

from jaxret.errors import CheckpointError
from jaxret.files import write_atomically


class StoredSplit:
    """A dataclass that is stored as `split.json` of a work directory."""

    LACK: ClassVar[str] = 'the classes of the run are unknown'  # what follows from its loss

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Raises CheckpointError where it is missing or damaged."""
        path = folder / 'split.json'
        try:
            stored = cls(**json.loads(path.read_text()))
            stored.check()
            return stored
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f'{path}: missing or damaged ({error}), and without it {cls.LACK}; name another --workdir'
            ) from error

    def write(self, folder: Path) -> None:
        """Writes `split.json`."""
        write_atomically(folder / 'split.json', json.dumps(asdict(self)) + '\n')

    def check(self) -> None:
        """Raises ValueError, TypeError or AttributeError for values that a run does not store."""


@dataclass(frozen=True)
class RunSplit(StoredSplit):
    """What a run was trained on: split and shape of every photo, by its name; names of the gallery."""

    split: dict[str, str]
    shape: dict[str, str]
    gallery: list[str]

    LACK: ClassVar[str] = 'photos of the training cannot be told from test photos'

    def check(self) -> None:
        """See `StoredSplit`."""
        if self.split.keys() != self.shape.keys() or not {*self.split.values()} <= {'train', 'val', 'test'}:
            raise ValueError('photos without a shape or with an unknown split')

    def count(self, split: str) -> int:
        """Number of photos in a split."""
        return list(self.split.values()).count(split)

    def check_same(self, now: 'RunSplit', folder: Path) -> None:
        """Raises CheckpointError, with names, where the photos or shapes of a run are not what it was started on."""
        lines = []
        for kind, before, after in (('photos', self.shape, now.shape), ('shapes', self.gallery, now.gallery)):
            for change, names in (('added', set(after) - set(before)), ('removed', set(before) - set(after))):
                if names:
                    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
                    lines.append(f'{len(names)} {kind} {change}: {", ".join(sorted(names)[:5])}{more}')
        moved = sorted(photo for photo in self.shape.keys() & now.shape if self.shape[photo] != now.shape[photo])
        if moved:
            lines.append(f'{len(moved)} photos of another shape: {", ".join(moved[:5])}')
        if lines:
            raise CheckpointError(
                f'{folder} was started on other data:\n  '
                + '\n  '.join(lines)
                + '\nrestore the data to resume, or name another --workdir'
            )


@dataclass(frozen=True)
class RunObjects(StoredSplit):
    """What a run was started on: its classes in the order of labels, and the split of every object."""

    categories: list[str]
    split: dict[str, str]

    def check(self) -> None:
        """See `StoredSplit`."""
        _check_names(self.categories, self.split)


@dataclass(frozen=True)
class RunDomains(StoredSplit):
    """What a run was started on: classes in the order of labels, split of every photo and shape."""

    categories: list[str]
    photos: dict[str, str]
    shapes: dict[str, str]

    def check(self) -> None:
        """See `StoredSplit`."""
        _check_names(self.categories, [*self.photos, *self.shapes])


def _check_names(categories: list[str], names: Iterable[str]) -> None:
    if not categories or not all(isinstance(name, str) for name in [*categories, *names]):
        raise ValueError('no classes, or names that are no text')
