"""Whether a worker and an evaluator grow while they run: resident memory over an hour of a steady stream.

``python -m bench.soak [--minutes 60] [--rate 2000]``. A real broker on loopback, SQLite on the disk. Event time passes
sixty times as fast as the clock: an hour holds sixty panes, and what is older than a day is dropped from the store.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.table import Figure, publish

if TYPE_CHECKING:
    from tests.broker import KafkaBroker
    from tests.roles import Roles

TOPIC, N_USERS, N_CLUSTERS, N_PARTITIONS, SPEED = "soak", 50_000, 300, 2, 60
FIRST_SECONDS, STEP_SECONDS = 1_704_067_200, 5.0
FLAGS = {"pane": "1h", "window": "6h", "gap": "30m", "retention": "1d", "gate": "none", "engine": "frequency"}
ROLES = ("worker", "evaluator")


def main() -> None:
    """Measure and publish the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=2_000, help="events a second")
    given = parser.parse_args()
    publish("soak", list(_figures(given.minutes * 60.0, given.rate)))


def _figures(seconds: float, rate: int) -> Iterator[Figure]:
    from tests.broker import KafkaBroker
    from tests.components import find_kafka
    from tests.roles import Roles

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kafka").mkdir()
        with KafkaBroker(find_kafka(), folder / "kafka") as broker:
            broker.create_topic(TOPIC, N_PARTITIONS)
            flags = {**FLAGS, "source": f"kafka://{broker.bootstrap}/{TOPIC}", "topics": "soak-roles"}
            with Roles(folder, flags) as roles:
                samples = _watch(broker, roles, seconds, rate)
                ledger = roles.ledger()
                closed_pane, n_records = ledger.state().closed_pane, sum(ledger.outcomes().values())
                ledger.close()
    of = f"{seconds / 60:.0f} min at {rate:,} events/s, {N_USERS:,} users; {n_records:,} records read"
    for role in ROLES:
        rss = samples[role]
        half = rss[rss.shape[0] // 2 :]
        slope = float(np.polyfit(half[:, 0], half[:, 1], 1)[0]) * 3_600
        yield Figure(f"{role}: growth", slope, "MiB/h", "<= 1", f"line through the second half; {of}")
        yield Figure(f"{role}: memory at the end", float(half[-1, 1]), "MiB", "", of)
    n_panes = 0 if closed_pane is None else closed_pane - FIRST_SECONDS // 3_600 + 1
    yield Figure("panes closed", n_panes, "panes", "", of)


def _watch(broker: KafkaBroker, roles: Roles, seconds: float, rate: int) -> dict[str, np.ndarray]:
    """Feed the topic step by step; returns float64[n, 2] of seconds and MiB by role."""
    rng, started = np.random.default_rng(7), time.monotonic()
    processes = {role: roles.start(role) for role in ROLES}
    samples: dict[str, list[tuple[float, float]]] = {role: [] for role in ROLES}
    n_steps = round(seconds / STEP_SECONDS)
    for step in range(n_steps):
        broker.produce(TOPIC, _messages(rng, step, round(rate * STEP_SECONDS)))
        time.sleep(max(0.0, started + (step + 1) * STEP_SECONDS - time.monotonic()))
        for role, process in processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{role} has ended\n{roles.log_tail(role)}")
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            samples[role].append((time.monotonic() - started, pages * 4_096 / 2**20))
    return {role: np.array(of_role) for role, of_role in samples.items()}


def _messages(rng: np.random.Generator, step: int, n: int) -> Iterator[tuple[bytes, bytes]]:
    users, clusters = rng.integers(0, N_USERS, n), rng.zipf(1.3, n) % N_CLUSTERS
    first = FIRST_SECONDS + step * STEP_SECONDS * SPEED
    times = first + np.sort(rng.random(n)) * STEP_SECONDS * SPEED
    for user, cluster, time_s in zip(users.tolist(), clusters.tolist(), times.tolist(), strict=True):
        yield (
            b"u%d" % user,
            b'{"user_id": "u%d", "category": "interest-%d", "timestamp": %.3f}' % (user, cluster, time_s),
        )


if __name__ == "__main__":
    main()
