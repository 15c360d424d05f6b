"""The errors a user can meet: one family, each message says where, what was found and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass


class JaxretError(Exception):
    """Base of every error that jaxret raises on purpose."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the user's input.

    Attributes:
      where: file path, or file and key ('pix3d.json[12].mask').
      found: what was found there.
      action: what to do about it.
    """

    where: str
    found: str
    action: str

    def __str__(self) -> str:
        text = f'{self.where}: {self.found}; {self.action}'
        return text.encode(errors='backslashreplace').decode()  # so that names that are not UTF-8 can be printed


class DataError(JaxretError):
    """Input files cannot be used. Carries every `Problem` found, not only the first.

    Args:
      problems: one problem or several.
      shown: how many of them the message spells out.
    """

    def __init__(self, problems: Problem | Sequence[Problem], *, shown: int = 50):
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        lines = [str(problem) for problem in self.problems[:shown]]
        if len(self.problems) > shown:
            lines.append(f'... and {len(self.problems) - shown} more')
        several = f'{len(self.problems)} problems:\n  ' if len(self.problems) > 1 else ''
        super().__init__(several + '\n  '.join(lines))

    def __reduce__(self):  # exceptions cross process boundaries when meshes are rendered in parallel
        return type(self), (self.problems,)


class ConfigError(JaxretError):
    """A config name, preset, key or value is not valid.

    Args:
      message: what is wrong; with `name` what follows it.
      name: of the value, for callers that know it by a longer one.
    """

    def __init__(self, message: str, *, name: str = ''):
        super().__init__(f'{name} {message}' if name else message)
        self.message, self.name = message, name


class CheckpointError(JaxretError):
    """A checkpoint or work directory is missing, or does not fit the config."""


class StorageError(JaxretError):
    """A folder cannot be written, or the disk is full."""


class NonFiniteError(JaxretError):
    """The training loss became NaN or infinite."""


class ProcessError(JaxretError):
    """The processes of a run on several hosts did not find each other, or one was lost."""


def refused(where: str, found: str, action: str) -> DataError:
    """A `DataError` with one problem."""
    return DataError(Problem(where, found, action))
