"""Work shared among threads; NumPy and JAX release Python's lock where they compute."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jaxret.workers import default_processes as threads


def spread(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """What a function returns for each item, in order; a thread a core, and none for a single item."""
    items = list(items)
    count = min(len(items), threads())
    if count < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, items))
