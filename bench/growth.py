"""How a worker's cost grows: with clusters, users, partitions and late events, one at a time.

``python -m bench.growth [--quick]``. A worker without its client: messages are made in memory, so that what is measured
is decoding, counting and committing alone; the store is SQLite on the disk, with a commit a second. One core.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from bench.growth_input import Load
from bench.processes import measure, python
from bench.table import Figure, publish

BASE = Load()
GROWN = {
    "n_clusters": (100, 10_000, 60_000),
    "n_users": (10_000, 1_000_000, 5_000_000),
    "n_partitions": (8, 64),
    "late_share": (0.01, 0.1),
}
WORDS = {"n_clusters": "clusters", "n_users": "users", "n_partitions": "partitions", "late_share": "late share"}
# Few users repeat themselves, so nearly every transition is a triple of its own.
MANY = Load(n_events=16_000_000, n_users=1_000_000)


def main() -> None:
    """Measure and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the events")
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        from bench.growth_load import count_load

        print(json.dumps(count_load(Load(**json.loads(given.stage)))))
        return
    publish("growth", list(_figures(10 if given.quick else 1)))


def _figures(share: int) -> Iterator[Figure]:
    yield from _figure("base", BASE, share)
    for name, values in GROWN.items():
        for value in values:
            yield from _figure(f"{WORDS[name]}: {value:,}", replace(BASE, **{name: value}), share)
    yield from _figure("1 M users, many triples", MANY, share)


def _figure(name: str, load: Load, share: int) -> Iterator[Figure]:
    load = replace(load, n_events=load.n_events // share)
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(
            python("-m", "bench.growth", "--stage", json.dumps(asdict(load))),
            one_core=True,
            environment={"TMPDIR": folder},
        )
    yield from _rows(name, load, json.loads(measured.output))


def _rows(name: str, load: Load, found: dict[str, Any]) -> Iterator[Figure]:
    of = f"{load.n_events:,} events, {load.n_users:,} users, {load.n_clusters:,} clusters"
    yield Figure(f"{name}: rate", found["rate"], "events/s", "", of)
    yield Figure(f"{name}: peak memory", found["peak_mib"], "MiB", "", of)
    written = found["written_bytes"] / load.n_events
    yield Figure(f"{name}: written", written, "bytes/event", "", f"SQLite writes pages, and most of them twice; {of}")
    triples = f"{found['triples']:,} distinct triples; {of}"
    yield Figure(f"{name}: store", found["store_bytes"] / load.n_events, "bytes/event", "", triples)


if __name__ == "__main__":
    main()
