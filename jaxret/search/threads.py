"""Work shared among threads; NumPy and JAX release Python's lock where they compute."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any

import numpy as np

from jaxret.workers import default_processes as threads


def spread(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What a function returns for each item, in order; a thread a core, and none for a single item."""
    items = list(items)
    count = min(len(items), threads())
    if count < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, items))


def in_parts(function: Callable[[np.ndarray], np.ndarray], most: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function [N] -> [N] as one that gives it at most so many entries at a time."""
    return lambda entries: np.concatenate(
        [function(entries[start : start + most]) for start in range(0, max(1, len(entries)), most)]
    )


def begin(function: Callable[[], Any]) -> Future:
    """What a function will return, or raise; it runs beside what follows, and ends with the process."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future
