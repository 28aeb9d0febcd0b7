"""Progress bars on a terminal: what those of all commands have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn


class TerminalBars(ABC):
    """Bars that are there for as long as a block of code. Silent off a terminal.

    Parameters
    ----------
    console : Console
    columns : ProgressColumn        behind the counts: times, a rate
    """

    def __init__(self, console: Console, *columns: ProgressColumn) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            *columns,
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Take the bars away; may be called twice."""
        self._progress.stop()

    @abstractmethod
    def show(self, what: str, n_done: int, n_all: int) -> None:
        """Show how far a part of the work has come."""

    def on_training(self, lesson: str, n_done: int, n_steps: int) -> None:
        """Show a lesson of the model's training."""
        self.show(f"training: {lesson} (steps)", n_done, n_steps)

    def on_rows(self, n_answered: int, n_asked: int) -> None:
        """Show how many rows all workers have had answered."""
        self.show("inferring rows", n_answered, n_asked)


class StepBar(TerminalBars):
    """One bar that shows one kind of step after another.

    Parameters
    ----------
    console : Console
    what : str                      is done first; empty: the bar comes with the first step
    columns : ProgressColumn
    """

    def __init__(self, console: Console, what: str, *columns: ProgressColumn) -> None:
        super().__init__(console, *columns)
        self._what = what
        self._task = self._progress.add_task(what, total=None, visible=bool(what))

    def show(self, what: str, n_done: int, n_all: int | None) -> None:
        """Show how far a part of the work has come; ``n_all`` is None where nobody knows."""
        if what != self._what:  # another kind of step: rate and time left begin anew
            self._what = what
            self._progress.reset(self._task, description=what, total=n_all, completed=n_done, visible=True)
        self._progress.update(self._task, completed=n_done, total=n_all)
