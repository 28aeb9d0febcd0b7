"""A log of watches that can be made again from its seed: what is produced while faults go on, and the oracle for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from stream.worlds.draws import pick, zipf_cdf
from tests.reference import SEQUENCES, TRANSITIONS, Rules, Watch, recount

BEGIN_S = 1_704_067_200
DAY_S = 86_400
LATENESS_S = 3_600  # more than a worker holds between two commits: what is read twice is not simply late
CHUNK = 500
# Repeats are kept wherever a sequence may hold them: a record that is counted twice must not vanish in de-duplication.
RULES = Rules(DAY_S * 1_000, 3 * DAY_S * 1_000, gap_ms=DAY_S * 1_000, adjacent=True, allow_return=True)
FLAGS = {"positive": "engagement >= 0.5", "gap": "1d", "lateness": "1h", "dedup": "adjacent", "allow_return": True}
"""The same rules, as flags of a run."""


class Record(NamedTuple):
    """One message."""

    user: int
    cluster: int
    time_s: int
    engagement: float
    is_malformed: bool

    @property
    def value(self) -> bytes:
        """The message as it is sent."""
        if self.is_malformed:
            return b'{"user_id": "u%d", "category"' % self.user
        body = {"user_id": f"u{self.user}", "category": f"interest-{self.cluster}", "timestamp": self.time_s}
        return json.dumps(body | {"engagement": self.engagement}).encode()


@dataclass(frozen=True)
class Watches:
    """An endless log, chunk by chunk; each chunk follows from the seed and its number.

    One record in a thousand does not parse, another one comes two hours late, a third of the rest is not positive.
    """

    seed: int
    n_partitions: int
    n_users: int = 4_000
    n_clusters: int = 60
    per_day: int = 40_000

    def partition_of(self, record: Record) -> int:
        """Where a record goes; all of one user go to one partition."""
        return record.user % self.n_partitions

    def chunk(self, number: int) -> list[Record]:
        """Make `CHUNK` records."""
        rng = np.random.default_rng((self.seed, number))
        users = rng.integers(0, self.n_users, CHUNK)
        clusters = pick(zipf_cdf(self.n_clusters), rng.random(CHUNK))
        numbers = np.arange(number * CHUNK, (number + 1) * CHUNK)
        times_s = BEGIN_S + numbers * DAY_S // self.per_day + rng.integers(0, 60, CHUNK)
        fate = rng.random(CHUNK)
        times_s[fate < 0.001] -= 7_200
        engagement = rng.integers(250, 1_000, CHUNK) / 1_000
        columns = (users, clusters, times_s, engagement, fate > 0.999)
        return [Record(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]

    def records(self, n: int) -> Iterator[Record]:
        """Make the first `n` records."""
        for number in range(-(-n // CHUNK)):
            yield from self.chunk(number)[: n - number * CHUNK]


class Truth(NamedTuple):
    """What a log counts to: transitions by (pane, c1, c2, c_next), (transitions, sequences) by pane, outcomes."""

    counts: dict[tuple[int, str, str, str], int]
    figures: dict[int, tuple[int, int]]
    outcomes: dict[str, int]


def truth_of(watches: Watches, n: int) -> Truth:
    """Recount the first `n` records in plain Python (`tests.reference`)."""
    outcomes: Counter[str] = Counter()
    latest_s = [-(2**62)] * watches.n_partitions
    kept = []
    for record in watches.records(n):
        if record.is_malformed or record.engagement < 0.5:
            outcomes["malformed" if record.is_malformed else "negative"] += 1
            continue
        partition = watches.partition_of(record)
        is_late = record.time_s < latest_s[partition] - LATENESS_S
        latest_s[partition] = max(latest_s[partition], record.time_s)
        outcomes["late" if is_late else "counted"] += 1
        if not is_late:
            kept.append(Watch(record.user, f"interest-{record.cluster}", 1_000 * record.time_s))
    kept.sort(key=lambda watch: watch.time_ms)
    counted = recount(kept, RULES)
    figures = {pane: (each[TRANSITIONS], each[SEQUENCES]) for pane, each in counted.figures.items()}
    return Truth(dict(counted.counts), figures, dict(outcomes))
