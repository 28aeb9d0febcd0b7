"""Bars show what goes on where there is a terminal, and nothing where there is none."""

from __future__ import annotations

import io

from rich.console import Console

from tidegate.cli.watching import Bars


def shown(*, is_terminal: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=120)
    with Bars(console) as bars:
        bars.begin(100, 1_000)
        bars.on_records(50)
        bars.on_training("reading", 10, 400)
        bars._progress.refresh()
        bars.on_rows(512, 2_048)
        bars._progress.refresh()
        bars.on_decision("rows bought: 3 by drift")
        bars._progress.refresh()
        bars.stop()
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_terminal_sees_records_training_and_inference():
    text = shown(is_terminal=True)
    for part in ("150/1000", "training: reading (steps)", "10/400", "inferring rows", "512/2048", "3 by drift"):
        assert part in text


def test_a_file_sees_nothing():
    assert shown(is_terminal=False).strip() == ""
