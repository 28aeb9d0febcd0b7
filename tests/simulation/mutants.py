"""Mistakes that the simulator must catch: each breaks one rule of the code under test, as a tired author might.

A mutant that survives is a hole in the simulator, not in the mutant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, select, update

from stream import shard as shard_module
from stream.broker import PartitionRecords
from stream.checkpoint import Checkpoint, EventIds, Marks
from stream.closing import PaneCloser
from stream.event_ids import SeenEvents
from stream.group import worker as group_worker
from stream.group.standing import Owned
from stream.group.worker import GroupWorker
from stream.reorder import END_OF_TIME_MS, Watermarks
from stream.run_reader import RunReader, RunState
from stream.schema import runs, shards
from stream.sequences import SequenceState, UserSegment
from stream.shard import Shard
from stream.shard_store import ShardStore
from tidegate.errors import FencedError, StoreUnavailableError

Patch = AbstractContextManager[object]


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake.

    Attributes
    ----------
    name : what it does wrong
    patch : () -> context manager in which the code does so
    seed : one that catches it; tried first, so that looking for another one is only needed when the simulator changes
    """

    name: str
    patch: Callable[[], Patch]
    seed: int


MUTANTS: list[Mutant] = []


def mutant(name: str, seed: int = 0) -> Callable[[Callable[[], Patch]], Callable[[], Patch]]:
    """Register a mutant."""

    def register(make: Callable[[], Patch]) -> Callable[[], Patch]:
        MUTANTS.append(Mutant(name, make, seed))
        return make

    return register


def _advance_where(*conditions: Callable[[ShardStore, int], ColumnElement[bool]]) -> Patch:
    """Make a compare-and-set that compares less; what it does not compare, it does not refuse either."""

    def advance(self: ShardStore, connection: Connection, number: int, checkpoint: Checkpoint | None = None) -> bool:
        values: dict[str, Any] = {"commit_number": number}
        if checkpoint is not None:
            values |= {"progress": msgspec.msgpack.encode(checkpoint.progress)} | checkpoint.marks._asdict()
        chosen = [condition(self, number) for condition in conditions]
        if connection.execute(update(shards).where(*self._mine(shards), *chosen).values(values)).rowcount == 1:
            return True
        raise FencedError("another owner", "Stop", place=self.database.place)

    return patch.object(ShardStore, "_advance", advance)


def _same_epoch(store: ShardStore, _: int) -> ColumnElement[bool]:
    return shards.c.epoch == store._epoch


def _same_number(_: ShardStore, number: int) -> ColumnElement[bool]:
    return shards.c.commit_number == number - 1


@mutant("commits compare nothing")
def _no_compare() -> Patch:
    return _advance_where()


@mutant("commits compare the commit number, not the epoch", seed=1)
def _epoch_ignored() -> Patch:
    return _advance_where(_same_number)


@mutant("commits compare the epoch, not the commit number", seed=64)
def _number_ignored() -> Patch:
    return _advance_where(_same_epoch)


def _in_two(first: Callable[[Checkpoint], Checkpoint], second: Callable[[Checkpoint], Checkpoint]) -> Patch:
    """Make a commit of two transactions."""
    whole = ShardStore.commit

    def commit(self: ShardStore, checkpoint: Checkpoint) -> None:
        whole(self, first(checkpoint))
        whole(self, second(checkpoint))

    return patch.object(ShardStore, "commit", commit)


def _only_counts(checkpoint: Checkpoint) -> Checkpoint:
    # The marks are progress too: they must not run ahead of what the second transaction brings.
    return Checkpoint(checkpoint.progress, checkpoint.marks, counts=checkpoint.counts)


def _without_counts(checkpoint: Checkpoint) -> Checkpoint:
    return dataclasses.replace(checkpoint, counts={})


@mutant("offsets are committed before the counts", seed=1)
def _offset_first() -> Patch:
    return _in_two(_without_counts, _only_counts)


@mutant("counts are committed before the offsets")
def _counts_first() -> Patch:
    return _in_two(_only_counts, _without_counts)


@mutant("a commit without an answer is taken for a failed one, and made again as the next")
def _blind_repetition() -> Patch:
    whole = ShardStore.commit

    def commit(self: ShardStore, checkpoint: Checkpoint) -> None:
        try:
            whole(self, checkpoint)
        except StoreUnavailableError:
            with self.database.reading() as connection:
                found = connection.execute(select(shards.c.commit_number).where(*self._mine(shards))).scalar_one()
            self._commit_number = int(found)
            raise

    return patch.object(ShardStore, "commit", commit)


