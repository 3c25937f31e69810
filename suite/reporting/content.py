"""What a report says, before it has a format: selected, grouped and judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from suite.errors import UserError
from suite.record import Record, absent
from suite.reporting import cells
from suite.reporting.declare import Catalogue, Report
from suite.reporting.flat import flatten
from suite.reporting.front import Front, Sheet, front
from suite.reporting.headline import headline
from suite.reporting.overview import overview
from suite.reporting.paper import noisy_columns
from suite.reporting.progress import Progress, progress
from suite.reporting.ranks import Ranks, ranks
from suite.reporting.rows import Group, groups
from suite.reporting.verdicts import Tested, beside, verdicts

NO_CATALOGUE = Catalogue()


@dataclass(frozen=True)
class Content:
    """A report's parts, in the order in which they are shown."""

    report: Report
    overview: Sheet | None  # the first screen, of a report with tables
    progress: list[Progress]  # how far the claims of the declared systems are, where the report draws it
    first: list[str]  # sentences in plain text
    ranked: Ranks
    fronts: list[Front]
    groups: list[Group]
    claims: list[Tested]
    unfinished: list[Record]  # skipped, failed and interrupted runs


def gather(report: Report, records: Sequence[Record], catalogue: Catalogue = NO_CATALOGUE,
           tested: Sequence[Tested] | None = None) -> Content:
    """Select, group, judge, and order by the families of `catalogue`. `tested` are the verdicts of `judged`, where several reports
    share them. UserError where no finished record fits the report.
    """
    chosen = report.select(records)
    made = [replace(group, report=report) for group in groups(flatten(chosen), report.blocks, report.order)]
    if not made:
        make = "make some first, for example with: suite run cifar10 one_by_n" if records else absent()
        raise UserError(f"No finished record fits the report; {make}")
    methods = {item["method"]["name"] for item in chosen}
    everything = judged(records, catalogue) if tested is None else tested
    own = [item for item in everything if item.method in methods]
    found = sorted(beside(made, own), key=lambda group: catalogue.order(group.facts["task"]))
    claims = sorted(own, key=lambda item: catalogue.order(item.claim.task)) if report.claims else []
    ranked = ranks(found)
    sentences = headline(report, found) + [ranked.sentence] * report.tables
    fronts = [first for group in found if report.equal and (first := front(group))]
    return Content(report, overview(found, own) if report.tables else None,
                   progress(catalogue.systems, everything) if report.progress else [], sentences, ranked, fronts, found, claims,
                   [item for item in chosen if item["status"] != "done"])


def judged(records: Sequence[Record], catalogue: Catalogue = NO_CATALOGUE) -> list[Tested]:
    """The claims of all methods that are recorded or are to be carried, judged from all records."""
    methods = {item["method"]["name"] for item in records} | {system.name for system in catalogue.systems}
    return verdicts(records, sorted(methods))


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
