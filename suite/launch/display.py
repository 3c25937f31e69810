"""One display for the progress of all runs of a plan."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from suite.context import Report

if TYPE_CHECKING:
    from rich.progress import TaskID


class Shown:
    """Progress bars on standard error, one for each run that is at work; nothing where `wanted` is not set."""

    def __init__(self, wanted: bool) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        from suite.terminal import console

        columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
        self._bars = Progress(*columns, console=console(stderr=True), transient=True) if wanted else None
        self._known: dict[tuple[str, str], TaskID] = {}

    def __enter__(self) -> Shown:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars:
            self._bars.stop()

    def of(self, name: str) -> Report | None:
        """What a run called `name` reports to."""
        return None if self._bars is None else lambda what, done, total: self.update(name, what, done, total)

    def update(self, name: str, what: str, done: int, total: int | None) -> None:
        """A run has `done` of `total` of its present phase `what`; the bar of its phase before goes."""
        if self._bars is None:
            return
        if (name, what) not in self._known:
            self.end(name)
            self._known[name, what] = self._bars.add_task(f"{name.rpartition('/')[0]} {name[-3:].lstrip('-')}: {what}", total=total)
        self._bars.update(self._known[name, what], completed=done, total=total)

    def end(self, name: str) -> None:
        """A run has nothing more to show."""
        for key in [key for key in self._known if key[0] == name]:
            bar = self._known.pop(key)
            if self._bars:
                self._bars.remove_task(bar)
