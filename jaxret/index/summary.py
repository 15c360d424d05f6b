"""What a run of `jaxret index` did."""

from dataclasses import dataclass, field
from pathlib import Path

from jaxret.errors import Problem
from jaxret.index.files import FAILED, OVERVIEW


@dataclass(frozen=True)
class Summary:
    """What a run did.

    Attributes:
      shapes: in the index now.
      embedded: read and embedded.
      kept: taken as they were (also from a run that was killed).
      removed: no longer in the index.
      failed: files that cannot be used, with the reasons.
      without_file: lines of the CSV files of categories that name no model.
      references: known photos of these shapes.
      without_model: known photos of models that the index does not have; they count again when it has.
      axes: which axes point up, in words.
      doubtful: models that look as if another axis pointed up.
      rate: models embedded a second, from reading them to their shards; None where none was.
    """

    shapes: int
    embedded: int
    kept: int
    removed: int
    failed: tuple[Problem, ...]
    without_file: int
    references: int = 0
    without_model: int = 0
    axes: str = ''
    doubtful: int = 0
    rate: float | None = field(default=None, compare=False)

    def told(self, folder: Path) -> str:
        """One line for people, of an index in this folder."""
        parts = [f'{self.shapes} shapes: {self.embedded} embedded, {self.kept} as before']
        parts += [f'{self.removed} removed'] if self.removed else []
        parts += (
            [f'{len(self.failed)} file{"s" * (len(self.failed) != 1)} failed (see {folder / FAILED})']
            if self.failed
            else []
        )
        parts += [f'{self.without_file} lines of the categories name no model'] if self.without_file else []
        gone = f' ({self.without_model} more of models that are gone)' if self.without_model else ''
        parts += [f'{self.references} known photos{gone}'] if self.references or gone else []
        otherwise = f', {self.doubtful} of them look otherwise' if self.doubtful else ''
        parts += [f'up axis: {self.axes}{otherwise} (see {folder / OVERVIEW})'] if self.axes else []
        parts += [f'{self.rate:.2g} models a second'] if self.rate else []
        return '; '.join(parts)
