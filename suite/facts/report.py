"""What there is to know of a report that is declared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from suite.facts.sections import Sections
from suite.reporting import declare


def facts(name: str, reports: Path) -> dict[str, Any]:
    """Everything about the report that `reports` declares by that name."""
    import dataclasses

    report = declare.load(name, reports)
    page = reports / name / "index.html"
    folder = [] if reports == Path("reports") else ["--reports", str(reports)]
    return {"kind": "report", "name": name, **dataclasses.asdict(report), "file": str(reports / f"{name}.toml"),
            "page": str(page) if page.is_file() else "", "command": " ".join(["suite report", name, *folder])}


def title(found: Mapping[str, Any]) -> str:
    return f"{found['name']}, a report: {found['title']}"


def commands(found: Mapping[str, Any]) -> list[str]:
    """Lines to copy."""
    made = found["runs"] or found["test"]
    return [found["command"], *([f"{found['command']} --run-missing --dry-run"] if made else [])]


def sections(found: Mapping[str, Any]) -> Sections:
    """Everything but the title and the commands."""
    shown = ("tasks", "methods", "tags", "scales", "sources")
    made = "the benchmark page of the kernel, no records" if found["bench"] else (
        f"the systems, in {found['into']}" if found["systems"] else "")
    listed = [(key, ", ".join(found[key]) or "all") for key in shown] if not made else [("what", made)]
    return {
        "what it says": " ".join(found["text"].split()),
        "records that it shows": listed,
        "how": [(key, text) for key, text in (("figures", ", ".join(found["figures"])), ("order", found["order"]),
                                              ("claims", "tested" if found["claims"] else "")) if text and not made],
        "runs that --run-missing makes": [(f"{run['task']}, {run['scale']}, seeds 0-{run['seeds'] - 1}",
                                           " ".join([", ".join(run["methods"]), *run["options"]])) for run in found["runs"]],
        "claims whose runs it makes": [(name, scale) for name, scale in found["test"].items()],
        "files": [("declaration", found["file"]), *([("page", found["page"])] if found["page"] else [])],
    }
