"""Progress of a fine-tune on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class FineTuneBars:
    """One bar that shows what is being done. Silent off a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", visible=False)
        self._what = ""

    def __enter__(self) -> FineTuneBars:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, what: str, n_done: int, n_steps: int) -> None:
        """Show how far a part of the work has come."""
        if what != self._what:
            self._what = what
            self._progress.reset(self._task, description=what, visible=True)
        self._progress.update(self._task, completed=n_done, total=n_steps)
