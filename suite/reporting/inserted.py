"""What reports put into pages that people write: the text between two comment lines."""

from __future__ import annotations

import os
from pathlib import Path

from suite.errors import UserError
from suite.reporting.content import Content
from suite.reporting.front import Sheet
from suite.reporting.tables import escape_markdown, markdown_table, sides_of

END = "<!-- end -->"


def inserted(path: Path, name: str, body: str) -> str:
    """The text of the file `path` with `body` between its lines ``<!-- name -->`` and ``<!-- end -->``. UserError without them."""
    begin = f"<!-- {name} -->"
    try:
        before, rest = path.read_text(encoding="utf-8").split(begin, 1)
        after = rest.split(END, 1)[1]
    except (OSError, UnicodeDecodeError, ValueError, IndexError) as error:
        raise UserError(f"'{path}' has no lines '{begin}' and '{END}' between which the {name} could stand; write them.") from error
    return f"{before}{begin}\n\n{body}\n\n{END}{after}"


def front_page(content: Content, reports: Path) -> dict[Path, str]:
    """The page that a report's overview is to stand in with what it should hold, by its path; {} where it declares none."""
    report = content.report
    if not report.into or not content.overview:
        return {}
    path = Path(os.path.normpath(reports / report.into))
    pictures = [found.relative_to(reports) for pattern in report.pictures for found in sorted(reports.glob(pattern))]
    parts = ["\n".join(table(content.overview)), escape_markdown(content.overview.text)]
    parts += [f"![{found.parts[0]}: {found.stem.rpartition('-')[2]}]({os.path.relpath(reports / found, path.parent)})"
              for found in pictures]
    return {path: inserted(path, "overview", "\n\n".join(parts))}


def table(found: Sheet) -> list[str]:
    """The lines of a small Markdown table without heading."""
    rows = [[escape_markdown(cell) for cell in row] for row in found.rows]
    return markdown_table([escape_markdown(head) for head in found.head], rows, sides_of(found))
