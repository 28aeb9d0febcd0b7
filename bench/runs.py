"""Whole commands as a user runs them: wall time and peak memory.

``python -m bench.runs [--quick]``. The real logs lie where ``TIDEGATE_DATA`` says; without it only what is made on
the spot is measured, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.processes import Measured, cores, measure, python
from bench.table import Figure, publish

PROGRAM = python("-c", "from tidegate.cli.main import main; main()")


@dataclass(frozen=True, slots=True)
class Command:
    """A run of a real log.

    Attributes
    ----------
    log : str            folder under TIDEGATE_DATA
    flags : tuple        beyond source and home
    wall_goal : str      in words; empty for a mere record
    peak_goal : str
    """

    log: str
    flags: tuple[str, ...]
    wall_goal: str = ""
    peak_goal: str = ""

    @property
    def name(self) -> str:
        """What the table calls it."""
        engine = self.flags[self.flags.index("--engine") + 1] if "--engine" in self.flags else "embedded"
        return f"run {self.log}, {engine}"


_BY_WEEK = ("--pane", "7d", "--window", "28d")
_POSITIVE = ("--positive", "engagement >= 0.5")
_FREQUENCY = ("--engine", "frequency")
# Without the model, whose runtime alone is several hundred MiB.
_LEAN = "<= 1,024"
COMMANDS = (
    Command("kuairand_pure", _POSITIVE, wall_goal="<= 30"),
    Command("kuairand_pure", (*_POSITIVE, *_FREQUENCY), peak_goal=_LEAN),
    Command("foursquare_nyc", (*_BY_WEEK, *_FREQUENCY), peak_goal=_LEAN),
    Command("movietweetings", (*_BY_WEEK, "--gap", "none", *_FREQUENCY), peak_goal=_LEAN),
)


def main() -> None:
    """Measure every command and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.runs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no model: leave out the embedded engine and the demo")
    quick: bool = parser.parse_args().quick
    named = os.environ.get("TIDEGATE_DATA")
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, command in enumerate(COMMANDS):
            if not quick or "--engine" in command.flags:
                figures += _run(command, Path(named) if named else None, Path(folder) / str(number))
        if not quick:
            figures += _demo(Path(folder) / "demo")
    publish("runs", figures)


def _run(command: Command, data: Path | None, home: Path) -> list[Figure]:
    if data is None:
        return [Figure(command.name, None, "s", command.wall_goal, "left out: TIDEGATE_DATA is not set")]
    log = data / command.log / "events.csv.gz"
    if not log.is_file():
        return [Figure(command.name, None, "s", command.wall_goal, "left out: TIDEGATE_DATA has no such log")]
    home.mkdir()
    report = home / "summary.json"
    where = ("--source", str(log), "--home", str(home), "--json", str(report))
    measured = measure([*PROGRAM, "run", *where, *command.flags])
    summary = json.loads(report.read_bytes())
    work = (
        f"{' '.join(command.flags)}; {summary['events']:,} events, {summary['transitions']:,} transitions, "
        f"{summary['windows']} windows, {summary['llm_calls']:,} calls"
    )
    return _figures(command.name, measured, command.wall_goal, command.peak_goal, work)


def _demo(out: Path) -> list[Figure]:
    measured = measure([*PROGRAM, "demo", "--out", str(out)])
    runs: dict[str, dict[str, Any]] = json.loads((out / "summary.json").read_bytes())
    n_events = next(iter(runs.values()))["events"]
    work = f"{len(runs)} policies over {n_events:,} events, {sum(run['llm_calls'] for run in runs.values()):,} calls"
    return _figures("demo", measured, "<= 120", "", work)


def _figures(name: str, measured: Measured, wall_goal: str, peak_goal: str, work: str) -> list[Figure]:
    return [
        Figure(f"{name}: time", measured.wall_seconds, "s", wall_goal, f"{cores()}, one run, imports included; {work}"),
        Figure(f"{name}: peak memory", measured.peak_mib, "MiB", peak_goal, "of the process"),
    ]


if __name__ == "__main__":
    main()
