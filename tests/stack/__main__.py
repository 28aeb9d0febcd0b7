"""``python -m tests.stack``: the whole story on this machine, with real servers; see ``make stack``."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import httpx
from rich.console import Console

from tests.broker import KafkaBroker
from tests.components import KAFKA, POSTGRES, PROMETHEUS, ComponentMissingError
from tests.postgres import PostgresServer
from tests.stack.picture import take
from tests.stack.processes import StackError
from tests.stack.scene import Pace, Scene, playing
from tests.stack.sightings import Story, cells_of, records_of, story_of, table_of, watch

LIMIT_SECONDS = 340.0


def main() -> int:
    """Play it, say what was seen, and return 1 where that is not the story."""
    parser = argparse.ArgumentParser(prog="make stack", description=__doc__)
    parser.add_argument("--world", default="abrupt", help="what is planted (tidegate synth)")
    parser.add_argument("--days", type=int, default=14, help="length of the log")
    parser.add_argument("--day-seconds", type=float, default=4.0, help="seconds that a day takes, at least")
    parser.add_argument("--engine", default="frequency", help="frequency, or embedded, which trains a model first")
    parser.add_argument("--keep", type=Path, help="folder for logs and everything else, kept; default: a temporary one")
    parser.add_argument("--limit", type=float, default=LIMIT_SECONDS, help="seconds after which it has failed")
    parser.add_argument("--picture", type=Path, help="file for a picture of the console at the end")
    options = parser.parse_args()
    pace = Pace(options.world, options.days, day_seconds=options.day_seconds, engine=options.engine)
    with tempfile.TemporaryDirectory(prefix="tidegate-stack-") as temporary:
        folder = (options.keep or Path(temporary)) / "stack"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            return play(folder, pace, Console(width=140), options.picture, options.limit)
        except StackError as error:
            print(error, file=sys.stderr)
            return 1


def play(folder: Path, pace: Pace, console: Console, picture: Path | None, limit_seconds: float) -> int:
    """Start servers and roles, watch them, sum up."""
    started = time.monotonic()
    for name in ("kafka", "postgres"):
        (folder / name).mkdir()
    with (
        KafkaBroker(KAFKA.find(), folder / "kafka") as kafka,
        PostgresServer(POSTGRES.find(), folder / "postgres") as postgres,
    ):
        console.print(f"{time.monotonic() - started:3.0f} s  Apache Kafka on {kafka.bootstrap}, {postgres.address}")
        with playing(kafka, postgres, PROMETHEUS.find(), folder, pace) as scene:
            console.print(f"{time.monotonic() - started:3.0f} s  {len(scene.processes)} processes are up")
            records = watch(
                scene,
                limit_seconds - (time.monotonic() - started),
                lambda record: console.print(f"{time.monotonic() - started:3.0f} s  {'  '.join(cells_of(record))}"),
            )
            story = story_of(scene, records)
            console.print(table_of(records_of(scene), story.drift_ms))
            say(scene, story, console)
            if picture is not None:
                show(scene, picture, console)
            codes = scene.processes.stop()
    ended = ", ".join(f"{name} {code} in {seconds:.1f} s" for name, (code, seconds) in codes.items())
    console.print(f"{time.monotonic() - started:3.0f} s  ended, with exit codes: {ended}")
    is_clean = not any(code for code, _ in codes.values())
    return 0 if story.holds and is_clean else 1


def say(scene: Scene, story: Story, console: Console) -> None:
    """Print what Prometheus and the look-up service saw, and how it ended."""
    up = scene.prometheus.targets()
    firing = sorted({alert["labels"]["alertname"] for alert in scene.prometheus.alerts() if alert["state"] == "firing"})
    rates = scene.prometheus.now('max by (run) (tidegate_hit_rate{kind="next"})')
    pointer = httpx.get(f"{scene.look_ups}/readyz", timeout=5.0)
    console.print(f"Prometheus scrapes {sum(health == 'up' for health in up.values())} of {len(up)} targets")
    console.print(f"Prometheus' last next-hit rate: {', '.join(f'{value:.3f}' for _, value in rates)}")
    console.print(f"alerts that fire: {', '.join(firing) or 'none'}")
    console.print(f"look-ups: {pointer.status_code} {pointer.text.strip()[:120]}")
    console.print(
        f"next-hit rate before the drift {story.before:.3f}, lowest since {story.dip:.3f}, at the end {story.after:.3f}"
    )
    console.print(
        f"since the drift {story.n_refreshes} refreshes, {story.n_calls:,} calls, {story.n_rows:,} rows changed; "
        f"version {story.version_before} became {story.version}"
    )
    console.print("the story holds" if story.holds else "THE STORY DOES NOT HOLD")


def show(scene: Scene, path: Path, console: Console) -> None:
    """Keep a picture of the console, where there is a browser."""
    try:
        take(f"{scene.console}/", path)
    except ComponentMissingError as missing:
        console.print(f"no picture of the console: {missing}")
    else:
        console.print(f"the console: {path}")


if __name__ == "__main__":
    sys.exit(main())
