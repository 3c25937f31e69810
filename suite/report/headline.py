"""The first lines of a report, generated from its records: what the numbers are, and which of some rivals is fastest."""

from __future__ import annotations

import json
from collections.abc import Sequence

from suite.claims import SCALES
from suite.report import cells
from suite.report.columns import gain, label, noisy
from suite.report.declare import Headline, Report
from suite.report.rows import Group, Row

KINDS = {
    "embedded": "small procedural data that the suite makes itself, not the dataset of that name",
    "subset": "a part of the real data, not the official split",
    "official": "the official data",
}


def headline(report: Report, groups: Sequence[Group]) -> list[str]:
    """Sentences in plain text: one per kind of data, then how the declared rivals compare.

    They are compared on the most telling data and scale that they have run on alone, a sentence per reference network:
    official data before a subset before embedded data, and long runs before short ones.
    """
    sentences = []
    for kind, what in KINDS.items():
        members = [group for group in groups if group.facts["source"] == kind]
        if members:
            runs = len({flat["id"] for group in members for row in group.rows for flat in row.seeds})
            places = {(group.facts["task"], group.facts["scale"]) for group in members}
            tasks = ", ".join(f"{task} at scale {scale}" for task, scale in sorted(places))
            sentences.append(f"{kind.capitalize()} data ({what}): {runs} run{'' if runs == 1 else 's'}, {cells.clean(tasks)}.")
    wanted = report.headline
    if wanted:
        rivals = [(group, rows) for group in groups if (rows := _rivals(group, wanted))]
        most = max((_telling(group) for group, _ in rivals), default=None)
        sentences += [_fastest(group, rows, wanted) for group, rows in rivals if _telling(group) == most] or [
            f"No {wanted.what} has run on {wanted.task} at {wanted.option} {wanted.value} yet."]
    return sentences


def _telling(group: Group) -> tuple[int, int]:
    source, scale = group.facts["source"], group.facts["scale"]
    return list(KINDS).index(source) if source in KINDS else -1, SCALES.index(scale) if scale in SCALES else -1


def _rivals(group: Group, wanted: Headline) -> list[Row]:
    """The rows that compete: neither the reference nor the reference trained on."""
    return [row for row in group.rows if group.facts["task"] == wanted.task and not row.role
            and any(tag.startswith(wanted.tag) for tag in row.first("tags"))
            and json.loads(row.first("options")).get(wanted.option) == wanted.value]


def _fastest(group: Group, rows: Sequence[Row], wanted: Headline) -> str:
    facts = group.facts
    higher = bool(facts["higher_is_better"])
    where = (f"On {facts['task']} ({facts['source']} data, scale {facts['scale']}, {facts['arch']}) "
             f"at {wanted.option} {wanted.value}")
    place = group.places[0] if group.places else None
    timed = [(time, row) for row in rows if place and (time := row.latency("one", "sparse", place)) is not None]
    if place is None or not timed:
        return cells.clean(f"{where} no {wanted.what} has been timed yet.")
    least, first = min(timed, key=lambda item: item[0])
    ratio = gain(first, place)
    doubt = ", a noisy timing" if noisy(first) else ""
    faster = f", {cells.times(ratio)} as fast as its own dense plan" if ratio else ""
    sentence = (f"{where} the {wanted.what} with the least measured latency is {label(first)}: {cells.digits(least)} ms on one "
                f"thread{doubt}{faster}, {_quality(group, first)}")
    judged = [row for row in rows if row.mean("score") is not None]
    best = (max if higher else min)(judged, key=lambda row: row.mean("score") or 0.0) if judged else first
    if best is first:
        return cells.clean(f"{sentence}; it is also the best of {len(rows)} in quality.")
    slower = next((f" in {cells.digits(time)} ms" for time, row in timed if row is best), ", not timed")
    return cells.clean(f"{sentence}; the best of {len(rows)} in quality is {label(best)}, {_quality(group, best)}{slower}.")


def _quality(group: Group, row: Row) -> str:
    facts = group.facts
    change = row.mean("change_reference")
    against = f" ({cells.change(change)} against the reference)" if change is not None else ""
    return f"{facts['metric']} {cells.spread(row.mean('score'), row.deviation('score'))} {facts['unit']}".strip() + against
