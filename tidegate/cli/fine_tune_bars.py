"""Progress of a fine-tune on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import TimeElapsedColumn, TimeRemainingColumn

from tidegate.cli.bars import StepBar


class FineTuneBars(StepBar):
    """One bar that shows what is being done. Silent off a terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "", TimeElapsedColumn(), TimeRemainingColumn())
