"""Quality against measured latency: a line per method over how far it goes, and where the lines stand at one latency."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from suite import statistics
from suite.reporting import cells
from suite.reporting.rows import Group, Place, Row, place_of

LEAST = 4  # timed points of a seed from which a line is read between them


class Line(NamedTuple):
    """The rows of one method that differ in how far it goes alone; `masked`: they are not as they would be deployed."""

    name: str
    rows: tuple[Row, ...]
    masked: bool


class Standing(NamedTuple):
    """A line at one latency: its score there by seed, else `reason`; `noisy` where a timing beside that latency is."""

    line: Line
    scores: Mapping[int, float]
    noisy: bool
    reason: str

    @property
    def mean(self) -> float:
        """Of the scores, of which there must be one."""
        return statistics.mean(list(self.scores.values())) or 0.0


def lines(group: Group, tag: str = "") -> list[Line]:
    """The lines of the methods with a tag that begins with `tag`, or of all, in the order of the rows."""
    blocks, masked = (group.report.blocks, group.report.masked) if group.report else ((), "")
    found: dict[tuple[str, str], list[Row]] = {}
    for row in group.rows:
        if not row.role and (not tag or any(item.startswith(tag) for item in row.first("tags"))):
            rest = {name: item for name, item in json.loads(row.first("options")).items() if name not in blocks}
            found.setdefault((row.method, json.dumps(rest, sort_keys=True)), []).append(row)
    return [Line(_name(rows[0], blocks), tuple(rows), rows[0].option(masked) is True) for rows in found.values()]


def _name(row: Row, blocks: Sequence[str]) -> str:
    words = [word for word in row.options.split() if word.partition("=")[0] not in blocks]
    return cells.clean(" ".join([row.method, *words, row.arch]))


def latency(group: Group) -> float | None:
    """The latency in ms, in the three digits that are printed, at which the headline compares; None without a timed reference."""
    wanted = group.report.headline if group.report else None
    reference = next((row for row in group.rows if row.role == "reference"), None)
    dense = reference.latency("one", "dense", group.places[0]) if reference and group.places else None
    return float(f"{wanted.latency * dense:.3g}") if wanted and dense else None


def standing(line: Line, where: float, place: Place) -> Standing:
    """A line at the latency `where`, in ms on one thread: every seed's own line read at it."""
    scores, noisy, most, reached = {}, False, 0, []
    for seed in sorted({flat["seed"] for row in line.rows for flat in row.seeds}):
        points = sorted((flat["latency.one.sparse"], flat["score"], flat["noisy.one.sparse"])
                        for row in line.rows for flat in row.seeds if flat["seed"] == seed and place_of(flat) == place
                        and flat["latency.one.sparse"] is not None and flat["score"] is not None)
        most = max(most, len(points))
        if len(points) < LEAST:
            continue
        reached += [points[0][0], points[-1][0]]
        found = statistics.interpolated(where, [time for time, _, _ in points], [score for _, score, _ in points])
        if found is not None:
            scores[seed] = found
            below, above = max(item for item in points if item[0] <= where), min(item for item in points if item[0] >= where)
            noisy = noisy or below[2] or above[2]
    reason = ""
    if not scores:
        reason = (f"{most} timed point{'' if most == 1 else 's'} of a seed, {LEAST} are needed" if most < LEAST else
                  f"timed from {cells.digits(min(reached))} to {cells.digits(max(reached))} ms alone")
    return Standing(line, scores, noisy, reason)


def standings(group: Group, where: float, tag: str = "") -> list[Standing]:
    """Every line (see `lines`) as deployed at the latency `where`, the best first and those that cannot be read there last."""
    higher = bool(group.facts["higher_is_better"])
    found = [standing(line, where, group.places[0]) for line in lines(group, tag) if not line.masked]
    return sorted(found, key=lambda item: (not item.scores, 0.0 if not item.scores else -item.mean if higher else item.mean))


def behind(best: Standing, other: Standing, higher: bool) -> statistics.Interval | None:
    """By how much `other` is worse than `best`, with its 95 % interval over the seeds that both have; None below two."""
    sign = 1 if higher else -1
    common = sorted(best.scores.keys() & other.scores)
    return statistics.interval([sign * (best.scores[seed] - other.scores[seed]) for seed in common])
