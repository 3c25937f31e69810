"""What the charts of a table's rows show, before anything draws them: `figures` does into files, `plots` in the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from suite import statistics
from suite.errors import UserError, nearest
from suite.reporting.columns import columns, dense_of, label, partial
from suite.reporting.frontier import latency, lines
from suite.reporting.rows import Group, Row, timings

# Okabe and Ito's palette, told apart by colour-blind readers; markers and dashes tell series apart in grey.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")


class Point(NamedTuple):
    """A row's place in a chart; `error` is the deviation over its seeds, `doubt` why it is drawn hollow."""

    across: float
    up: float
    error: float = 0.0
    name: str = ""
    doubt: str = ""


class Series(NamedTuple):
    """Points that belong together; `colour` counts the colours and markers, `dash` the dashes of the line, None for no line."""

    name: str
    points: Sequence[Point]
    colour: int
    dash: int | None = None


class Guide(NamedTuple):
    """A grey line through points (x, y) to compare with, in steps where it is a front."""

    name: str
    points: Sequence[tuple[float, float]]
    steps: bool = False
    dashed: bool = False


class Chart(NamedTuple):
    """One chart; with `ticks` (along x) both its axes are logarithmic."""

    name: str
    across: str
    up: str
    series: Sequence[Series]
    guides: Sequence[Guide] = ()
    ticks: Sequence[int] = ()


def charts(group: Group, wanted: Iterable[str]) -> list[Chart]:
    """The charts `wanted` (of `CHARTS`) that a group has numbers for, of series that have points.

    UserError for a name that is none.
    """
    made = []
    for name in wanted:
        if name not in CHARTS:
            raise UserError(f"There is no figure '{name}'{nearest(name, CHARTS)}")
        for chart in CHARTS[name](group):
            if series := [item for item in chart.series if item.points]:
                made.append(chart._replace(series=series))
    return made


def pareto(points: Sequence[tuple[float, float]], higher: bool = True) -> list[tuple[float, float]]:
    """The points (cost, quality) that no other beats in both, by rising cost; less cost is better, and more quality if `higher`."""
    sign = 1 if higher else -1
    front: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * quality > sign * front[-1][1]:
            front.append((cost, quality))
    return front


def _methods(group: Group) -> Iterator[tuple[int, str, list[Row]]]:
    """The rows of each method, with the number of its colour."""
    for index, method in enumerate(dict.fromkeys(row.method for row in group.rows)):
        yield index, method, [row for row in group.rows if row.method == method]


NOISE, PART = "noisy timing", "MACs not whole"


def _macs(group: Group) -> Iterator[Chart]:
    yield from _against(group, "macs", "effective MACs (millions)", lambda row: row.mean("macs_effective"),
                        lambda row: PART if partial(row) else "", 1e-6)


def _latency(group: Group) -> Iterator[Chart]:
    """Where it was measured on the group's commonest machine."""
    for place in group.places[:1]:
        heading = "measured latency of one input, one thread (ms)"
        yield from _against(group, "latency", heading, lambda row, place=place: row.latency("one", "sparse", place),  # type: ignore[misc]
                            lambda row, place=place: NOISE if row.noisy("one", "sparse", place) else "")  # type: ignore[misc]


def _against(group: Group, name: str, heading: str, cost: Callable[[Row], float | None], doubt: Callable[[Row], str],
             unit: float = 1.0) -> Iterator[Chart]:
    """Quality with its deviation against a cost, with the Pareto front, where two rows have the cost."""
    quality = columns(group, ("quality",))[:1]
    if not quality or sum(cost(row) is not None for row in group.rows) < 2:
        return
    series = []
    for index, method, rows in _methods(group):
        points = [Point(x * unit, y, row.deviation("score") or 0.0, label(row), doubt(row)) for row in rows
                  if (x := cost(row)) is not None and (y := quality[0].number(row)) is not None]
        series.append(Series(method, points, index))
    front = pareto([point[:2] for item in series for point in item.points], bool(group.facts["higher_is_better"]))
    yield Chart(name, heading, quality[0].heading, series, [Guide("Pareto front", front, steps=True)])


def _ratio(group: Group) -> Iterator[Chart]:
    """What MACs promise and what the clock says: the reference's dense MACs and latency over each row's own, both as factors.

    A row of the reference's shape, or without one that was timed, stands against its own dense weights, timed in the same rounds.
    """
    if not group.places:
        return
    place = group.places[0]
    series = []
    for index, method, rows in _methods(group):
        points = []
        for row in rows:
            shape = dense_of(group, row, place)
            macs, left = shape.mean("macs"), row.mean("macs_effective")
            dense, sparse = shape.latency("one", "dense", place), row.latency("one", "sparse", place)
            if row.role != "reference" and macs and left and dense and sparse:
                noise = NOISE if row.noisy("one", "sparse", place) or shape.noisy("one", "dense", place) else ""
                doubt = PART if partial(row, "reference_uncounted") else noise
                points.append(Point(macs / left, dense / sparse, name=label(row), doubt=doubt))
        series.append(Series(method, points, index))
    ratios = [ratio for item in series for point in item.points for ratio in point[:2]]
    if len(ratios) > 2:
        ends = [(end, end) for end in (min(ratios), max(ratios))]
        yield Chart("ratio", "what MACs promise: reference MACs / effective MACs", "what the clock says: latency ratio", series,
                    [Guide("as promised", ends)])


