"""The worker of a group over a simulated broker: takes shards over, waits, gives back, and never counts twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.bad_share import BadShare
from stream.broker import Assignee, DeadLetter, Fetched, PartitionRecords
from stream.checkpoint import Checkpoint
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
from tidegate.errors import BadRecordsError, FencedError, StoreUnavailableError

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


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    database = Database(tmp_path / "runs.db")
    yield World(database)
    database.close()


WATCHES = [event(1, "a", 1), event(1, "b", 2), event(1, "c", 3), event(1, "d", 150), event(1, "e", 300)]


def _step(worker: GroupWorker, n: int = 1) -> None:
    for _ in range(n):
        worker.step()


def test_a_partition_that_is_given_is_counted_and_one_that_is_asked_back_is_committed_first(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    broker.send(0, *WATCHES)
    _step(worker, 2)
    assert worker.partitions == [0]
    assert world.transitions() == 2
    broker.script.append(lambda assignee: assignee.on_revoked([0]))
    _step(worker)
    assert (worker.partitions, world.offsets(), broker.mirrored) == ([], {0: 5}, {0: 5})
    other, others = world.worker()
    others.assign(0)
    _step(other)
    assert others.starts == {0: 5}


def test_commits_are_made_less_often_where_they_would_take_all_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = ShardStore.commit

    def slow(store: ShardStore, checkpoint: Checkpoint) -> None:
        world.clock.sleep(0.4)
        commit(store, checkpoint)

    monkeypatch.setattr(ShardStore, "commit", slow)
    worker, broker = world.worker(checkpoint_seconds=1.0)
    broker.assign(0, 1)
    _step(worker)
    n_commits, started = worker.figures.n_commits, world.clock.monotonic_seconds()
    for second in range(200):
        broker.send(0, event(1, "a", 20 + second), first=second)
        world.clock.sleep(1.0)
        _step(worker)
    took_seconds = 0.4 * (worker.figures.n_commits - n_commits)
    assert 0.02 < took_seconds / (world.clock.monotonic_seconds() - started) < 0.15


def test_a_partition_that_was_lost_is_let_go_without_a_commit(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    broker.send(0, *WATCHES[:3])
    broker.script.append(lambda assignee: assignee.on_lost([0]))
    broker.send(0, *WATCHES[3:], first=3)
    _step(worker, 4)
    assert (worker.partitions, world.offsets(), worker.figures.n_commits) == ([], {}, 0)
    worker.abandon()
    assert world.offsets() == {}


def test_closing_commits_and_abandoning_does_not(world: World) -> None:
    for close, expected in ((GroupWorker.abandon, {}), (GroupWorker.close, {0: 3})):
        worker, broker = world.worker()
        broker.assign(0)
        broker.send(0, *WATCHES[:3])
        _step(worker, 2)
        close(worker)
        assert world.offsets() == expected


def test_a_fenced_shard_is_dropped_and_a_rival_that_stays_is_refused(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    _step(worker)
    ShardStore(world.database, "run", 0, owner="a rival")
    broker.send(0, *WATCHES)
    broker.send(0, *WATCHES, first=5)
    _step(worker, 2)
    assert (worker.partitions, worker.figures.n_fenced, world.offsets()) == ([], 1, {})
    world.clock.advance_ms(119_000)
    _step(worker)
    world.clock.advance_ms(1_000)
    with pytest.raises(FencedError, match=r"another process has owned the partition for 120 s") as refused:
        worker.step()
    assert refused.value.place == "topic[0]"


def test_a_fenced_shard_that_the_group_gives_again_or_takes_back_is_no_rivals(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0, 1)
    _step(worker)
    for partition in (0, 1):
        ShardStore(world.database, "run", partition)
        broker.send(partition, *WATCHES)
    _step(worker, 2)
    assert worker.partitions == []
    broker.assign(0)
    broker.script.append(lambda assignee: assignee.on_lost([1]))
    _step(worker, 2)
    world.clock.advance_ms(500_000)
    broker.send(0, *WATCHES)
    _step(worker)
    assert (worker.partitions, world.transitions()) == ([0], 2)


def test_a_fenced_partition_is_no_rivals_before_the_group_has_had_its_say(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0, 1)
    _step(worker)
    ShardStore(world.database, "run", 0)
    both = [PartitionRecords(partition, WATCHES, np.arange(5)) for partition in (0, 1)]
    broker.script.append(lambda _: Fetched(both))
    world.letters.on_flush = lambda: world.clock.advance_ms(130_000) or 0  # type: ignore[func-returns-value]
    _step(worker)
    assert (worker.partitions, worker.figures.n_fenced) == ([1], 1)
    broker.script.append(lambda assignee: assignee.on_lost([0]))
    _step(worker)
    assert worker.partitions == [1]


def _away() -> StoreUnavailableError:
    return StoreUnavailableError("the database refused", "Wait", place="store")


@pytest.mark.parametrize("at", ["commit", "gate", "codes", "take over"])
def test_a_store_that_is_away_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    worker, broker = world.worker()
    errors = [_away() for _ in range(4)]

    def flaky(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if errors:
                raise errors.pop()
            return method(*args, **kwargs)

        return call

    if at == "gate":
        world.verdicts.errors = errors  # type: ignore[assignment]
    elif at == "codes":
        monkeypatch.setattr(SharedCodes, "of_names", flaky(SharedCodes.of_names))
    else:
        name = "commit" if at == "commit" else "_take_over"
        monkeypatch.setattr(ShardStore, name, flaky(getattr(ShardStore, name)))
    before = world.clock.monotonic_seconds()
    broker.assign(0)
    broker.send(0, *WATCHES)
    _step(worker, 2)
    assert not errors
    assert 0 < world.clock.monotonic_seconds() - before < 10
    assert world.transitions() == 2


def test_a_store_that_idle_shards_ask_is_waited_for_too(world: World) -> None:
    worker, broker = world.worker(idle_after_seconds=30.0)
    errors = [_away()]
    worker._stream_ms = lambda: _raise(errors.pop()) if errors else None
    broker.assign(0)
    broker.send(0, end=0)
    _step(worker, 2)
    world.clock.advance_ms(30_000)
    _step(worker)
    assert not errors


def _raise(error: Exception) -> Any:
    raise error


def test_a_worker_that_is_to_stop_does_not_wait_long_for_an_absent_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping: list[bool] = []
    worker, broker = world.worker(patience_seconds=600.0, should_stop=lambda: bool(stopping))
    broker.assign(0)
    broker.send(0, *WATCHES)
    _step(worker)
    monkeypatch.setattr(ShardStore, "commit", lambda *_: stopping.append(True) or _raise(_away()))
    before = world.clock.monotonic_seconds()
    with pytest.raises(StoreUnavailableError):
        worker.step()
    assert 1 < world.clock.monotonic_seconds() - before < 3
    worker.abandon()
    assert world.offsets() == {}


def test_a_store_that_stays_away_is_told_of_and_stops_the_worker(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker, broker = world.worker(patience_seconds=60.0)
    broker.assign(0)
    broker.send(0, *WATCHES)
    _step(worker)
    monkeypatch.setattr(ShardStore, "commit", lambda *_: _raise(_away()))
    before = world.clock.monotonic_seconds()
    with pytest.raises(StoreUnavailableError):
        worker.step()
    assert 60 <= world.clock.monotonic_seconds() - before < 65
    told = [record.getMessage() for record in caplog.records if record.name == "tidegate.store"]
    assert len(told) == 1  # not one for each attempt
    assert "the store refuses for now; trying again: " in told[0]


def test_dead_letters_say_what_was_where_and_are_safe_before_the_commit(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    broker.send(0, event(1, "a", 100), b"{nonsense", event(1, "b", 50), event(1, "c", 120), first=40)
    _step(worker, 2)
    worker.close()
    letters = sorted(world.letters.sent, key=lambda letter: letter.offset)
    assert [(x.topic, x.partition, x.offset, str(x.outcome), x.key, x.value) for x in letters] == [
        ("topic", 0, 41, "malformed", b"key 1", b"{nonsense"),
        ("topic", 0, 42, "late", b"key 2", event(1, "b", 50)),
    ]
    assert "the message is no readable object" in letters[0].error
    assert letters[1].error == "It came behind the watermark"
    assert world.letters.flushed[0] == 0
    assert world.offsets() == {0: 44}
    assert worker.figures.n_dead_letters == 2
    assert worker.figures.outcomes == {"malformed": 1, "late": 1, "counted": 2}


def test_too_many_bad_records_stop_the_worker_before_anything_is_dead_lettered_or_committed(world: World) -> None:
    worker, broker = world.worker(limit=0.5)
    broker.assign(0)
    broker.send(0, event(1, "a", 1), b"x", b"y", first=7)
    _step(worker)
    with pytest.raises(BadRecordsError, match=r"67% of the last 3 records") as refused:
        worker.step()
    assert refused.value.place == "topic[0]@7"
    worker.abandon()
    assert (world.letters.sent, world.offsets()) == ([], {})


def test_a_partition_whose_gate_is_shut_is_paused_when_it_holds_enough_and_resumed_when_it_opens(world: World) -> None:
    world.verdicts.decided = -1
    worker, broker = world.worker(max_waiting=3)
    broker.assign(0)
    broker.send(0, *WATCHES)
    _step(worker, 2)
    assert broker.paused == set()  # two wait
    broker.send(0, event(2, "a", 301), first=5, end=6)
    _step(worker)
    assert (broker.paused, world.transitions()) == ({0}, 1)
    world.clock.advance_ms(60_000)
    broker.send(0, end=6)
    _step(worker, 2)
    assert not RunReader(world.database, "run").marks()[0].is_idle  # nothing is asked of it
    world.verdicts.decided = 5
    _step(worker)
    assert (broker.paused, world.transitions()) == (set(), 2)


def test_reading_to_an_end_stops_there_though_the_last_offsets_hold_no_record(world: World) -> None:
    worker, broker = world.worker(until_end={0: 8, 1: 0})
    broker.assign(0, 1)
    broker.send(0, *WATCHES)
    _step(worker, 2)
    assert not worker.has_ended
    broker.send(0, end=8)
    _step(worker)
    world.clock.advance_ms(1_000)
    _step(worker)
    assert worker.has_ended
    assert all(marks.is_finished for marks in world.reader.marks().values())
    assert world.transitions() == 3


def test_reading_to_an_end_leaves_out_what_lies_behind_it_and_needs_no_word_of_it(world: World) -> None:
    worker, broker = world.worker(until_end={0: 8})
    broker.assign(0)
    broker.send(0, *WATCHES)
    broker.send(0, *WATCHES, first=9)  # the log has grown meanwhile, over a gap
    _step(worker, 3)
    world.clock.advance_ms(1_000)
    _step(worker)
    assert worker.has_ended
    assert (world.offsets(), world.transitions()) == ({0: 5}, 3)


def test_a_fetch_that_reaches_over_a_gap_at_the_stop_ends_the_partition(world: World) -> None:
    worker, broker = world.worker(until_end={0: 8})
    broker.assign(0)
    offsets = np.array([0, 1, 2, 9])  # 3 to 8 hold no record
    broker.script.append(lambda _: Fetched([PartitionRecords(0, [*WATCHES[:3], WATCHES[3]], offsets)]))
    _step(worker, 2)
    world.clock.advance_ms(1_000)
    _step(worker)
    assert worker.has_ended
    assert (world.offsets(), world.transitions()) == ({0: 3}, 1)


def test_records_that_were_read_before_are_left_out(world: World) -> None:
    worker, broker = world.worker()
    broker.assign(0)
    broker.send(0, *WATCHES[:3])
    broker.send(0, *WATCHES, first=0)
    broker.send(0, *WATCHES, first=0)
    _step(worker, 4)
    assert worker.figures.outcomes == {"counted": 5}


def test_a_partition_at_its_end_turns_idle_after_a_while_and_follows_the_stream(world: World) -> None:
    worker, broker = world.worker(idle_after_seconds=30.0)
    broker.assign(0)
    broker.send(0, *WATCHES[:3], end=3)
    _step(worker, 2)
    world.clock.advance_ms(29_000)
    _step(worker)
    assert not world.reader.marks()[0].is_idle
    world.clock.advance_ms(1_000)
    _step(worker)
    assert world.reader.marks()[0].is_idle
    world.stream_ms = 200_000
    world.clock.advance_ms(1_000)
    _step(worker, 2)
    assert world.reader.marks()[0].watermark_ms == 200_000
    assert world.transitions() == 1
    broker.send(0, event(1, "d", 250), first=3)
    world.clock.advance_ms(1_000)
    _step(worker)
    assert not world.reader.marks()[0].is_idle


def _gone_along(world: World) -> tuple[GroupWorker, FakeBroker]:
    """A worker with an idle partition that has gone along to 50 s, which is not committed yet."""
    worker, broker = world.worker(idle_after_seconds=30.0, checkpoint_seconds=1e6)
    broker.assign(0)
    broker.send(0, *WATCHES[:3], end=3)
    _step(worker, 2)
    world.clock.advance_ms(30_000)
    world.stream_ms = 50_000
    _step(worker)
    assert world.offsets() == {}
    return worker, broker


def test_how_far_an_idle_partition_has_gone_along_is_committed_before_it_reads_on(world: World) -> None:
    worker, broker = _gone_along(world)
    broker.send(0, event(1, "d", 40), first=3)
    _step(worker)
    assert [(letter.offset, str(letter.outcome)) for letter in world.letters.sent] == [(3, "late")]
    assert (world.offsets(), world.reader.marks()[0].watermark_ms) == ({0: 3}, 50_000)
    worker.abandon()
    other, others = world.worker()
    others.assign(0)
    others.send(0, event(1, "d", 40), first=3)
    _step(other, 2)
    assert other.figures.outcomes == {"late": 1}


def test_an_idle_partition_that_was_taken_over_reads_nothing(world: World) -> None:
    worker, broker = _gone_along(world)
    ShardStore(world.database, "run", 0)
    broker.send(0, event(1, "d", 40), first=3)
    _step(worker)
    assert (worker.partitions, worker.figures.n_fenced, world.letters.sent) == ([], 1, [])


def test_a_worker_that_owns_nothing_has_not_ended(world: World) -> None:
    worker, _ = world.worker(until_end={})
    _step(worker)
    assert not worker.has_ended


def test_a_worker_says_where_it_stands_and_what_it_has_counted(world: World) -> None:
    worker, broker = world.worker(checkpoint_seconds=60.0)
    empty = worker.standing()
    assert (empty.positions, empty.uncommitted_seconds, empty.behind_ms, empty.watermark_ms) == ({}, 0.0, None, None)
    broker.assign(0, 1)
    broker.send(0, *WATCHES)
    broker.send(1, event(2, "a", 40), end=1)
    _step(worker, 2)
    world.clock.advance_ms(5_000)
    _step(worker)
    standing = worker.standing()
    assert standing.positions == {0: 5, 1: 1}
    assert standing.behind_ms == 300_000  # partition 1 is read to its end
    assert standing.watermark_ms == 30_000
    assert standing.uncommitted_seconds == 0  # the panes that were closed have been committed with all that was read
    broker.send(0, event(1, "f", 310), first=5)
    _step(worker)
    world.clock.advance_ms(7_000)
    standing = worker.standing()
    assert (standing.uncommitted_seconds, standing.n_waiting > 0) == (7.0, True)
    assert (worker.figures.n_batches, worker.figures.n_takeovers) == (3, 2)
    broker.send(0, end=6)
    _step(worker)
    assert worker.standing().behind_ms is None
    worker.close()
    assert worker.figures.stats.tolist() == sum(world.reader.stats().values()).tolist()
    assert worker.standing().positions == {}


def test_what_is_counted_again_after_a_restart_is_not_what_was_counted_before(world: World) -> None:
    first, broker = world.worker()
    broker.assign(0)
    broker.send(0, *WATCHES)
    _step(first, 2)
    first.close()
    n_before = world.transitions()
    second, broker = world.worker()
    broker.assign(0)
    _step(second)
    assert (n_before, second.figures.stats.sum()) == (2, 0)
    broker.send(0, event(1, "f", 310), event(1, "g", 500), first=5)
    _step(second)
    second.close()
    assert second.figures.stats[0] == world.transitions() - n_before > 0


def test_how_long_commits_take_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = ShardStore.commit

    def slow(store: ShardStore, checkpoint: Checkpoint) -> None:
        world.clock.sleep(0.25)
        commit(store, checkpoint)

    monkeypatch.setattr(ShardStore, "commit", slow)
    told: list[float] = []
    worker, broker = world.worker(on_commit=told.append)
    broker.assign(0)
    broker.send(0, *WATCHES)
    _step(worker, 2)
    assert told == pytest.approx([0.25] * worker.figures.n_commits)
    assert told
