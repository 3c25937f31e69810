"""What reaches a terminal: text of records, plug-ins, data and errors without the sequences that would steer it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console

#: Control characters other than tab and line feed, and those that reverse the direction of writing.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` with a question mark for each character that would steer a terminal; tabs and line feeds stay."""
    return _STEERING.sub("?", text)


class Output:
    """A text stream whose every text is made `printable`, and such that the encoding can hold it, before it goes to `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str | bytes, /) -> int:
        if isinstance(text, bytes):  # as click writes what a shell completes
            text = text.decode("utf-8", "backslashreplace")
        encoding = self.stream.encoding or "utf-8"
        self.stream.write(printable(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name in ("buffer", "detach"):  # ways past `write`
            raise AttributeError(name)
        return getattr(self.stream, name)


def guard() -> None:
    """From here on whatever the process prints goes through `Output`."""
    for name in ("stdout", "stderr"):
        if not isinstance(stream := getattr(sys, name), Output):
            setattr(sys, name, cast(TextIO, Output(stream)))


def console(stderr: bool = False) -> Console:
    """A console of rich, which may steer the terminal itself; the texts that it is given may not."""
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Guarded(Console):
        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text), segment.style)

    stream: Any = sys.stderr if stderr else sys.stdout
    return Guarded(file=stream.stream if isinstance(stream, Output) else None, stderr=stderr)
