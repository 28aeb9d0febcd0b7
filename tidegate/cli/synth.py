"""``tidegate synth``: write a synthetic log with planted, known drift, and its ground truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from stream.worlds import WORLDS, world_named, write_log, write_truth


@click.command("synth")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Log: .csv, .csv.gz, .jsonl or .parquet.")
@click.option(
    "--world", "name", type=click.Choice(sorted(WORLDS)), default="demo", show_default=True, help="What is planted."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--days", type=click.IntRange(min=1), help="Length of the log; the world's own by default.")
@click.option("--clusters", type=click.IntRange(min=24), help="Interest clusters; the world's own by default.")
@click.option("--users", type=click.IntRange(min=1), help="Users; the world's own by default.")
@click.option("--sessions-per-day", type=click.IntRange(min=1), help="Traffic; the world's own by default.")
@click.option("--truth", type=click.Path(path_type=Path), help="Where to write what was planted, as JSON.")
def synth_command(
    out: Path,
    name: str,
    seed: int,
    days: int | None,
    clusters: int | None,
    users: int | None,
    sessions_per_day: int | None,
    truth: Path | None,
) -> None:
    """Write a synthetic log of watch events with planted, known interest drift."""
    known = world_named(name)
    world = replace(
        known,
        seed=seed,
        days=days or known.days,
        n_clusters=clusters or known.n_clusters,
        n_users=users or known.n_users,
        sessions_per_day=sessions_per_day or known.sessions_per_day,
    )
    n_events = write_log(world, out)
    click.echo(f"{out}: {n_events:,} events of world {name!r}, seed {seed}")
    if truth is not None:
        write_truth(world, truth)
        click.echo(f"{truth}: what was planted")
