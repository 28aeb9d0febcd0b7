"""``tidegate synth``: write a synthetic log with planted, known drift, and its ground truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from stream.sources.opening import parse_kafka_url
from stream.worlds import WORLDS, World, world_named, write_log, write_truth
from stream.worlds.settings import SECONDS_PER_DAY
from tidegate.cli.options import given_flags
from tidegate.cli.stopping import stop_signal
from tidegate.clock import SystemClock
from tidegate.errors import RequestError


@click.command("synth")
@click.option("--out", type=click.Path(path_type=Path), help="Log: .csv, .csv.gz, .jsonl or .parquet.")
@click.option("--to", metavar="kafka://HOST:PORT/TOPIC", help="Topic to write to, instead of a log or besides.")
@click.option(
    "--world", "name", type=click.Choice(sorted(WORLDS)), default="demo", show_default=True, help="What is planted."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of every random choice.")
@click.option("--days", type=click.IntRange(min=1), help="Length of the log; the world's own by default.")
@click.option("--clusters", type=click.IntRange(min=24), help="Interest clusters; the world's own by default.")
@click.option("--users", type=click.IntRange(min=1), help="Users; the world's own by default.")
@click.option("--sessions-per-day", type=click.IntRange(min=1), help="Traffic; the world's own by default.")
@click.option("--recent", is_flag=True, help="Let the last day be yesterday; by default the first is 2024-01-01.")
@click.option("--truth", type=click.Path(path_type=Path), help="Where to write what was planted, as JSON.")
@click.option(
    "--day-seconds",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Seconds that a day takes on its way to the topic; 0: as fast as it goes.",
)
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Partitions of a topic that is not there.",
)
@click.option("--kafka", multiple=True, metavar="KEY=VALUE", help="librdkafka property; may be repeated.")
def synth_command(
    out: Path | None,
    to: str | None,
    name: str,
    seed: int,
    days: int | None,
    clusters: int | None,
    users: int | None,
    sessions_per_day: int | None,
    recent: bool,
    truth: Path | None,
    day_seconds: float,
    partitions: int,
    kafka: tuple[str, ...],
) -> None:
    """Write a synthetic log of watch events with planted, known interest drift, into a file or to a topic."""
    if out is None and to is None:
        raise RequestError("the events have no place to go", "Name a file with --out, or a topic with --to")
    known = world_named(name)
    world = replace(
        known,
        seed=seed,
        days=days or known.days,
        n_clusters=clusters or known.n_clusters,
        n_users=users or known.n_users,
        sessions_per_day=sessions_per_day or known.sessions_per_day,
    )
    if recent:
        world = replace(world, start_s=_midnight_s() - world.days * SECONDS_PER_DAY)
    if truth is not None:
        write_truth(world, truth)
        click.echo(f"{truth}: what was planted")
    if out is not None:
        _say(str(out), write_log(world, out), world)
    if to is not None:
        _say(to, _send(world, to, day_seconds, partitions, kafka), world)


def _midnight_s() -> int:
    return SystemClock().now_ms() // 1_000 // SECONDS_PER_DAY * SECONDS_PER_DAY


def _send(world: World, to: str, day_seconds: float, n_partitions: int, kafka: tuple[str, ...]) -> int:
    from stream.worlds.topic import Pace, create_topic, send_log

    brokers, topic = parse_kafka_url(to)
    properties = given_flags({"kafka": kafka}).get("kafka", {})
    create_topic(brokers, topic, n_partitions, properties)
    with stop_signal() as stop:
        return send_log(world, brokers, topic, Pace(day_seconds, stop.wait), SystemClock(), properties)


def _say(place: str, n_events: int, world: World) -> None:
    click.echo(f"{place}: {n_events:,} events of world {world.name!r}, seed {world.seed}")
