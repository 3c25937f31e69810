"""What a report says, before it has a format: selected, grouped and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from suite.errors import UserError
from suite.record import Record, absent
from suite.reporting import cells, verdicts
from suite.reporting.columns import noisy_columns
from suite.reporting.declare import Report
from suite.reporting.flat import flatten
from suite.reporting.front import Front, front
from suite.reporting.headline import headline
from suite.reporting.ranks import Ranks, ranks
from suite.reporting.rows import Group, groups


@dataclass(frozen=True)
class Content:
    """A report's parts, in the order in which they are shown."""

    report: Report
    first: list[str]  # sentences in plain text
    ranked: Ranks
    fronts: list[Front]
    groups: list[Group]
    claims: list[verdicts.Tested]
    unfinished: list[Record]  # skipped, failed and interrupted runs


def gather(report: Report, records: Sequence[Record]) -> Content:
    """Select, group and judge. UserError where no finished record fits the report."""
    chosen = report.select(records)
    found = [replace(group, report=report) for group in groups(flatten(chosen), report.blocks, report.order)]
    if not found:
        make = "make some first, for example with: suite run cifar10 one_by_n" if records else absent()
        raise UserError(f"No finished record fits the report; {make}")
    methods = sorted({item["method"]["name"] for item in chosen})
    tested = verdicts.verdicts(records, methods) if report.claims else []
    ranked = ranks(found)
    first = headline(report, found) + [ranked.sentence] * report.tables
    fronts = [made for group in found if report.equal and (made := front(group))]
    return Content(report, first, ranked, fronts, found, tested, [item for item in chosen if item["status"] != "done"])


def noise(contents: Sequence[Content]) -> str:
    """Where more than half of a column's timings are noisy, in one sentence with what times them again; empty where nowhere."""
    found: dict[str, dict[str, None]] = {}
    tasks: dict[str, None] = {}
    for group in (group for content in contents if content.report.tables for group in content.groups):
        if headings := noisy_columns(group):
            facts = group.facts
            place = f"{facts['task']} ({facts['source']}, {facts['scale']})"
            found.setdefault(place, {}).update(dict.fromkeys(heading.removesuffix(" (ms)") for heading in headings))
            tasks[facts["task"]] = None
    again = " ".join(f"'{task}/*'" for task in sorted(tasks))
    listed = "; ".join(f"{place}: {', '.join(headings)}" for place, headings in sorted(found.items()))
    return cells.clean(f"More than half of the timings are noisy in {listed}; on a quiet machine time them again with: "
                       f"suite profile --update --noisy {again}") if found else ""
