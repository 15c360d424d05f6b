"""What a run was started on, `split.json` of its work directory: one dataclass a kind of data, one way to keep them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from jaxret.errors import CheckpointError
from jaxret.files import read_json, write_atomically

FILE = 'split.json'
SPLITS = {'train', 'val', 'test'}
_NAMED = 5  # names that a message gives


@dataclass(frozen=True)
class RunSplit:
    """What the splits of all kinds can do. Fields are lists of names, or {name: split or other fact}."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The split of a work directory.

        Raises:
          CheckpointError: it is missing or damaged.
        """
        path = folder / FILE
        try:
            stored = cls(**read_json(path))
            stored.check()
            return stored
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f'{path}: missing or damaged ({error}), and without it what the run was trained on is unknown; name '
                f'another --workdir'
            ) from error

    def check(self) -> None:
        """Raises ValueError for content that no run writes."""
        for field in fields(self):
            content = getattr(self, field.name)
            wanted = list if field.type is list or str(field.type).startswith('list') else dict
            if not isinstance(content, wanted) or not all(
                isinstance(name, str) for name in (*content, *(content.values() if wanted is dict else ()))
            ):
                raise ValueError(f'no names under {field.name!r}')

    def write(self, folder: Path) -> None:
        """Writes `split.json`."""
        write_atomically(folder / FILE, json.dumps(asdict(self)) + '\n')

    def check_same(self, now: Self, folder: Path) -> None:
        """Refuses to go on with other data.

        Raises:
          CheckpointError: what was added, removed and changed, with names.
        """
        lines = [
            line
            for field in fields(self)
            for line in _differences(field.name, getattr(self, field.name), getattr(now, field.name))
        ]
        if lines:
            raise CheckpointError(
                f'{folder} was started on other data:\n  '
                + '\n  '.join(lines)
                + '\nrestore the data to resume, or name another --workdir'
            )


@dataclass(frozen=True)
class PhotoSplit(RunSplit):
    """Of photos and shapes: split and shape of every photo, by its name; names of the gallery."""

    split: dict[str, str]
    shape: dict[str, str]
    gallery: list[str]

    def check(self) -> None:
        super().check()
        if self.split.keys() != self.shape.keys() or not {*self.split.values()} <= SPLITS:
            raise ValueError('photos without a shape or with an unknown split')


@dataclass(frozen=True)
class ObjectSplit(RunSplit):
    """Of objects or scans: classes in the order of labels, and the split of every object."""

    categories: list[str]
    split: dict[str, str]

    def check(self) -> None:
        super().check()
        if not self.categories:
            raise ValueError('no classes')


@dataclass(frozen=True)
class DomainSplit(RunSplit):
    """Of two domains: classes in the order of labels, split of every photo and of every shape."""

    categories: list[str]
    photos: dict[str, str]
    shapes: dict[str, str]

    def check(self) -> None:
        super().check()
        if not self.categories:
            raise ValueError('no classes')


def check_unseen(
    folder: Path,
    before: Mapping[str, str],
    now: Mapping[str, str],
    splits: tuple[str, ...],
    *,
    kind: str,
    seen: tuple[str, ...] = ('train',),
) -> None:
    """Refuses to measure on what a run was trained on.

    Args:
      folder: work directory of the run.
      before, now: {name: split} of the run, and of the data to measure on.
      splits: of `now` that are measured.
      kind: of what, for the message ('photos').
      seen: splits of the run that its training used.

    Raises:
      CheckpointError: such items, with names.
    """
    known = sorted(name for name, split in now.items() if split in splits and before.get(name) in seen)
    if known:
        raise CheckpointError(
            f'{folder} was trained on {len(known)} {kind} that are held out here: {_some(known)}; use the split of the '
            f'training'
        )


def _differences(field: str, before: list | dict, now: list | dict) -> list[str]:
    changes = [
        f'{len(names)} names of {field!r} {change}: {_some(names)}'
        for change, names in (('added', sorted(set(now) - set(before))), ('removed', sorted(set(before) - set(now))))
        if names
    ]
    if changes or before == now:
        return changes
    if isinstance(before, list):
        return [f'names of {field!r} in another order']
    return [
        f'{len(names)} names of {field!r} changed: {_some(names)}'
        for names in [sorted(name for name in before if before[name] != now[name])]
    ]


def _some(names: list[str]) -> str:
    more = f' and {len(names) - _NAMED} more' if len(names) > _NAMED else ''
    return f'{", ".join(names[:_NAMED])}{more}'
