"""Mean ranks of methods over tasks and their diagram, only where enough tasks are shared by all; else a sentence why not."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from suite.reporting import cells
from suite.reporting.columns import label
from suite.reporting.figures import literal, save
from suite.reporting.rows import Group, Row

LEAST_TASKS = 5


class Ranks(NamedTuple):
    """Mean rank by entry (1 is best), the critical difference of two means, and the sentence that says all this."""

    mean: dict[str, float]
    critical: float
    sentence: str


def ranks(groups: Sequence[Group]) -> Ranks:
    """Friedman ranks of the primary metric over tasks with one kind of data and scale, of those that share the most tasks.

    An entry is a method with its options, the reference network left out; entries in fewer than `LEAST_TASKS` tasks take
    no part, and every task used has all entries. Ties share their mean rank. Two entries differ significantly
    (Nemenyi, 5 %) if their mean ranks differ by more than ``CD = q sqrt(k (k + 1) / (6 n))`` with q the studentised range
    quantile over sqrt(2), k entries and n tasks. Source: Demsar, "Statistical Comparisons of Classifiers over Multiple
    Data Sets", JMLR 7 (2006), section 3.2.2.
    """
    found: list[tuple[int, Ranks]] = []
    for place in sorted({_place(group) for group in groups}):
        found += _ranks([group for group in groups if _place(group) == place], *place)
    return max(found, key=lambda item: item[0])[1] if found else Ranks(
        {}, 0.0, f"Methods are not ranked over tasks: that takes at least {LEAST_TASKS} tasks that share two methods with the same "
        "options, on one kind of data and at one scale.")


def _place(group: Group) -> tuple[str, str]:
    return group.facts["source"], group.facts["scale"]


def _ranks(groups: Sequence[Group], source: str, scale: str) -> list[tuple[int, Ranks]]:
    """How many tasks are shared, and the ranks over them; nothing where they are too few."""
    tables: dict[str, tuple[bool, dict[str, float]]] = {}
    names: dict[str, str] = {}
    for group in sorted(groups, key=lambda group: -len(group.rows)):  # of several tables of a task the largest: it counts once
        rows: dict[str, Row] = {}
        for row in group.rows:
            if row.role != "reference" and row.mean("score") is not None:
                rows.setdefault(_entry(row), row)
        scores = {entry: row.mean("score") or 0.0 for entry, row in rows.items()}
        tables.setdefault(group.facts["task"], (bool(group.facts["higher_is_better"]), scores))
        for entry, row in rows.items():
            names[entry] = min(names.get(entry, label(row)), label(row), key=len)
    often = [entry for entry in names if sum(entry in scores for _, scores in tables.values()) >= LEAST_TASKS]
    shared = [(higher, scores) for higher, scores in tables.values() if all(entry in scores for entry in often)]
    if len(often) < 2 or len(shared) < LEAST_TASKS:
        return []
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    places = [rankdata([-scores[entry] if higher else scores[entry] for entry in often]) for higher, scores in shared]
    mean = {names[entry]: float(sum(place[index] for place in places)) / len(shared) for index, entry in enumerate(often)}
    critical = float(studentized_range.ppf(0.95, len(often), math.inf)) / math.sqrt(2)
    critical *= math.sqrt(len(often) * (len(often) + 1) / (6 * len(shared)))
    chance = friedmanchisquare(*zip(*places, strict=True)).pvalue if len(often) > 2 else None
    overall = "" if chance is None else f"; Friedman's test over all: p = {chance:.2g}"
    order = ", ".join(f"{name} {cells.digits(rank)}" for name, rank in sorted(mean.items(), key=lambda item: item[1]))
    return [(len(shared), Ranks(mean, critical, (
        f"Mean ranks over {len(shared)} tasks ({source} data, scale {scale}; 1 is best; two differ at the 5 % level if further "
        f"apart than {cells.digits(critical)}{overall}): {order}.")))]


def bars(found: Ranks) -> list[tuple[float, float]]:
    """The widest runs of mean ranks (first, last) of two or more entries that do not differ significantly."""
    mean = sorted(found.mean.values())
    ends = [max(rank for rank in mean if rank - first <= found.critical) for first in mean]
    runs = [(first, last) for place, (first, last) in enumerate(zip(mean, ends, strict=True)) if last not in ends[:place]]
    return [run for run in runs if sum(run[0] <= rank <= run[1] for rank in mean) > 1]


def draw(found: Ranks, path: Path) -> list[Path]:
    """The critical-difference diagram (Demsar, figure 1) as SVG and PDF: bars join what the tests do not tell apart."""
    from matplotlib.figure import Figure

    order = sorted(found.mean.items(), key=lambda item: item[1])
    half, runs = (len(order) + 1) // 2, bars(found)
    low, high = 1.0, float(len(order))
    step = 0.3  # inches between lines of text
    height = 0.9 + step * (0.5 * len(runs) + half)
    figure = Figure(figsize=(7.0, height))
    axes = figure.add_axes((0.34, 0.0, 0.32, 1.0), xlim=(low, high), ylim=(-(height - 0.75) / step, 0.75 / step))
    axes.axis("off")
    line: dict[str, Any] = {"color": "black", "linewidth": 1, "clip_on": False}
    axes.plot((low, high), (0, 0), **line)
    for tick in range(1, len(order) + 1):
        axes.plot((tick, tick), (0, 0.25), **line)
        axes.annotate(str(tick), (tick, 0.35), ha="center", va="bottom", fontsize=8)
    axes.plot((low, low + found.critical), (1.6, 1.6), **{**line, "linewidth": 2})
    axes.annotate(f"critical difference {found.critical:.2f}", (low, 1.75), ha="left", va="bottom", fontsize=8)
    for place, (first, last) in enumerate(runs):
        axes.plot((first - 0.03, last + 0.03), (-0.5 - 0.5 * place,) * 2, **{**line, "linewidth": 4})
    for place, (name, rank) in enumerate(order):
        left = place < half
        depth = -0.5 * len(runs) - 0.8 - (place if left else len(order) - 1 - place)
        edge = low - 0.05 * (high - low) if left else high + 0.05 * (high - low)
        axes.plot((rank, rank, edge), (0, depth, depth), **line)
        axes.annotate(f"{literal(name)}  {rank:.2f}" if left else f"{rank:.2f}  {literal(name)}", (edge, depth), fontsize=8,
                      ha="right" if left else "left", va="center", xytext=(-3 if left else 3, 0), textcoords="offset points",
                      annotation_clip=False)
    return save(figure, path)


def _entry(row: Row) -> str:
    """What makes two rows of different tasks the same entry: the method and its options, whatever the architecture."""
    return json.dumps([row.method, {name: item for name, item in json.loads(row.first("options")).items() if name != "arch"}])