@mutant("a commit that failed is made anew of what changed since", seed=19)
def _pending_forgotten() -> Patch:
    whole = Shard.commit

    def commit(self: Shard) -> None:
        try:
            whole(self)
        except StoreUnavailableError:
            self._pending = None
            raise

    return patch.object(Shard, "commit", commit)


@mutant("counts are kept after their commit", seed=5)
def _counts_kept() -> Patch:
    whole = Shard.commit

    def commit(self: Shard) -> None:
        kept = dict(self._counts)
        whole(self)
        self._counts.update(kept)

    return patch.object(Shard, "commit", commit)


@mutant("a lost partition is kept, and gone on with when it is given again", seed=12)
def _kept_when_lost() -> Patch:
    @contextmanager
    def patched() -> Iterator[None]:
        kept: dict[tuple[int, int], Owned] = {}
        take_over = GroupWorker._take_over

        def on_lost(self: GroupWorker, partitions: Sequence[int]) -> None:
            for partition in partitions:
                if partition in self._owned:
                    kept[id(self), partition] = self._owned.pop(partition)

        def again(self: GroupWorker, partition: int) -> int:
            owned = kept.pop((id(self), partition), None)
            if owned is None:
                return take_over(self, partition)
            self._owned[partition] = owned
            return owned.position

        with patch.object(GroupWorker, "on_lost", on_lost), patch.object(GroupWorker, "_take_over", again):
            yield

    return patched()


@mutant("a fenced commit is taken for a good one, and the shard kept", seed=1)
def _fenced_kept() -> Patch:
    whole = ShardStore.commit

    def commit(self: ShardStore, checkpoint: Checkpoint) -> None:
        try:
            whole(self, checkpoint)
        except FencedError:
            return

    return patch.object(ShardStore, "commit", commit)


@mutant("a fenced owner takes its shard over again", seed=37)
def _fenced_taken_back() -> Patch:
    whole = ShardStore.commit

    def commit(self: ShardStore, checkpoint: Checkpoint) -> None:
        try:
            whole(self, checkpoint)
        except FencedError:
            with self.database.writing() as connection:
                self._take_over(connection, "again")
            whole(self, checkpoint)

    return patch.object(ShardStore, "commit", commit)


@mutant("reading goes on at Kafka's offset, not at the store's", seed=1)
def _seek_ignored() -> Patch:
    take_over = GroupWorker._take_over

    def elsewhere(self: GroupWorker, partition: int) -> int:
        take_over(self, partition)
        broker: Any = self._broker
        position = int(broker.coordinator.mirror.get(partition, broker.start_of(partition, None)))
        self._owned[partition].position = position
        return position

    return patch.object(GroupWorker, "_take_over", elsewhere)


@mutant("dead letters are sent after the commit", seed=2)
def _letters_last() -> Patch:
    @contextmanager
    def patched() -> Iterator[None]:
        whole = GroupWorker._commit

        def commit(self: GroupWorker, partition: int) -> None:
            letters: Any = self._dead_letters
            with patch.object(letters, "flush", lambda: None):
                whole(self, partition)
            letters.flush()

        with patch.object(GroupWorker, "_commit", commit):
            yield

    return patched()


@mutant("offsets are counted on, as if the log had no gaps", seed=1)
def _gaps_ignored() -> Patch:
    whole = group_worker._within

    def within(records: PartitionRecords, position: int, stop: int | None) -> PartitionRecords:
        kept = whole(records, position, stop)
        offsets = np.arange(position, position + len(kept.values))
        return PartitionRecords(kept.partition, kept.values, offsets, kept.key_of)

    return patch.object(group_worker, "_within", within)


@mutant("records that were read before are read again", seed=2)
def _read_again() -> Patch:
    whole = group_worker._within
    return patch.object(group_worker, "_within", lambda records, _, stop: whole(records, -1, stop))


@mutant("events that wait are not stored")
def _waiting_lost() -> Patch:
    return patch.object(Shard, "_fresh_waiting", lambda self: self._buffer.take_fresh() and None)


