"""One suite for the databases under a store: a run of its own, and what is committed to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from stream.checkpoint import Checkpoint, EventIds, Marks, Progress, StoredIssue, WaitingEvents
from stream.closing import PaneCloser
from stream.database import Database
from stream.ledger import Ledger
from stream.run_reader import RunReader
from stream.schema import clusters, pane_parts
from stream.sequences import UserSegment
from stream.shard_store import ShardStore, join_run
from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.errors import StoreUnavailableError

PANE_MS = 100
_numbers = count()


@dataclass
class Store:
    """A run of its own on one kind of database."""

    url: str
    run_id: str = ""
    opened: list[Database] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run_id = f"run-{next(_numbers)}"
        self.database = self.open()

    def open(self) -> Database:
        self.opened.append(Database(self.url))
        return self.opened[-1]

    def close(self) -> None:
        for database in self.opened:
            database.close()

    def shard(self, number: int = 0, owner: str = "") -> ShardStore:
        return ShardStore(self.database, self.run_id, number, owner=owner)

    def join(self, n_partitions: int = 2) -> None:
        join_run(self.database, self.run_id, "topic", "{}", n_partitions)

    def closer(self, database: Database | None = None) -> PaneCloser:
        return PaneCloser(database or self.database, self.run_id, PANE_MS, 10)

    @property
    def reader(self) -> RunReader:
        return RunReader(self.database, self.run_id)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.database, self.run_id)


def counts_of(*of_key: tuple[int, int]) -> BucketedCounts:
    return BucketedCounts(np.array([key for key, _ in of_key]), np.array([n for _, n in of_key]))


def transitions(c1: int, c2: int, c_next: int, n: int) -> BucketedCounts:
    keys = pack_transitions(np.array([c1]), np.array([c2]), np.array([c_next]), np.array([0]))
    return BucketedCounts(keys, np.array([n]))


def waiting(*times_ms: int) -> WaitingEvents:
    n = len(times_ms)
    users = np.arange(n, dtype=np.uint64) + np.uint64(2**63)
    return WaitingEvents(("a", "b"), users, np.arange(n, dtype=np.int32) % 2, np.array(times_ms))


def ids_of(*times_ms: int) -> EventIds:
    return EventIds(np.arange(1, len(times_ms) + 1, dtype=np.uint64), np.array(times_ms))


def segment_of(user: int) -> UserSegment:
    one = np.ones(1, np.int32)
    return UserSegment(np.array([user], np.uint64), np.array([7]), one, one, np.array([7]), -one)


def full_checkpoint() -> Checkpoint:
    return Checkpoint(
        progress=Progress(
            earliest_ms=-3,
            latest_ms=7,
            first_pane=-1,
            closed_pane=4,
            counted_ms=500,
            outcomes={"counted": 3},
            issues=(StoredIssue("malformed", "topic[0]@2", "no time", "Add one"),),
        ),
        marks=Marks(-3, 7, 550, 500, is_idle=True),
        offsets={0: (2**40, -5)},
        new_clusters={0: "naïve", 1: "b"},
        first_seen={1: 12},
        segment=segment_of(2**64 - 1),
        waiting=waiting(500, 600),
        event_ids=ids_of(1, 900),
        counts={5: counts_of((2**62, 2), (2**62 + 1, 1)), 6: counts_of()},
        stats={5: np.arange(7, dtype=np.int64)},
    )


def content_of(shard: ShardStore) -> dict[str, Any]:
    with shard.database.reading() as connection:
        parts = connection.execute(
            select(pane_parts.c.pane, pane_parts.c["keys"], pane_parts.c.counts)
            .where(pane_parts.c.run_id == shard.run_id, pane_parts.c.shard == shard.shard)
            .order_by(pane_parts.c.pane, pane_parts.c.commit_number)
        ).all()
    return {
        "progress": shard.progress(),
        "marks": shard.marks()[shard.shard],
        "offsets": shard.offsets(),
        "codes": shard.cluster_codes(),
        "segments": [(s.users.tolist(), s.clusters.tolist()) for s in shard.segments()],
        "waiting": [(w.names, w.users.tolist(), w.clusters.tolist(), w.times_ms.tolist()) for w in shard.waiting()],
        "ids": [(e.ids.tolist(), e.times_ms.tolist()) for e in shard.event_ids()],
        "stats": {pane: np.frombuffer(body, np.int64).tolist() for pane, body in shard.shard_stats().items()},
        "parts": [
            (pane, np.frombuffer(keys, np.int64).tolist(), np.frombuffer(n, np.int64).tolist())
            for pane, keys, n in parts
        ],
    }


def first_ms_of(store: Store) -> dict[int, int | None]:
    with store.database.reading() as connection:
        rows = connection.execute(
            select(clusters.c.code, clusters.c.first_ms).where(clusters.c.run_id == store.run_id)
        ).all()
    return {row.code: row.first_ms for row in rows}


@contextmanager
def answers_getting_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    writing = store.database.writing

    class Lost:
        def __enter__(self) -> Any:
            self.block = writing()
            return self.block.__enter__()

        def __exit__(self, *args: Any) -> None:
            self.block.__exit__(*args)
            raise StoreUnavailableError("the connection broke", "Wait", place="store")

    with monkeypatch.context() as patch:
        patch.setattr(store.database, "writing", Lost)
        yield


def are_same(one: BucketedCounts, other: BucketedCounts) -> bool:
    return one.keys.tolist() == other.keys.tolist() and one.counts.tolist() == other.counts.tolist()
