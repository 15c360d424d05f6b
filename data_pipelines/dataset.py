"""What the data sets of all tasks share, and the reading of them: options, faults, splits, classes, a fingerprint."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from jaxret.errors import ConfigError, DataError, Problem

SPLITS = ('train', 'val', 'test')
ANY = float('inf')  # no highest value


class Entry(Protocol):
    """A photo, object or scan: `name` is unique in its data set."""

    name: str
    split: str
    category: str


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What a folder holds after filters and checks.

    Attributes:
      root: the folder, links resolved.
      categories: names of the classes; a label is an index into them.
      skipped: what was left out, and why.
      required_splits: splits that must not become empty.
      fingerprint: changes with the folder, the options, and any file used.
    """

    root: Path
    categories: tuple[str, ...]
    skipped: tuple[Problem, ...]
    required_splits: tuple[str, ...]
    fingerprint: str

    def labels(self, entries: Iterable[Entry]) -> np.ndarray:
        """Labels of some entries: int32 [n]."""
        label = {name: index for index, name in enumerate(self.categories)}
        return np.array([label[entry.category] for entry in entries], np.int32)

    def without(self, names: Collection[str], problems: Sequence[Problem]) -> Self:
        """The data set less some entries, given by name, and less what cannot be used without them.

        Labels stay what they were: `categories` is unchanged.

        Raises:
          DataError: with `problems`, if too little is left.
        """
        raise NotImplementedError


@dataclass
class Faults:
    """What is wrong with a data set, collected while it is read, so that all of it is told at once.

    Attributes:
      skip: whether what is wrong with single files leaves them out (on_bad_file='skip') or refuses the data set.
      problems: what refuses the data set.
      skipped: what is left out.
    """

    skip: bool
    problems: list[Problem] = field(default_factory=list)
    skipped: list[Problem] = field(default_factory=list)

    def of_files(self, problems: Iterable[Problem]) -> None:
        """Adds what is wrong with files that may be left out."""
        (self.skipped if self.skip else self.problems).extend(problems)

    def refuse(self) -> None:
        """Raises DataError with everything, if anything refuses the data set."""
        if self.problems:
            raise DataError(self.problems + self.skipped)


def check_options(**options: tuple[Any, bool, str]) -> None:
    """Raises ConfigError for the first option that is not valid: name=(value, whether it is valid, what to use)."""
    for name, (value, valid, wanted) in options.items():
        if not valid:
            raise ConfigError(f'{name}={value!r}: use {wanted}')


def one_of(value: str, *choices: str) -> tuple[str, bool, str]:
    """For `check_options`: a choice."""
    return value, value in choices, f'one of {", ".join(choices)}'


def bad_file_choice(value: str) -> tuple[str, bool, str]:
    """For `check_options`: on_bad_file."""
    return one_of(value, 'error', 'skip')


def share(value: float) -> tuple[float, bool, str]:
    """For `check_options`: a share of the entries."""
    return value, 0 <= value < 1, 'a share in [0, 1)'


def check_ranges(**ranges: tuple[int | None, int, float]) -> None:
    """Raises ConfigError for a value that is not within lowest .. highest: name=(value, lowest, highest).

    None, where a function chooses a value itself, is within every range.
    """
    for name, (value, lowest, highest) in ranges.items():
        if value is not None and not lowest <= value <= highest:
            wanted = f'{lowest} or more' if highest == ANY else f'{lowest} to {highest}'
            raise ConfigError(f'the sample needs {name} of {wanted}, not {value}')


def of_split(entries: Iterable[Entry], split: str) -> tuple:
    """The entries of one split."""
    return tuple(entry for entry in entries if entry.split == split)


def split_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Split of every entry by its name, to be stored with a run (JSON)."""
    return {entry.name: entry.split for entry in entries}


def empty_splits(
    entries: Iterable[Entry],
    required: Sequence[str],
    where: Path | str,
    *,
    kind: str,
    action: str,
    actions: Mapping[str, str] | None = None,
) -> list[Problem]:
    """A problem for each required split without entries.

    Args:
      entries: all of them.
      required: the splits.
      where: for the message.
      kind: what the entries are: 'photos', ...
      action: what to do.
      actions: other advice for some splits.
    """
    present = {entry.split for entry in entries}
    return [
        Problem(str(where), f'no {kind} in split {split}', (actions or {}).get(split, action))
        for split in required
        if split not in present
    ]


def unknown_names(wanted: Iterable[str], present: Iterable[str], where: Path | str, what: str) -> list[Problem]:
    """A problem for each wanted class that is not present; `what` is missing: 'category', 'objects of class', ..."""
    there = sorted(set(present))
    action = f'choose from: {", ".join(there) or "none"}'
    return [Problem(str(where), f'no {what} {name!r}', action) for name in wanted if name not in there]


def all_problems(bad: Mapping[Any, Iterable[Problem]]) -> list[Problem]:
    """The problems of all entries, one after the other."""
    return [problem for found in bad.values() for problem in found]


def fingerprint(*content: Any) -> str:
    """Hash of JSON values."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
