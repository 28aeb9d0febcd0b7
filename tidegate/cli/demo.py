"""``tidegate demo``: a synthetic world of a few weeks, and three policies side by side on it."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console

from monitoring.report import write_report
from monitoring.terminal import print_comparison
from stream.worlds import WORLDS, world_named, write_log, write_truth
from tidegate.cli.run import run
from tidegate.config import load_settings
from tidegate.files import write_atomically

# Adaptive comes first: it trains the model that all three are served by.
POLICIES = ("adaptive", "never", "every:2d")
# The world's sessions last minutes and come hours apart; a day's gap would glue them together.
FLAGS = {"positive": "engagement >= 0.5", "pane": "1d", "window": "3d", "gap": "30m", "engine": "embedded"}


@click.command("demo")
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo"), show_default=True, help="Folder.")
@click.option(
    "--world", "name", type=click.Choice(sorted(WORLDS)), default="demo", show_default=True, help="What is planted."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--days", type=click.IntRange(min=7), help="Length of the log; the world's own by default.")
def demo_command(out: Path, name: str, seed: int, days: int | None) -> None:
    """Show the whole story: first fine-tune, stream, drift, refreshes, a fine-tune flag; three policies compared.

    Writes the log, its ground truth, one home a policy, report.html and summary.json into the folder.
    """
    console = Console(stderr=True)
    out.mkdir(parents=True, exist_ok=True)
    known = world_named(name)
    world = replace(known, seed=seed, days=days or known.days)
    log = out / "log.parquet"
    n_events = write_log(world, log)
    write_truth(world, out / "truth.json")
    console.print(f"world {name!r}, seed {seed}: {n_events:,} events over {world.days} days")
    summaries = compare(log, out, seed, console)
    print_comparison(Console(), summaries)
    write_report(out / "report.html", f"Tidegate on the world {name!r}, seed {seed}", summaries, story=_story(out))
    write_atomically(out / "summary.json", msgspec.json.format(msgspec.json.encode(summaries), indent=2) + b"\n")
    console.print(f"report: {out / 'report.html'}")


def compare(log: Path, out: Path, seed: int, console: Console) -> dict[str, dict[str, Any]]:
    """Run every policy over `log`, each from scratch in a home of its own, all with the model that the first trains."""
    model: Path | None = None
    summaries: dict[str, dict[str, Any]] = {}
    for policy in POLICIES:
        home = out / policy.replace(":", "-")
        shutil.rmtree(home, ignore_errors=True)
        console.print(f"policy {policy} …")
        flags = {**FLAGS, "source": str(log), "home": home, "policy": policy, "seed": seed, "model": model}
        summaries[policy] = run(load_settings(flags), console, threading.Event())
        model = model or Path(summaries[policy]["model"])
    return summaries


def _story(out: Path) -> list[str]:
    truth = msgspec.json.decode((out / "truth.json").read_bytes())
    return [
        f"Planted: {drift['kind']} drift from {drift['start']} to {drift['end']}, "
        f"{drift['traffic_share']:.0%} of traffic, {len(drift['pairs'])} pairs."
        for drift in truth["drifts"]
    ] or ["Nothing was planted: this world does not drift."]
