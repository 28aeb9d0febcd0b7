"""Progress of a refresh is shown where there is a terminal, and nowhere else."""

from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress

from tidegate.cli.refresh_bars import RateColumn, RefreshBars


def all_steps(console: Console) -> None:
    with RefreshBars(console) as bars:
        bars.begin(0, 1_000)
        bars.on_records(500)
        bars.on_training("reading", 1, 400)
        bars.on_rows(0, 5_000)
        bars.on_rows(4_000, 5_000)
        bars._progress.refresh()


def test_rows_are_shown_on_a_terminal() -> None:
    out = io.StringIO()
    all_steps(Console(file=out, force_terminal=True, width=160))
    assert "inferring rows" in out.getvalue()
    assert "4000/5000" in out.getvalue()


def test_the_rate_is_in_rows_a_second() -> None:
    progress = Progress(disable=True)
    progress.add_task("inferring rows", total=5_000)
    (task,) = progress.tasks
    assert RateColumn().render(task).plain == ""
    task.finished_speed = 1_234.5
    assert RateColumn().render(task).plain == "1,234/s"


def test_nothing_is_written_where_there_is_no_terminal() -> None:
    out = io.StringIO()
    all_steps(Console(file=out, force_terminal=False))
    assert out.getvalue() == ""
