"""A report: a declaration in TOML, the records it selects, and the files it becomes."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from suite.errors import UserError, nearest
from suite.record import Record, write_text
from suite.report import cells
from suite.report.figures import draw
from suite.report.flat import flatten
from suite.report.rows import Group, groups
from suite.report.tables import comma_separated, latex, markdown, title


@dataclass(frozen=True)
class Report:
    """What to show: only records whose task, method, scale and source are among those listed (an empty list: all)."""

    title: str
    text: str = ""
    tasks: Sequence[str] = ()
    methods: Sequence[str] = ()
    scales: Sequence[str] = ()
    sources: Sequence[str] = ()
    blocks: str = "sparsity"  # the option that divides each table

    def select(self, records: Sequence[Record]) -> list[Record]:
        """The records to show, with the references that they are compared with."""
        def among(listed: Sequence[str], found: str) -> bool:
            return not listed or found in listed

        return [
            item for item in records
            if among(self.tasks, item["task"]["name"]) and among(self.methods, item["method"]["name"])
            and among(self.scales, item["scale"]) and among(self.sources, item["task"]["source"]["kind"])
        ]


def load(name: str, folder: Path) -> Report:
    """The declaration ``<folder>/<name>.toml``. UserError where there is none, or it has keys that mean nothing."""
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise UserError(f"There is no report '{name}' in '{folder}'{nearest(name, [item.stem for item in folder.glob('*.toml')])}")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
        return Report(**found)
    except (tomllib.TOMLDecodeError, TypeError) as error:
        keys = ", ".join(item.name for item in fields(Report))
        raise UserError(f"'{path}' is no report ({error}); it may set {keys}.") from error


def render(report: Report, records: Sequence[Record], folder: Path) -> list[Path]:
    """Write table.md, table.tex, table.csv and the figures to `folder`; their paths. UserError where nothing is selected."""
    chosen = groups(flatten(report.select(records)), report.blocks)
    if not chosen:
        raise UserError("No finished record fits the report; make some first, for example with: suite run cifar10 one_by_n")
    folder.mkdir(parents=True, exist_ok=True)
    head = f"# {report.title}\n\n{_summary(chosen)}\n\n{report.text}".rstrip()
    texts = {"table.md": "\n\n".join([head, *map(markdown, chosen)]), "table.tex": "\n".join(map(latex, chosen)),
             "table.csv": comma_separated(chosen)}
    for name, text in texts.items():
        write_text(folder / name, text)
    pictures = [path for group in chosen for path in draw(group, folder, _stem(group))]
    return [*(folder / name for name in texts), *pictures]


def _summary(chosen: Sequence[Group]) -> str:
    lines = [f"- {cells.clean(title(group))}" for group in chosen]
    return "What the numbers are, generated from the records:\n\n" + "\n".join(lines)


def _stem(group: Group) -> str:
    facts = group.facts
    return f"{facts['task']}-{facts['arch']}-{facts['source']}-{facts['scale']}"
