"""Workers of a shared run: events a second against the bare client, memory, window close, start-up.

``python -m bench.workers [--quick]``. A real broker on loopback holds JSON messages of about 95 bytes by 200,000 users
in 761 clusters; SQLite on the disk is the store, with a commit a second. Worker and bare client take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.processes import measure, python
from bench.table import Figure, publish

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = python("-c", "from tidegate.cli.main import main; main()")
N_CLUSTERS, N_USERS, N_DAYS, SEED = 761, 200_000, 5, 7
TOPIC, MANY = "watches", "many"
_AT_ONCE = 50_000  # messages
_HEAP = ("-Xmx1g", "-XX:+UseG1GC", "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


def main() -> None:
    """Measure and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of everything, one round")
    parser.add_argument("--stage", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage:
        print(json.dumps(STAGES[given.stage[0]](*given.stage[1:])))
        return
    share, rounds = (10, 1) if given.quick else (1, 3)
    publish(
        "workers", [*_rates(3_000_000 // share, rounds), *_close(10_000_000 // share), *_start(10_000_000 // share)]
    )


def _rates(n_messages: int, rounds: int) -> Iterator[Figure]:
    from tests.broker import KafkaBroker
    from tests.components import find_kafka

    with tempfile.TemporaryDirectory() as folder:
        kafka = Path(folder) / "kafka"
        kafka.mkdir()
        with KafkaBroker(find_kafka(), kafka, jvm_options=_HEAP) as broker:
            broker.create_topic(TOPIC)
            broker.produce(TOPIC, _messages(n_messages, N_USERS))
            turns = [_turn(broker.bootstrap, n_messages, Path(folder) / str(number)) for number in range(rounds)]
            broker.create_topic(MANY)
            broker.produce(MANY, _messages(4 * n_messages, 5 * N_USERS))
            many = _work(broker.bootstrap, MANY, Path(folder) / MANY)
    of = f"{n_messages:,} messages, 1 partition, median of {rounds} interleaved rounds"
    worker, bare = (statistics.median(turn[name] for turn in turns) for name in ("worker", "bare"))
    ratio = statistics.median(turn["worker"] / turn["bare"] for turn in turns)
    yield Figure("worker", worker, "events/s", ">= 300,000", f"{of}; broker on the same cores")
    yield Figure("bare consume()", bare, "messages/s", "", f"{of}; the worker's client settings")
    yield Figure("worker / bare", ratio, "", ">= 0.6", "median of the rounds' ratios")
    yield Figure("worker: peak memory", max(turn["peak_mib"] for turn in turns), "MiB", "<= 512", f"{N_USERS:,} users")
    of = f"{5 * N_USERS:,} users, {4 * n_messages:,} messages in {N_DAYS} days, sequences end after a day's gap"
    yield Figure("worker: peak memory, many users", many["peak_mib"], "MiB", "<= 512", of)


def _messages(n: int, n_users: int) -> Iterator[tuple[bytes, bytes]]:
    import numpy as np

    from stream.worlds.draws import pick, zipf_cdf

    rng, cdf = np.random.default_rng(SEED), zipf_cdf(N_CLUSTERS)
    value = b'{"user_id": "u%07d", "category": "interest-%03d", "timestamp": %d, "engagement": 0.%03d}'
    # A few at a time: this process's own memory would else be the least that is seen of those that it starts.
    for first in range(0, n, _AT_ONCE):
        size = min(_AT_ONCE, n - first)
        users, clusters = rng.integers(0, n_users, size), pick(cdf, rng.random(size))
        times = 1_704_067_200 + (first + np.arange(size)) * N_DAYS * 86_400 // n
        engagement = rng.integers(350, 1_000, size)
        columns = (column.tolist() for column in (users, clusters, times, engagement))
        for user, cluster, time_s, share in zip(*columns, strict=True):
            yield b"u%07d" % user, value % (user, cluster, time_s, share)


def _turn(bootstrap: str, n_messages: int, home: Path) -> dict[str, float]:
    worked = _work(bootstrap, TOPIC, home)
    bare = json.loads(measure(python("-m", "bench.workers", "--stage", "bare", bootstrap, str(n_messages))).output)
    return {**worked, "bare": bare["rate"]}


def _work(bootstrap: str, topic: str, home: Path) -> dict[str, float]:
    report = home.with_suffix(".json")
    flags = ("--source", f"kafka://{bootstrap}/{topic}", "--home", str(home), "--positive", "engagement >= 0.5")
    counting = ("--gap", "1d", "--gate", "none", "--until-end", "--json", str(report))
    measured = measure([*PROGRAM, "worker", *flags, *counting])
    figures = json.loads(report.read_bytes())
    return {"worker": figures["events"] / figures["busy_seconds"], "peak_mib": measured.peak_mib}


def _stage_bare(bootstrap: str, n_messages: str) -> dict[str, Any]:
    """Consume and count messages, nothing else."""
    import time

    from confluent_kafka import TopicPartition

    from stream.sources.collection import collection_paused
    from stream.sources.kafka_group import BATCH_RECORDS, PREFETCH
    from stream.sources.kafka_log import open_consumer

    consumer = open_consumer(bootstrap, PREFETCH)
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    n, started = 0, 0.0
    while n < int(n_messages):
        with collection_paused():
            fetched = len(consumer.consume(BATCH_RECORDS, timeout=0.05))
        if fetched and not n:
            started = time.perf_counter()
        n += fetched
    seconds = time.perf_counter() - started
    consumer.close()
    return {"rate": n / seconds}


def _close(n_triples: int) -> Iterator[Figure]:
    measured = measure(python("-m", "bench.workers", "--stage", "close", str(n_triples)), one_core=True)
    figures = json.loads(measured.output)
    of = f"{figures['pairs']:,} pairs, {figures['triples']:,} (triple, user bucket) counts a window, 32 shards, 1 core"
    yield Figure(
        "window close", figures["seconds"], "s", "<= 5", f"merge, write, read both windows, top-5 Jaccard; {of}"
    )
    yield Figure("window close: merge and write", figures["merge"], "s", "", of)
    yield Figure("window close: peak memory", measured.peak_mib, "MiB", "", of)


def _stage_close(n_triples: str) -> dict[str, Any]:
    from bench.window_close import close_windows

    return close_windows(int(n_triples))


def _start(n_users: int) -> Iterator[Figure]:
    measured = measure(python("-m", "bench.workers", "--stage", "start", str(n_users)), one_core=True)
    figures = json.loads(measured.output)
    of = f"open sequences of {n_users:,} users, two watches each, SQLite, 1 core"
    yield Figure("start-up: load a shard", figures["seconds"], "s", "<= 30", of)
    yield Figure("start-up: peak memory", measured.peak_mib, "MiB", "", of)


def _stage_start(n_users: str) -> dict[str, Any]:
    from bench.window_close import load_shard

    return load_shard(int(n_users))


STAGES = {"bare": _stage_bare, "close": _stage_close, "start": _stage_start}

if __name__ == "__main__":
    main()
