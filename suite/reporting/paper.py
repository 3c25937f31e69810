"""What of a table stands on paper: a column for each part, what is best in it, and which timings are noisy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from suite.reporting.columns import PARTS, Column, columns
from suite.reporting.rows import Group

Mark = Literal["best", "second"]


def shown(group: Group, kinds: Sequence[str] = ()) -> list[Column]:
    """The columns of a table on paper: all of the `kinds` that its declaration names, else one for each of `PARTS`.

    Of a table at equal cost the part of the work is the cost that its rows have in common.
    """
    if kinds:
        return columns(group, ("network", *kinds))
    found = columns(group)
    common = _EQUAL.get(group.equal.cost) if group.equal else None
    chosen = {part: next((column for column in found if column.part == part), None) for part in PARTS}
    chosen["work"] = next((column for column in found if column.heading == common), chosen["work"])
    return [column for column in chosen.values() if column]


#: The column that shows what rows at an equal cost have in common.
_EQUAL = {"macs_effective": "MACs change", "bytes_packed": "bytes change"}


def marks(group: Group, column: Column) -> dict[int, Mark]:
    """The best and second best rows of a column, by their place in ``group.rows``.

    The rule: within each block; references, teachers and noisy numbers take no part; numbers equal as printed share their mark; a
    block in which all have the same number, or one row alone has any, has no best; nor has a group that is not `ranked`.
    """
    found: dict[int, Mark] = {}
    for block in {row.block for row in group.rows} if column.higher is not None and group.ranked else ():
        rivals = {place: (column.text(row).split(" ± ")[0].split(" (")[0], number) for place, row in enumerate(group.rows)
                  if row.block == block and row.role not in ("reference", "teacher") and not column.noisy(row)
                  and (number := column.number(row)) is not None}
        ordered = sorted(rivals.values(), key=lambda item: item[1], reverse=bool(column.higher))
        texts = list(dict.fromkeys(text for text, _ in ordered))
        if len(texts) > 1:
            for place, (text, _) in rivals.items():
                if text in texts[:2]:
                    found[place] = "best" if text == texts[0] else "second"
    return found


def noisy_columns(group: Group) -> list[str]:
    """The headings of the timings of which more than half of the numbers are noisy; ratios follow from them and are left out."""
    found = []
    for column in columns(group, ("latency",)):
        known = [row for row in group.rows if column.number(row) is not None]
        if column.heading.endswith("(ms)") and 2 * sum(map(column.noisy, known)) > len(known):
            found.append(column.heading)
    return found
