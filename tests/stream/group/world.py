"""Workers over one store and one clock, with a broker that does what it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from stream.bad_share import BadShare
from stream.broker import Assignee, DeadLetter, Fetched, PartitionRecords
from stream.database import Database
from stream.decoding.columns import DecodeOptions
from stream.decoding.messages import MessageDecoder
from stream.gate import PatientGate
from stream.group.options import GroupOptions
from stream.group.worker import GroupWorker
from stream.predictions import Predictions, no_predictions
from stream.run_reader import RunReader
from stream.schema import offsets
from stream.sequences import SequenceOptions
from stream.shard import Shard, ShardOptions
from stream.shard_store import ShardStore, join_run
from stream.shared_codes import ShardCodes, SharedCodes
from tidegate.clock import ManualClock
from tidegate.errors import StoreUnavailableError

SEQUENCES = SequenceOptions(pane_ms=100_000, window_ms=200_000, n_buckets=4)


def event(user: int, cluster: str, seconds: int) -> bytes:
    return msgspec.json.encode({"user_id": user, "category": cluster, "timestamp": seconds})


@dataclass
class FakeBroker:
    """Does at each poll what was put on its list."""

    script: list[Callable[[Assignee], Fetched | None]] = field(default_factory=list)
    paused: set[int] = field(default_factory=set)
    mirrored: dict[int, int] = field(default_factory=dict)
    starts: dict[int, int | None] = field(default_factory=dict)
    held: set[int] = field(default_factory=set)

    def poll(self, assignee: Assignee) -> Fetched:
        return (self.script.pop(0)(assignee) if self.script else None) or Fetched()

    def start_of(self, partition: int, stored: int | None) -> int:
        self.starts[partition] = stored
        return stored or 0

    def pause(self, partitions: Iterable[int]) -> None:
        self.paused |= set(partitions)

    def resume(self, partitions: Iterable[int]) -> None:
        self.paused -= set(partitions)

    def mirror(self, offsets: Mapping[int, int]) -> None:
        self.mirrored.update(offsets)

    def close(self, assignee: Assignee) -> None:
        assignee.on_revoked(sorted(self.held))
        self.held.clear()

    def assign(self, *partitions: int) -> None:
        self.held |= set(partitions)
        self.script.append(lambda assignee: assignee.on_assigned(partitions) and None)

    def send(self, partition: int, *values: bytes, first: int = 0, end: int | None = None) -> None:
        """Bring records; `end` says that the log ends there."""
        offsets = np.arange(first, first + len(values))
        records = PartitionRecords(partition, values, offsets, lambda at: b"key %d" % at)
        ends = {} if end is None else {partition: end}
        self.script.append(lambda _: Fetched([records] if values else [], ends))


@dataclass
class Letters:
    """Dead letters, and what had been committed when they were flushed."""

    sent: list[DeadLetter] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)
    on_flush: Callable[[], int] = lambda: 0

    def send(self, letters: Sequence[DeadLetter]) -> None:
        self.sent += letters

    def flush(self) -> None:
        self.flushed.append(self.on_flush())


@dataclass
class Verdicts:
    """Decided up to `decided`, and away while `error` is set."""

    decided: int = 10**9
    errors: list[Exception] = field(default_factory=list)

    def first_pane(self) -> int | None:
        if self.errors:
            raise self.errors.pop()
        return 0

    def after(self, pane: int) -> Predictions | None:
        return no_predictions() if pane <= self.decided else None

    def latest(self) -> Predictions:
        return no_predictions()


@dataclass
class World:
    """Workers over one store, one clock."""

    database: Database
    clock: ManualClock = field(default_factory=lambda: ManualClock(now_ms=10**9))
    verdicts: Verdicts = field(default_factory=Verdicts)
    letters: Letters = field(default_factory=Letters)
    stream_ms: int | None = None

    def __post_init__(self) -> None:
        join_run(self.database, "run", "topic", "{}", 2)
        self.reader = RunReader(self.database, "run")
        self.letters.on_flush = lambda: sum(self.offsets().values())

    def offsets(self) -> dict[int, int]:
        return {p: n for shard in (0, 1) for p, n in self._offsets_of(shard).items()}

    def _offsets_of(self, shard: int) -> dict[int, int]:
        rows = self.reader._rows(offsets, offsets.c.partition, offsets.c.shard == shard)
        return {row.partition: row.next_offset for row in rows}

    def worker(
        self,
        limit: float = 1.0,
        patience_seconds: float = 10.0,
        should_stop: Callable[[], bool] = lambda: False,
        on_commit: Callable[[float], None] = lambda _: None,
        **options: Any,
    ) -> tuple[GroupWorker, FakeBroker]:
        broker = FakeBroker()
        codes = SharedCodes(self.database, "run")
        follows = options.get("until_end") is None
        shard_options = ShardOptions(SEQUENCES, lateness_ms=10_000, follows=follows)

        def open_shard(partition: int) -> Shard:
            store = ShardStore(self.database, "run", partition)
            return Shard(store, [partition], shard_options, ShardCodes(codes), "topic")

        columns = DecodeOptions(user_column="user_id", cluster_column="category", time_column="timestamp")
        worker = GroupWorker(
            broker,
            open_shard,
            MessageDecoder(columns, self.clock, explains_all=True),
            PatientGate(self.verdicts, self.clock, 600.0),
            self.letters,
            BadShare(limit, n_least=1),
            lambda: self.stream_ms,
            self.clock,
            GroupOptions("topic", patience_seconds=patience_seconds, **options),
            should_stop,
            on_commit,
        )
        return worker, broker

    def transitions(self) -> int:
        return int(sum(row[0] for row in self.reader.stats().values()))


WATCHES = [event(1, "a", 1), event(1, "b", 2), event(1, "c", 3), event(1, "d", 150), event(1, "e", 300)]


def go_on(worker: GroupWorker, n: int = 1) -> None:
    for _ in range(n):
        worker.step()


def away() -> StoreUnavailableError:
    return StoreUnavailableError("the database refused", "Wait", place="store")


def fail_with(error: Exception) -> Any:
    raise error
