from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench import table
from bench.table import Figure, publish

_FIGURES = [
    Figure("decode", 612_345.6, "events/s", ">= 300,000", "2 cores, median of 5"),
    Figure("hit rate", 0.24123, "ratio"),
    Figure("calls [all]", 1_203, "calls"),
    Figure("peer", None, "events/s", conditions="not installed"),
    Figure("verdict", "exact", ""),
]


def test_figures_are_printed_and_written_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "OUT", tmp_path / "out")
    console = Console(file=io.StringIO(), width=120)
    publish("throughput", _FIGURES, console=console)
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    for words in ("612,346", "0.2412", "1,203", "calls [all]", "–", "exact", ">= 300,000", "2 cores, median of 5"):
        assert words in printed
    written = json.loads((tmp_path / "out" / "throughput.json").read_text())
    assert list(written[0]) == ["name", "value", "unit", "goal", "conditions"]
    assert [row["value"] for row in written] == [612_345.6, 0.24123, 1_203, None, "exact"]


def test_later_run_replaces_the_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(table, "OUT", tmp_path)
    publish("x", _FIGURES)
    publish("x", _FIGURES[:1])
    assert len(json.loads((tmp_path / "x.json").read_text())) == 1
    assert "decode" in capsys.readouterr().out
