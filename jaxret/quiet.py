"""Warnings of libraries kept quiet, by several threads at once."""

import threading
import warnings
from types import TracebackType


class Quiet:
    """A context in which warnings are ignored, in every thread as long as one is within.

    `warnings.catch_warnings` alone puts back what another thread has set, so that filters are lost or stay.
    """

    def __init__(self) -> None:
        self._lock, self._within = threading.Lock(), 0
        self._filters: warnings.catch_warnings | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._within += 1
            if self._within == 1:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter('ignore')

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._filters.__exit__(kind, error, traceback)


QUIET = Quiet()