def _no_users(self: SequenceState) -> UserSegment:
    self._regions.is_dirty[: self.n_users] = False
    return self._segment(np.zeros(0, np.int64))


@mutant("users whose sequences changed are not stored")
def _dirty_lost() -> Patch:
    return patch.object(SequenceState, "take_dirty", _no_users)


@mutant("all segments are replaced by the users that changed", seed=89)
def _clean_lost() -> Patch:
    return patch.object(SequenceState, "take_all", SequenceState.take_dirty)


@mutant("ids of events are not stored", seed=7)
def _ids_lost() -> Patch:
    whole = SeenEvents.take_new

    def take_new(self: SeenEvents, *args: Any) -> EventIds:
        whole(self, *args)
        return EventIds(np.zeros(0, np.uint64), np.zeros(0, np.int64))

    return patch.object(SeenEvents, "take_new", take_new)


@mutant("lateness is judged by the latest event of the batch")
def _late_by_batch() -> Patch:
    def late_events(times_ms: NDArray[np.int64], latest_ms: int, lateness_ms: int) -> NDArray[np.bool_]:
        is_late: NDArray[np.bool_] = times_ms < int(times_ms.max(initial=latest_ms)) - lateness_ms
        return is_late

    return patch.object(shard_module, "late_events", late_events)


@mutant("the watermark is forgotten at a restart", seed=9)
def _watermark_forgotten() -> Patch:
    return patch.object(Watermarks, "restore", lambda self, latest_ms, stream_ms: None)


@mutant("an idle partition that comes back is not held against the stream", seed=10)
def _idle_in_time() -> Patch:
    whole = Shard.admit

    def admit(self: Shard, batch: Any, names: list[str]) -> Any:
        stream_ms = self.marks._stream_ms
        self.marks._stream_ms = min(self.marks.latest_ms.values()) - self._options.lateness_ms
        try:
            return whole(self, batch, names)
        finally:
            self.marks._stream_ms = max(stream_ms, self.marks._stream_ms)

    return patch.object(Shard, "admit", admit)


@mutant("how far an idle partition has gone along is not committed before it reads on", seed=192)
def _idle_uncommitted() -> Patch:
    read = GroupWorker._read

    def reading(self: GroupWorker, records: PartitionRecords) -> None:
        owned = self._owned.get(records.partition)
        if owned is not None:
            owned.is_idle = False
        read(self, records)

    return patch.object(GroupWorker, "_read", reading)


@mutant("panes are closed without the partitions that idle", seed=3)
def _idle_not_waited_for() -> Patch:
    return _marks_seen_as(lambda mark: mark._replace(counted_ms=END_OF_TIME_MS) if mark.is_idle else mark)


@mutant("panes are closed by watermarks, whether events were counted or not")
def _closed_by_watermark() -> Patch:
    return _marks_seen_as(lambda mark: mark._replace(counted_ms=mark.watermark_ms))


def _marks_seen_as(seen: Callable[[Marks], Marks]) -> Patch:
    whole = RunReader.marks
    return patch.object(RunReader, "marks", lambda self: {p: seen(mark) for p, mark in whole(self).items()})


@mutant("panes are closed without the partitions that nobody has taken over", seed=122)
def _missing_not_waited_for() -> Patch:
    whole = RunReader.state

    def state(self: RunReader) -> RunState:
        found = whole(self)
        return found if found.n_partitions is None else found._replace(n_partitions=1)

    return patch.object(RunReader, "state", state)


@mutant("a pane is closed without a look whether another evaluator was faster", seed=53)
def _moved_on_blindly() -> Patch:
    def move_on(self: PaneCloser, connection: Connection, state: RunState, pane: int, is_last: bool) -> bool:
        of_run = runs.c.run_id == self._run_id
        connection.execute(update(runs).where(of_run).values(closed_pane=pane, has_ended=is_last))
        return True

    return patch.object(PaneCloser, "_move_on", move_on)


@mutant("the first pane is fixed before all partitions have spoken", seed=17)
def _first_pane_early() -> Patch:
    whole = PaneCloser._advance_stream

    def advance(self: PaneCloser, state: RunState, marks: dict[int, Marks]) -> int | None:
        seen = {p: mark for p, mark in marks.items() if mark.earliest_ms is not None}
        return whole(self, state, seen or marks)

    return patch.object(PaneCloser, "_advance_stream", advance)
