"""Which items of one part of a data set are, byte for byte, in another part."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, runtime_checkable

TOLERATED = 1000  # one repeated item in so many moves a score by no more than 0.1 points, and large public sets have a few


class Shared(NamedTuple):
    """A row of one part and the first row of another that holds the same."""

    row: int
    other: int


@runtime_checkable
class Comparable(Protocol):
    """What a reader gives for a split, where its items can be told apart by their bytes."""

    def __len__(self) -> int: ...

    def file_sizes(self, row: int) -> object:
        """What items of equal content have in common and is told without reading them."""

    def content(self, row: int) -> object:
        """What a network sees of an item, or a digest of that: neither its truth nor its name."""

    def is_constant(self, row: int) -> bool:
        """Whether an item is the same everywhere, as of a sensor that was off: it tells nothing, and any part may have some."""

    def item_name(self, row: int) -> str:
        """What messages call an item."""


def shared(found: Comparable, others: Comparable) -> list[Shared]:
    """The rows of `found` whose content is in `others` as well and not constant. Only items of equal sizes are read."""
    sizes = [others.file_sizes(row) for row in range(len(others))]
    own = [found.file_sizes(row) for row in range(len(found))]
    both = set(own) & set(sizes)
    with ThreadPoolExecutor(os.cpu_count()) as threads:

        def contents(items: Comparable, rows: list[int]) -> list[tuple[int, Any]]:
            return list(zip(rows, threads.map(items.content, rows), strict=True))

        known: dict[Any, int] = {}
        for row, content in contents(others, [row for row, size in enumerate(sizes) if size in both]):
            known.setdefault(content, row)
        mine = contents(found, [row for row, size in enumerate(own) if size in both])
    return [Shared(row, known[content]) for row, content in mine if content in known and not found.is_constant(row)]
