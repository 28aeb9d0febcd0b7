"""What the adaptive policy is for, on worlds whose drift is known (frequency engine, so that it is quick).

Policies are compared by a backtest, whose hits and calls are those of runs (`tests.integration.test_backtest`).
`make demo` shows the same with the embedded model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stream.worlds import world_named, write_log
from tests.runs import SYNTHETIC
from tidegate.cli.backtest import backtest
from tidegate.cli.watching import Bars
from tidegate.config import load_settings


def compared(world: str, seed: int, folder: Path, *policies: str) -> dict[str, Any]:
    log = folder / f"{world}.parquet"
    write_log(replace(world_named(world), seed=seed), log)
    settings = load_settings({"source": str(log), "home": folder / "home", "seed": seed, **SYNTHETIC})
    with Bars(Console(quiet=True)) as bars:
        return backtest(settings, list(policies), bars)


def reasons(figures: dict[str, Any]) -> set[str]:
    return {reason for pane in figures["by_pane"] for reason in pane["reasons"]}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_adaptive_reaches_the_calendars_hit_rate_with_a_tenth_of_its_calls(seed: int, tmp_path: Path):
    summary = compared("demo", seed, tmp_path, "adaptive", "every:2d")
    adaptive, calendar = summary["policies"].values()
    assert adaptive["hit_rate_next"] >= calendar["hit_rate_next"]
    assert adaptive["hit_rate_sequence"] >= calendar["hit_rate_sequence"]
    assert adaptive["hit_information_bits"] >= calendar["hit_information_bits"]
    assert adaptive["incremental_calls"] <= calendar["incremental_calls"] / 10
    assert adaptive["first_table_calls"] <= calendar["first_table_calls"]
    assert "drift" in reasons(adaptive)
    assert summary["windows_alarmed"] > 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_drift_nothing_is_refreshed_by_reason_of_drift(seed: int, tmp_path: Path):
    summary = compared("flat", seed, tmp_path, "adaptive")
    assert summary["windows"] == 23
    assert "drift" not in reasons(summary["policies"]["adaptive"])
    assert summary["windows_alarmed"] == 0


def test_growing_traffic_is_not_drift(tmp_path: Path):
    summary = compared("growth", 0, tmp_path, "adaptive")
    assert summary["windows_alarmed"] == 0
    assert "drift" not in reasons(summary["policies"]["adaptive"])
