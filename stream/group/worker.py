"""A worker among others: takes the partitions that its group gives it, one shard each, and counts them.

What a worker knows of a shard is what the store says plus what it has read since; so it may die at any instruction.

1. Given a partition, it takes the shard over (a new epoch), loads it, and reads on from the stored offset.
2. Records are decoded and admitted; panes are counted as far as the gate lets; bad records become dead letters.
3. Dead letters are made safe, then counts, sequences and offset are committed together.
4. Asked for a partition back, it commits and lets go; told that it was lost, it lets go.

A commit that is fenced means that another worker has the shard: what was read since the last commit is forgotten,
because the other one reads it again. Knows neither Kafka nor the wall clock: both are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stream.bad_share import BadShare
from stream.broker import Broker, DeadLetterSink, PartitionRecords
from stream.gate import PatientGate
from stream.group.commit_pace import CommitPace
from stream.group.figures import WorkerFigures
from stream.group.intake import BatchDecoder, Intake
from stream.group.options import GroupOptions
from stream.group.rivals import Rivals
from stream.group.standing import Owned, Standing, standing_of
from stream.patience import StorePatience
from stream.predictions import Predictions
from stream.shard import Shard
from tidegate.clock import Clock
from tidegate.errors import FencedError


class GroupWorker:
    """Counts the partitions that its group gives it.

    Parameters
    ----------
    broker : Broker
    open_shard : partition -> Shard      takes it over in the store
    stream_ms : () -> int | None         watermark that all shards together have reached, for those that idle
    should_stop : () -> bool             whether it is no time to wait for an absent store
    on_commit : seconds -> None          told how long each commit took

    Attributes
    ----------
    figures : WorkerFigures
    patience : StorePatience             its waits for the store
    """

    def __init__(
        self,
        broker: Broker,
        open_shard: Callable[[int], Shard],
        decoder: BatchDecoder,
        gate: PatientGate,
        dead_letters: DeadLetterSink,
        bad_share: BadShare,
        stream_ms: Callable[[], int | None],
        clock: Clock,
        options: GroupOptions,
        should_stop: Callable[[], bool] = lambda: False,
        on_commit: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._broker, self._open_shard, self._gate = broker, open_shard, gate
        self._dead_letters, self._stream_ms = dead_letters, stream_ms
        self._clock, self._options = clock, options
        self.figures = WorkerFigures()
        self._intake = Intake(options.topic, decoder, dead_letters, bad_share, clock, self.figures)
        self.patience = StorePatience(clock, options.patience_seconds, should_stop)
        self._on_commit = on_commit
        self._owned: dict[int, Owned] = {}
        self._rivals = Rivals(options.topic)
        self._pace = CommitPace(options.checkpoint_seconds)

    @property
    def partitions(self) -> list[int]:
        """Partitions that are owned now."""
        return sorted(self._owned)

    @property
    def has_ended(self) -> bool:
        """Whether all that is owned is read to its end, counted and committed. False while nothing is owned."""
        return bool(self._owned) and all(o.shard.has_ended and not o.shard.has_news for o in self._owned.values())

    def standing(self) -> Standing:
        """Tell where the worker stands; may be asked for by another thread while it works."""
        # A copy is one instruction for other threads.
        return standing_of(dict(self._owned), self._clock.monotonic_seconds())

    def step(self) -> None:
        """Poll once and do what follows from it.

        Raises
        ------
        BrokerError, BadRecordsError
            As the broker and the brake on dead letters do; what was read before is committed, or read again.
        StoreError
            If the store was away for longer than the patience, or refuses for good.
        """
        fetched = self._broker.poll(self)
        # Only here has the group just had its say: a step may last long, where the store is waited for.
        self._rivals.refuse(self._clock.monotonic_seconds())
        for records in fetched.records:
            self._read(records)
        for partition, offset in fetched.ends.items():
            self._reach_end(partition, offset)
        for partition in list(self._owned):
            self._attend(partition)

    def close(self) -> None:
        """Commit everything and leave the group."""
        self._broker.close(self)

    def abandon(self) -> None:
        """Leave the group without a commit, after a failure: what was read since the last one is read again."""
        self._owned.clear()
        self._broker.close(self)

    def on_assigned(self, partitions: Sequence[int]) -> dict[int, int]:
        """Take shards over; returns where to read on."""
        return {partition: self._take_over(partition) for partition in partitions}

    def _take_over(self, partition: int) -> int:
        self._rivals.discard(partition)
        shard = self.patience(lambda: self._open_shard(partition))
        self.figures.n_takeovers += 1
        position = self._broker.start_of(partition, shard.offsets.get(partition))
        self._owned[partition] = Owned(shard, position, self._clock.monotonic_seconds())
        self._finish_if_at_stop(partition)
        return position

    def on_revoked(self, partitions: Sequence[int]) -> None:
        """Commit what was read, so that the next owner need not read it again, and let go."""
        for partition in partitions:
            owned = self._owned.get(partition)
            if owned is not None and owned.shard.has_news:
                self._commit(partition)
        self.on_lost(partitions)

    def on_lost(self, partitions: Sequence[int]) -> None:
        """Let go without a word: someone else may own the shards already."""
        for partition in partitions:
            self._owned.pop(partition, None)
            self._rivals.discard(partition)

    def _read(self, records: PartitionRecords) -> None:
        owned = self._owned.get(records.partition)
        if owned is None:
            return  # fenced, and not taken back yet
        stop = None if self._options.until_end is None else self._options.until_end.get(records.partition)
        is_beyond = stop is not None and bool(records.offsets.size) and int(records.offsets[-1]) >= stop
        records = _within(records, owned.position, stop)
        if len(records.values):
            if owned.is_idle and owned.shard.has_news:
                # What is late is judged by how far an idle shard has gone along: were that forgotten in a crash, a
                # record that has been dead-lettered could be counted the next time it is read.
                self._commit(records.partition)
                if records.partition not in self._owned:
                    return
            self._intake.admit(owned, records)
        if is_beyond:  # what is left before the stop are gaps
            owned.position = max(owned.position, stop or 0)
        self._finish_if_at_stop(records.partition)

    def _reach_end(self, partition: int, offset: int) -> None:
        owned = self._owned.get(partition)
        if owned is None or owned.is_paused:
            return
        # The last offsets of a log may hold no record (compaction, transaction markers).
        owned.position = max(owned.position, offset)
        owned.at_end_since, owned.is_read_up = self._clock.monotonic_seconds(), True
        self._finish_if_at_stop(partition)

    def _finish_if_at_stop(self, partition: int) -> None:
        owned, until = self._owned[partition], self._options.until_end
        if until is not None and owned.position >= until.get(partition, 0) and not owned.shard.marks.all_finished:
            owned.shard.marks.finish(partition)

    def _attend(self, partition: int) -> None:
        """Count what can be counted now, and commit where it is time."""
        owned = self._owned[partition]
        self._rest(partition, owned)
        is_held = self._count(partition)
        if partition not in self._owned:
            return  # fenced while a pane was closed
        shard, now_seconds = owned.shard, self._clock.monotonic_seconds()
        is_due = now_seconds - owned.committed_seconds >= self._pace.interval_seconds(len(self._owned))
        if shard.n_uncommitted >= self._options.checkpoint_records or (is_due and shard.has_news):
            self._commit(partition)
        self._hold_back(partition, owned, is_held)

    def _rest(self, partition: int, owned: Owned) -> None:
        """Turn idle after a while at the end of the log, and go along with the others while it lasts."""
        if owned.at_end_since is not None and not owned.is_idle and not owned.is_paused:
            rested_seconds = self._clock.monotonic_seconds() - owned.at_end_since
            owned.is_idle = rested_seconds >= self._options.idle_after_seconds
            if owned.is_idle:
                owned.shard.marks.idle(partition)
        stream_ms = self.patience(self._stream_ms) if owned.is_idle else None
        if stream_ms is not None:
            owned.shard.marks.follow(stream_ms)

    def _count(self, partition: int) -> bool:
        """Count as far as watermark and gate let, a commit at each pane's end; tells whether the gate holds it back."""
        is_held = False

        def gate(pane: int) -> Predictions | None:
            nonlocal is_held
            predictions = self._gate.predictions(partition, pane)
            is_held = predictions is None
            return predictions

        # The gate and new codes are asked of the store; what it refuses in the middle of a count can be repeated.
        stats = self._owned[partition].shard.sequences.stats
        before = stats.values.sum(axis=0)
        while (
            partition in self._owned
            and self.patience(lambda: self._owned[partition].shard.count_passed(gate)) is not None
        ):
            self.figures.stats += stats.values.sum(axis=0) - before
            self._commit(partition)
            before = stats.values.sum(axis=0)
        self.figures.stats += stats.values.sum(axis=0) - before
        return is_held

    def _hold_back(self, partition: int, owned: Owned, is_held: bool) -> None:
        """Read no more of a partition whose gate is shut once it holds enough; read on when it opens."""
        if partition not in self._owned:
            return
        should_pause = is_held and owned.shard.n_waiting >= self._options.max_waiting
        if should_pause and not owned.is_paused:
            self._broker.pause([partition])
        elif owned.is_paused and not is_held:
            self._broker.resume([partition])
            owned.at_end_since = None  # nothing was asked for meanwhile
        owned.is_paused = should_pause or (owned.is_paused and is_held)

    def _commit(self, partition: int) -> None:
        """Make a shard's work true: dead letters first, then the commit, then the mirror that nothing rests on."""
        owned = self._owned[partition]
        self._dead_letters.flush()
        started_seconds = self._clock.monotonic_seconds()
        try:
            self.patience(owned.shard.commit)
        except FencedError:
            del self._owned[partition]  # its new owner reads again what is forgotten here
            self._rivals.add(partition, self._clock.monotonic_seconds())
            self.figures.n_fenced += 1
            return
        owned.committed_seconds = self.figures.last_seconds = self._clock.monotonic_seconds()
        owned.news_since = None
        took_seconds = owned.committed_seconds - started_seconds
        self._on_commit(took_seconds)
        self._pace.learn(took_seconds)
        self.figures.n_commits += 1
        self._broker.mirror(owned.shard.offsets)


def _within(records: PartitionRecords, position: int, stop: int | None) -> PartitionRecords:
    """Leave out what was read before, and what lies behind the stop."""
    records = records.from_offset(position)
    if stop is None or not records.offsets.size or records.offsets[-1] < stop:
        return records
    last = int(np.searchsorted(records.offsets, stop))
    return PartitionRecords(records.partition, records.values[:last], records.offsets[:last], records.key_of)
