"""Progress of a refresh by hand: reading, training, rows with their rate and the time that is left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import ProgressColumn, Task, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from tidegate.cli.bars import StepBar


class RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """Show the rate of late; nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class RefreshBars(StepBar):
    """One bar that shows what is being done. Silent off a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "reading", RateColumn(), TimeElapsedColumn(), TimeRemainingColumn())

    def begin(self, n_read: int, n_expected: int | None) -> None:
        """Show that a log is being counted."""
        self.show("counting the log", n_read, n_expected)

    def on_records(self, n_records: int) -> None:
        """Move on by what was read."""
        self._progress.update(self._task, advance=n_records)
