"""Backtests for calibration: a log with its flags, and what each policy came to."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from stream.worlds import World, write_log
from tidegate.cli.backtest import backtest
from tidegate.cli.watching import Bars
from tidegate.config import load_settings

Standings = dict[str, dict[str, Any]]

WORLD_FLAGS = {"pane": "1d", "window": "3d", "gap": "30m", "positive": "engagement >= 0.5"}


def standings(source: Path, policies: list[str], **flags: Any) -> dict[str, Any]:
    """Run a backtest with the frequency engine; returns what ``tidegate backtest --json`` writes."""
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings({"source": str(source), "home": Path(home), "engine": "frequency", **flags})
        with Bars(Console(quiet=True)) as bars:
            return backtest(settings, policies, bars)


def of_world(world: World, policies: list[str], **flags: Any) -> dict[str, Any]:
    """Write a world's log to a temporary folder, and run a backtest on it."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.parquet"
        write_log(world, log)
        return standings(log, policies, **WORLD_FLAGS, **flags)


def dense(world: World, seed: int) -> World:
    """Make a world dense: in the median, a pair has more than 30 transitions in a window of three days."""
    return replace(world, seed=seed, n_clusters=32, sessions_per_day=7_000)
