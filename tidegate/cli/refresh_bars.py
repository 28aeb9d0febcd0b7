"""Progress of a refresh by hand: reading, training, rows with their rate and the time that is left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class RateColumn(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        """Show the rate of late; nothing before it is known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class RefreshBars:
    """One bar that shows what is being done. Silent off a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("reading", total=None)
        self._description = "reading"

    def __enter__(self) -> RefreshBars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, n_read: int, n_expected: int | None) -> None:
        """Show that a log is being counted."""
        self._show("counting the log", n_read, n_expected)

    def on_records(self, n_records: int) -> None:
        """Move on by what was read."""
        self._progress.update(self._task, advance=n_records)

    def on_training(self, lesson: str, n_done: int, n_steps: int) -> None:
        """Show a lesson of the model's training."""
        self._show(f"training: {lesson} (steps)", n_done, n_steps)

    def on_rows(self, n_answered: int, n_asked: int) -> None:
        """Show how many rows all workers have had answered."""
        self._show("inferring rows", n_answered, n_asked)

    def _show(self, description: str, n_done: int, n_all: int | None) -> None:
        if description != self._description:  # another kind of step: rate and time left begin anew
            self._description = description
            self._progress.reset(self._task, description=description, total=n_all, completed=n_done)
        self._progress.update(self._task, completed=n_done, total=n_all)
