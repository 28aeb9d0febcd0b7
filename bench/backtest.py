"""How long a backtest of three million events takes, and how much memory: ``python -m bench.backtest``."""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bench.table import Figure, publish
from stream.worlds import world_named, write_log
from tidegate.cli.backtest import backtest
from tidegate.cli.watching import Bars
from tidegate.config import load_settings

N_EVENTS = 3_000_000
POLICIES = ["never", "every:2", "always", "adaptive", "oracle"]
_FLAGS = {"pane": "1d", "window": "3d", "gap": "30m", "positive": "engagement >= 0.5", "engine": "frequency"}
# A backtest goes over a log several times; what is compiled by then is compiled once a machine.
_WARM_UP_DAYS = 8


def main() -> None:
    """Write a log, go over a small one to load the kernels, and measure in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        log, small = Path(folder) / "log.parquet", Path(folder) / "small.parquet"
        world = replace(world_named("mixed"), n_clusters=256, sessions_per_day=9_000, growth=3.0)
        n_events = write_log(world, log)
        write_log(replace(world, days=_WARM_UP_DAYS, sessions_per_day=500), small)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, peak_mib, n_transitions, n_pairs = pool.apply(_measure, (log, small))
    conditions = (
        f"{n_events:,} events, {n_transitions:,} transitions of {n_pairs:,} pairs a window, 256 clusters, 28 panes; "
        f"{', '.join(POLICIES)}; frequency engine, drift of every window with 200 permutations; 2 cores"
    )
    publish(
        "backtest",
        [
            Figure("backtest of 3 M events", seconds, "s", "<= 60", conditions),
            Figure("peak memory", peak_mib, "MiB", "<= 2,048", conditions),
        ],
    )


def _measure(log: Path, small: Path) -> tuple[float, float, int, int]:
    with tempfile.TemporaryDirectory() as home, Bars(Console(quiet=True)) as bars:
        flags = {**_FLAGS, "home": Path(home)}
        backtest(load_settings({**flags, "source": str(small)}), POLICIES, bars)
        started = time.perf_counter()
        summary = backtest(load_settings({**flags, "source": str(log)}), POLICIES, bars)
        seconds = time.perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, peak_mib, summary["transitions"], summary["policies"]["always"]["first_table_calls"]


if __name__ == "__main__":
    main()
