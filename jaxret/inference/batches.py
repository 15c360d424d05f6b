"""Sizes of batches that cover any number of items and are compiled once."""

from collections.abc import Iterator

_SMALL = (1, 8)  # for which programs are compiled, besides the largest


def padded_batches(total: int, largest: int) -> Iterator[tuple[int, int, int]]:
    """(first, items, size of the batch) that cover all items; a batch may be padded."""
    sizes = (*(size for size in _SMALL if size < largest), largest)
    first = 0
    while first < total:
        size = next((size for size in sizes if size >= total - first), largest)
        yield first, min(size, total - first), size
        first += size
