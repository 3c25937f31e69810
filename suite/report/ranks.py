"""Mean ranks of methods over tasks, only where enough tasks are shared by all; otherwise a sentence says why not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import NamedTuple

from suite.report import cells
from suite.report.columns import label
from suite.report.rows import Group, Row

LEAST_TASKS = 5


class Ranks(NamedTuple):
    """Mean rank by entry (1 is best), the critical difference of two means, and the sentence that says all this."""

    mean: dict[str, float]
    critical: float | None
    sentence: str


def ranks(groups: Sequence[Group]) -> Ranks:
    """Friedman ranks of the primary metric over the largest set of tables with at least two entries in all of them.

    An entry is a method with its options, the reference network left out; entries in fewer than `LEAST_TASKS` tasks take
    no part, and every table used has all entries. Ties share their mean rank. Two entries differ significantly
    (Nemenyi, 5 %) if their mean ranks differ by more than ``CD = q sqrt(k (k + 1) / (6 n))`` with q the studentised range
    quantile over sqrt(2), k entries and n tables. Source: Demsar, "Statistical Comparisons of Classifiers over Multiple
    Data Sets", JMLR 7 (2006), section 3.2.2.
    """
    tables: dict[str, tuple[Group, dict[str, float]]] = {}
    names: dict[str, str] = {}
    for group in groups:  # of several tables of a task the first, so that a task counts once
        rows = {_entry(row): row for row in group.rows if row.role != "reference" and row.mean("score") is not None}
        tables.setdefault(group.facts["task"], (group, {entry: row.mean("score") or 0.0 for entry, row in rows.items()}))
        for entry, row in rows.items():
            names[entry] = min(names.get(entry, label(row)), label(row), key=len)
    often = [entry for entry in dict.fromkeys(entry for _, scores in tables.values() for entry in scores)
             if sum(entry in scores for _, scores in tables.values()) >= LEAST_TASKS]
    shared = [(group, scores) for group, scores in tables.values() if often and all(entry in scores for entry in often)]
    if len(often) < 2 or len(shared) < LEAST_TASKS:
        return Ranks({}, None, f"Methods are not ranked over tasks: that takes at least {LEAST_TASKS} tasks that share two methods "
                               "with the same options.")
    from scipy.stats import rankdata, studentized_range

    places = [rankdata([-scores[entry] if group.facts["higher_is_better"] else scores[entry] for entry in often])
              for group, scores in shared]
    mean = {names[entry]: float(sum(place[index] for place in places)) / len(shared) for index, entry in enumerate(often)}
    critical = float(studentized_range.ppf(0.95, len(often), math.inf)) / math.sqrt(2)
    critical *= math.sqrt(len(often) * (len(often) + 1) / (6 * len(shared)))
    order = ", ".join(f"{name} {cells.digits(rank)}" for name, rank in sorted(mean.items(), key=lambda item: item[1]))
    return Ranks(mean, critical, f"Mean ranks over {len(shared)} tasks (1 is best; two differ at the 5 % level if further apart "
                                 f"than {cells.digits(critical)}): {order}.")


def _entry(row: Row) -> str:
    """What makes two rows of different tasks the same entry: the method and its options, whatever the reference network."""
    return json.dumps([row.method, {name: item for name, item in json.loads(row.first("options")).items() if name != "arch"}])
