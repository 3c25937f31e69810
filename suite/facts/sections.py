"""Facts for people: headings with paragraphs or with lines in columns, printed so that 80 columns hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Sections = dict[str, str | Sequence[Sequence[str]]]  # by heading a text, or lines of as many cells each


def show(title: str, sections: Sections, commands: Sequence[str], console: Console) -> None:
    """Print a title, the sections that are not empty, and commands to copy, which are never broken."""
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    console.print(f"[bold]{escape(title)}[/]", highlight=False)
    for heading, content in sections.items():
        if not content:
            continue
        console.print(f"\n[bold]{escape(heading)}[/]", highlight=False)
        if isinstance(content, str):
            console.print(Padding(escape(content), (0, 0, 0, 2), expand=False), highlight=False)
            continue
        table = Table.grid(padding=(0, 2, 0, 0))
        for place in range(len(content[0])):
            table.add_column(overflow="fold", no_wrap=place == 0 and len(content[0]) > 1)
        for line in content:
            table.add_row(*map(escape, line))
        console.print(Padding(table, (0, 0, 0, 2), expand=False), highlight=False)
    console.print("\n[bold]try[/]", highlight=False)
    for command in commands:
        console.print(f"  {escape(command)}", highlight=False, soft_wrap=True)


def options_rows(options: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Lines of options, as `suite.facts.plugin.options` gives them: the option with its default, and what it means and may be."""
    return [(f"{item['name']}={text(item['default'])}", "; ".join(filter(None, (item["help"], _range(item))))) for item in options]


def _range(item: Mapping[str, Any]) -> str:
    if item["choices"]:
        return "one of " + ", ".join(map(text, item["choices"]))
    return f"{item['type']}, {item['bounds'][0]:g} to {item['bounds'][1]:g}" if item["bounds"] else item["type"]


def records_rows(records: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Lines of records, as `suite.facts.plugin.records` gives them."""
    return [(item["task"], item["method"], f"{item['scale']}, {item['source']}",
             f"{_many(item['configurations'], 'configuration')}, {_many(item['seeds'], 'seed')}") for item in records]


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def words(options: Mapping[str, Any]) -> str:
    """Options as they are typed: ``n=4 sparsity=0.5``."""
    return " ".join(f"{key}={text(item)}" for key, item in options.items())


def text(item: Any) -> str:
    """The value of an option as it is typed, numbers in six digits."""
    if isinstance(item, list | tuple):
        return ":".join(map(text, item))
    if isinstance(item, float):
        return f"{item:.6g}"
    return str(item).lower() if item is None or isinstance(item, bool) else str(item)
