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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.bad_share import BadShare
from stream.broker import Broker, DeadLetter, DeadLetterSink, PartitionRecords
from stream.events import EventBatch, Outcome
from stream.gate import PatientGate
from stream.patience import StorePatience
from stream.predictions import Predictions
from stream.reorder import END_OF_TIME_MS
from stream.sequence_kernel import N_STATS
from stream.shard import Admission, Shard
from tidegate.clock import Clock
from tidegate.errors import FencedError

_LONGEST_COMMIT_SECONDS = 2.0
_COMMIT_SHARE = 0.1  # of a worker's time, at most, for commits that are made because it is time
_RIVAL_SECONDS = 120.0  # a group needs its session timeout (45 s by default) and a rebalance to take a partition back


class BatchDecoder(Protocol):
    """Makes events of one partition's messages (`stream.decoding.messages`)."""

    @property
    def cluster_names(self) -> list[str]:
        """Names by code, so far."""
        ...

    def decode(
        self,
        values: Sequence[bytes],
        *,
        topic: str,
        partition: int,
        offsets: NDArray[np.int64],
        next_offset: int,
        at_end: bool = False,
    ) -> EventBatch:
        """Decode messages that lie at `offsets`."""
        ...


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """How a worker of a group reads and commits.

    Attributes
    ----------
    topic : str
    checkpoint_records : int       records of a shard between commits, at most about this many are read again
    checkpoint_seconds : float     least time between commits of a shard that has read something
    max_waiting : int              events that a shard may hold while its gate is shut; then it is not read from
    idle_after_seconds : float     how long a partition rests at its end until it counts as idle
    patience_seconds : float       how long the store may be away
    until_end : offsets at which partitions end (finite reading); None follows
    """

    topic: str
    checkpoint_records: int = 1_000_000
    checkpoint_seconds: float = 1.0
    max_waiting: int = 500_000
    idle_after_seconds: float = 30.0
    patience_seconds: float = 300.0
    until_end: Mapping[int, int] | None = None


@dataclass(slots=True)
class Owned:
    """A shard that this worker owns, and where it stands."""

    shard: Shard
    position: int
    committed_seconds: float
    at_end_since: float | None = None
    is_idle: bool = False
    is_paused: bool = False
    is_read_up: bool = False  # nothing had come after what was read last, when it was looked at last
    news_since: float | None = None  # when the oldest record was read that is not committed