def _sparsity(group: Group) -> Iterator[Chart]:
    """Quality by sparsity, a line per method and its other options, with the deviation over seeds."""
    lines: dict[str, list[Point]] = {}
    for row in group.rows:
        share, score = row.option("sparsity"), row.mean("score")
        by_sparsity = row.block.partition(" ")[0] in ("", "sparsity")  # another option may say how far it goes
        if not row.role and by_sparsity and isinstance(share, int | float) and score is not None:
            words = [word for word in row.options.split() if not word.startswith("sparsity=")]
            point = Point(float(share), score, row.deviation("score") or 0.0, label(row))
            lines.setdefault(" ".join([row.method, *words]), []).append(point)
    if not any(len(points) > 1 for points in lines.values()):
        return
    series = [Series(name, sorted(points), index, index) for index, (name, points) in enumerate(lines.items())]
    shares = [point.across for item in series for point in item.points]
    guides = [Guide(label(row), [(min(shares), score), (max(shares), score)], dashed=row.role != "reference")
              for row in group.rows if row.role and (score := row.mean("score")) is not None]
    yield Chart("sparsity", "sparsity", columns(group, ("quality",))[0].heading, series, guides)


def _curves(group: Group) -> Iterator[Chart]:
    """One chart per logged quantity that at least two rows have: the mean over the seeds that reached a step."""
    names = [name for row in group.rows for name in sorted(row.first("curves") or {})]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        series = [Series(label(row), _curve(row, name), index, place)
                  for index, _, rows in _methods(group) for place, row in enumerate(rows)]
        yield Chart(f"curve-{re.sub(r'[^A-Za-z0-9]+', '-', name)}", "optimiser steps", name, series)


def _curve(row: Row, name: str) -> list[Point]:
    steps: dict[float, list[float]] = {}
    for seed in row.seeds:
        for step, number in (seed["curves"] or {}).get(name, ()):
            if number is not None:
                steps.setdefault(step, []).append(number)
    return [Point(step, statistics.mean(steps[step]) or 0.0) for step in sorted(steps)]


def _growth(group: Group) -> Iterator[Chart]:
    """A task's own timings by the number of items, a line per row: where two of them cross is seen here."""
    machine, found = timings(group)
    timed = [(what, items) for what, items in found if items is not None]
    if len(timed) < 2:
        return
    series = []
    for index, _, rows in _methods(group):
        for place, row in enumerate(rows):
            points = [Point(items, time, doubt=NOISE if row.noisy_timing((what, items), machine) else "")
                      for what, items in timed if (time := row.timing((what, items), machine)) is not None]
            series.append(Series(label(row), points, index, place))
    yield Chart("growth", "items", "time on one thread (ms)", series, ticks=[items for _, items in timed])


def _frontier(group: Group) -> Iterator[Chart]:
    """Quality against measured latency, a line per method over how far it goes; what is not as deployed is dashed."""
    if not group.places:
        return
    place, found = group.places[0], lines(group)

    def point(row: Row) -> Point | None:
        across, up = row.latency("one", "sparse", place), row.mean("score")
        doubt = NOISE if row.noisy("one", "sparse", place) else ""
        return None if across is None or up is None else Point(across, up, row.deviation("score") or 0.0, label(row), doubt)

    series = [Series(line.name, sorted(filter(None, map(point, line.rows))), index, int(line.masked))
              for index, line in enumerate(found, 1)]
    if not any(len(item.points) > 1 for item in series):
        return
    fixed = [Series(label(row), [made], 0) for row in group.rows if row.role == "reference" and (made := point(row))]
    heights = [made.up for item in (*fixed, *series) for made in item.points]
    where = latency(group)
    guides = [Guide("compared here", [(where, min(heights)), (where, max(heights))], dashed=True)] if where else []
    yield Chart("frontier", "measured latency of one input, one thread (ms)", columns(group, ("quality",))[0].heading,
                [*fixed, *series], guides)


def _steps(group: Group) -> Iterator[Chart]:
    """The score after each artifact of methods that yield several, a line per row."""
    heading = columns(group, ("quality",))[0].heading
    lines = [Series(label(row), [Point(step, score) for step, score in enumerate(row.steps(group.facts["metric"]), 1)
                                  if score is not None], index, 0)
             for index, row in enumerate(group.rows)]
    yield Chart("steps", "step", heading, lines)


CHARTS: dict[str, Callable[[Group], Iterable[Chart]]] = {
    "frontier": _frontier, "macs": _macs, "latency": _latency, "ratio": _ratio, "sparsity": _sparsity, "curves": _curves,
    "growth": _growth, "steps": _steps}
