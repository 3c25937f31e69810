"""What a report says, before it has a format: selected, grouped and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from suite.errors import UserError
from suite.record import Record
from suite.report import verdicts
from suite.report.declare import Report
from suite.report.flat import flatten
from suite.report.headline import headline
from suite.report.ranks import Ranks, ranks
from suite.report.rows import Group, groups


@dataclass(frozen=True)
class Content:
    """A report's parts, in the order in which they are shown."""

    report: Report
    first: list[str]  # sentences in plain text
    ranked: Ranks
    groups: list[Group]
    claims: list[verdicts.Tested]
    unfinished: list[Record]  # skipped, failed and interrupted runs


def gather(report: Report, records: Sequence[Record]) -> Content:
    """Select, group and judge. UserError where no finished record fits the report."""
    chosen = report.select(records)
    found = groups(flatten(chosen), report.blocks, report.order)
    if not found:
        raise UserError("No finished record fits the report; make some first, for example with: suite run cifar10 one_by_n")
    methods = sorted({item["method"]["name"] for item in chosen})
    tested = verdicts.verdicts(records, methods) if report.claims else []
    ranked = ranks(found)
    first = headline(report, found) + [ranked.sentence] * report.tables
    return Content(report, first, ranked, found, tested, [item for item in chosen if item["status"] != "done"])