@dataclass(slots=True)
class WorkerFigures:
    """What a worker has done, for metrics; `first_seconds` and `last_seconds` span its first record and last commit."""

    outcomes: dict[str, int] = field(default_factory=dict)
    stats: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_STATS, np.int64))
    n_batches: int = 0
    n_commits: int = 0
    n_fenced: int = 0
    n_takeovers: int = 0
    n_dead_letters: int = 0
    first_seconds: float | None = None
    last_seconds: float = 0.0

    def add(self, outcomes: Mapping[Outcome, int]) -> None:
        """Count records by outcome."""
        for outcome, n in outcomes.items():
            self.outcomes[str(outcome)] = self.outcomes.get(str(outcome), 0) + n


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a worker stands at an instant, for metrics.

    Attributes
    ----------
    positions : dict[int, int]              offset that is read next, by owned partition
    n_paused, n_idle : int                  owned partitions whose gate is shut; at whose end nothing comes
    n_waiting : int                         events that are admitted and not counted yet
    uncommitted_seconds : float             since the oldest record was read that is not committed; 0 without one
    behind_ms : int | None                  event time reached by the partition furthest behind, of those that are not
                                            read to their end; None where all are
    watermark_ms : int | None               that all owned partitions have passed; None before the first event
    """

    positions: dict[int, int]
    n_paused: int
    n_idle: int
    n_waiting: int
    uncommitted_seconds: float
    behind_ms: int | None
    watermark_ms: int | None


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
        self._broker, self._open_shard, self._decoder, self._gate = broker, open_shard, decoder, gate
        self._dead_letters, self._bad_share, self._stream_ms = dead_letters, bad_share, stream_ms
        self._clock, self._options = clock, options
        self.patience = StorePatience(clock, options.patience_seconds, should_stop)
        self._on_commit = on_commit
        self._owned: dict[int, Owned] = {}
        self._fenced_since: dict[int, float] = {}
        self._commit_seconds = 0.0  # of a typical one
        self.figures = WorkerFigures()

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
        owned = dict(self._owned)  # one instruction for other threads
        behind = [o.shard.marks.latest_ms[p] for p, o in owned.items() if not o.is_read_up]
        watermarks = [o.shard.marks.stream_ms for o in owned.values()]
        known = [ms for ms in watermarks if abs(ms) < END_OF_TIME_MS]
        since = [o.news_since for o in owned.values() if o.news_since is not None]
        return Standing(
            positions={partition: o.position for partition, o in owned.items()},
            n_paused=sum(o.is_paused for o in owned.values()),
            n_idle=sum(o.is_idle for o in owned.values()),
            n_waiting=sum(o.shard.n_waiting for o in owned.values()),
            uncommitted_seconds=self._clock.monotonic_seconds() - min(since) if since else 0.0,
            behind_ms=min((ms for ms in behind if abs(ms) < END_OF_TIME_MS), default=None),
            watermark_ms=min(known, default=None),
        )

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
        self._refuse_rivals()
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
        self._fenced_since.pop(partition, None)
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
            self._fenced_since.pop(partition, None)

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
            self._admit(owned, records)
        if is_beyond:  # what is left before the stop are gaps
            owned.position = max(owned.position, stop or 0)
        self._finish_if_at_stop(records.partition)

    def _admit(self, owned: Owned, records: PartitionRecords) -> None:
        """Decode records that were not read before, and hand them to their shard."""
        if self.figures.first_seconds is None:
            self.figures.first_seconds = self._clock.monotonic_seconds()
        if owned.news_since is None:
            owned.news_since = self._clock.monotonic_seconds()
        next_offset = int(records.offsets[-1]) + 1
        batch = self._decoder.decode(
            records.values,
            topic=self._options.topic,
            partition=records.partition,
            offsets=records.offsets,
            next_offset=next_offset,
        )
        n_bad = sum(n for outcome, n in batch.set_aside.items() if outcome is not Outcome.NEGATIVE)
        self._bad_share.add(batch.n_records, n_bad, place=self._place(records.partition, int(records.offsets[0])))
        admission = owned.shard.admit(batch, self._decoder.cluster_names)
        self._bury(records, batch, admission)
        self.figures.add(admission.outcomes)
        self.figures.n_batches += 1
        owned.position, owned.at_end_since, owned.is_idle, owned.is_read_up = next_offset, None, False, False

    def _bury(self, records: PartitionRecords, batch: EventBatch, admission: Admission) -> None:
        """Make dead letters of what was set aside, and of what came too late."""
        letters = [
            self._letter(records, issue.position, issue.outcome, f"{issue.found}. {issue.mend}")
            for issue in batch.issues
        ]
        letters += [
            self._letter(records, position, Outcome.LATE, "It came behind the watermark")
            for position in ([] if batch.positions is None else batch.positions[admission.is_late].tolist())
        ]
        if letters:
            self._dead_letters.send(letters)
            self.figures.n_dead_letters += len(letters)

    def _letter(self, records: PartitionRecords, position: int, outcome: Outcome, error: str) -> DeadLetter:
        offset = int(records.offsets[position])
        key, value = records.key_of(position), records.values[position]
        return DeadLetter(self._options.topic, records.partition, offset, outcome, error, key, value)

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
        is_due = now_seconds - owned.committed_seconds >= self._checkpoint_seconds
        if shard.n_uncommitted >= self._options.checkpoint_records or (is_due and shard.has_news):
            self._commit(partition)
        self._hold_back(partition, owned, is_held)

    @property
    def _checkpoint_seconds(self) -> float:
        """Time between commits of a shard: as asked for, or longer where many shards or a slow store would take all."""
        return max(self._options.checkpoint_seconds, len(self._owned) * self._commit_seconds / _COMMIT_SHARE)

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
            self._fenced_since[partition] = self._clock.monotonic_seconds()
            self.figures.n_fenced += 1
            return
        owned.committed_seconds = self.figures.last_seconds = self._clock.monotonic_seconds()
        owned.news_since = None
        self._on_commit(owned.committed_seconds - started_seconds)
        took_seconds = min(owned.committed_seconds - started_seconds, _LONGEST_COMMIT_SECONDS)  # an outage says nothing
        self._commit_seconds += (took_seconds - self._commit_seconds) / 8
        self.figures.n_commits += 1
        self._broker.mirror(owned.shard.offsets)

    def _refuse_rivals(self) -> None:
        """Refuse a partition that stays fenced: the group takes it back soon, or two groups count one run."""
        now_seconds = self._clock.monotonic_seconds()
        for partition, since in self._fenced_since.items():
            if now_seconds - since >= _RIVAL_SECONDS:
                raise FencedError(
                    f"another process has owned the partition for {now_seconds - since:.0f} s, though the group gave "
                    "it to this one",
                    "Let all workers of a run join one group (--group), and no other process count it",
                    place=f"{self._options.topic}[{partition}]",
                )

    def _place(self, partition: int, offset: int) -> str:
        return f"{self._options.topic}[{partition}]@{offset}"


def _within(records: PartitionRecords, position: int, stop: int | None) -> PartitionRecords:
    """Leave out what was read before, and what lies behind the stop."""
    records = records.from_offset(position)
    if stop is None or not records.offsets.size or records.offsets[-1] < stop:
        return records
    last = int(np.searchsorted(records.offsets, stop))
    return PartitionRecords(records.partition, records.values[:last], records.offsets[:last], records.key_of)
