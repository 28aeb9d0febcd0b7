"""A shard: the partitions that one owner counts, from admitted events to counted panes. Knows no source and no clock.

The way of one event: admitted (duplicates and late ones are set aside) → waits in the reorder buffer → released in
event-time order → appended to its user's sequence → counted and scored. A pane is counted with the predictions that
its *gate* hands out; where the gate does not open yet, events wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.catalogue import ArrivalNames
from stream.checkpoint import Checkpoint, Marks, Progress, StoredIssue, WaitingEvents
from stream.decoding.decoder import iso_utc_or_ms
from stream.event_ids import SeenEvents
from stream.events import EventBatch, Outcome
from stream.predictions import Predictions
from stream.reorder import BEGINNING_OF_TIME_MS, END_OF_TIME_MS, ReorderBuffer, Watermarks, late_events
from stream.sequences import SequenceOptions, SequenceState, UserSegment
from stream.shard_store import USERS_A_PIECE, ShardStore
from tidegate.counts import BucketedCounts

MAX_ISSUES = 20
MAX_SEGMENTS = 32
"""Rows of sequence state above which it is looked whether writing all of it anew is worth it."""
MOST_SEGMENTS = 1_024
"""Rows above which it is written anew in any case: a restart reads them one by one."""

Gate = Callable[[int], Predictions | None]
"""Called with a pane before it is counted; returns what scores it, or None where that is not known yet."""


class CodeBook(Protocol):
    """Gives clusters the codes that transitions are packed with."""

    def ids(
        self, codes: NDArray[np.int32], times_ms: NDArray[np.int64], names_of_codes: list[str]
    ) -> NDArray[np.int32]:
        """Translate arrival codes (int32[n], ascending times) into codes of the store: int32[n]."""
        ...

    def take_new(self) -> dict[int, str]:
        """Codes that the next commit shall name, and mark them as taken."""
        ...

    def take_first_seen(self) -> dict[int, int]:
        """Event time of the first event by code, of codes first seen since the last call."""
        ...


@dataclass(frozen=True, slots=True)
class ShardOptions:
    """How a shard admits and counts.

    Attributes
    ----------
    lateness_ms : int           how far events may lag behind the latest one of their partition
    follows : bool              partitions that are at their end are idle, not finished
    duplicates_ms : int | None  how far behind the latest event an event id is remembered; None where there are no ids
    """

    sequences: SequenceOptions
    lateness_ms: int = 300_000
    follows: bool = False
    duplicates_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of a batch: records by outcome, and bool[n] which of its events were late or duplicates."""

    outcomes: dict[Outcome, int]
    is_late: NDArray[np.bool_]
    is_duplicate: NDArray[np.bool_]


class Shard:
    """State of some partitions between two commits. One owner at a time.

    Parameters
    ----------
    store : ShardStore      what was committed is loaded from it
    place : str             the source, for issues
    """

    def __init__(
        self, store: ShardStore, partitions: Iterable[int], options: ShardOptions, codebook: CodeBook, place: str
    ) -> None:
        self._store, self._options, self._codebook, self._place = store, options, codebook, place
        self.sequences = SequenceState(options.sequences)
        self.marks = Watermarks(partitions, options.lateness_ms)
        self.outcomes: Counter[str] = Counter()
        self.issues: list[StoredIssue] = []
        self.offsets: dict[int, int] = {}
        self.earliest_ms: int | None = None
        self.latest_ms: int | None = None
        self.first_pane: int | None = None
        self.closed_pane: int | None = None
        self.counted_ms = BEGINNING_OF_TIME_MS
        self.has_ended = False
        self.n_uncommitted = 0
        self._buffer = ReorderBuffer()
        self._seen = SeenEvents(options.duplicates_ms) if options.duplicates_ms is not None else None
        self._counts: dict[int, list[NDArray[np.int64]]] = {}
        self._arrivals = ArrivalNames()
        self._committed_marks = Marks()
        self._pending: Checkpoint | None = None
        # Of sequence state in the store: rows, and entries of users in them, one user's several times.
        self._n_segments = self._n_stored = 0
        self._restore()

    @property
    def n_waiting(self) -> int:
        """Events that were admitted and are not counted yet."""
        return len(self._buffer)

    @property
    def has_news(self) -> bool:
        """Whether a commit would tell the others anything: records, or how far event time has come."""
        return self.n_uncommitted > 0 or self._public_marks() != self._committed_marks

    @property
    def next_pane(self) -> int | None:
        """The pane that is counted now or next; None before the first event, and after the end."""
        if self.has_ended or self.first_pane is None:
            return None
        return self.first_pane if self.closed_pane is None else self.closed_pane + 1

    def admit(self, batch: EventBatch, source_names: list[str]) -> Admission:
        """Set duplicates and late events aside, put the others into the buffer, advance the watermark.

        Parameters
        ----------
        source_names : names that the batch's cluster codes point into; a list that only grows
        """
        latest_ms = self.marks.latest_ms[batch.partition]
        is_duplicate = self._duplicates(batch)
        is_late = late_events(batch.times_ms, latest_ms, self._options.lateness_ms)
        is_late |= batch.times_ms < self.marks.stream_ms  # a partition that idled comes back behind the others
        is_late &= ~is_duplicate
        kept = ~(is_late | is_duplicate)
        if is_late.any() and not self.outcomes[Outcome.LATE]:
            self.issues.append(self._late_issue(batch, int(is_late.argmax())))
        outcomes = Counter({Outcome(outcome): n for outcome, n in batch.set_aside.items() if n})
        counted = {Outcome.LATE: is_late, Outcome.DUPLICATE: is_duplicate, Outcome.COUNTED: kept}
        outcomes += Counter({outcome: int(which.sum()) for outcome, which in counted.items()})
        self.outcomes.update(outcomes)
        self.issues += [StoredIssue(i.outcome, i.place, i.found, i.mend) for i in batch.issues[:MAX_ISSUES]]
        del self.issues[MAX_ISSUES:]
        all_kept = bool(kept.all())
        chosen: slice | NDArray[np.bool_] = slice(None) if all_kept else kept  # the slice copies nothing
        codes = self._arrivals.translate(batch.clusters[chosen], source_names)
        self._buffer.add(batch.users[chosen], codes, batch.times_ms[chosen])
        self.offsets[batch.partition] = batch.next_offset
        # Neither a late record nor one that is not counted may begin the run: they may lie years behind.
        self.earliest_ms = _fold(min, self.earliest_ms, _min_or_none(batch.times_ms[kept]))
        self.latest_ms = _fold(max, self.latest_ms, batch.latest_ms)
        self.marks.advance(batch.partition, int(batch.times_ms.max()) if batch.times_ms.size else None)
        if batch.at_end:
            (self.marks.idle if self._options.follows else self.marks.finish)(batch.partition)
        self.n_uncommitted += batch.n_records
        return Admission(dict(outcomes), is_late, is_duplicate)

    def _duplicates(self, batch: EventBatch) -> NDArray[np.bool_]:
        if self._seen is None or batch.event_ids is None:
            return np.zeros(batch.times_ms.shape[0], np.bool_)
        latest_ms = max(self.marks.latest_ms[batch.partition], self.marks.stream_ms)
        return self._seen.admit(batch.event_ids, batch.times_ms, latest_ms)

    def _late_issue(self, batch: EventBatch, first: int) -> StoredIssue:
        """Describe the shard's first late record; one that ran ahead may have made all that follow it late."""
        latest_ms = int(batch.times_ms[:first].max(initial=max(self.marks.latest_ms.values())))
        return StoredIssue(
            Outcome.LATE,
            self._place,
            f"a record of {iso_utc_or_ms(int(batch.times_ms[first]))} came after one of {iso_utc_or_ms(latest_ms)}",
            "Correct the record that ran ahead, or allow events to lag further with --lateness",
        )

    def count_passed(self, gate: Gate) -> int | None:
        """Count what the watermark has passed, to the end of a pane at most; returns the pane that was closed.

        A closed pane wants a commit before anything else is counted. None where no pane's end was reached: the
        watermark has not come so far, or the gate is shut.
        """
        stream_ms, pane_ms = self.marks.stream_ms, self._options.sequences.pane_ms
        if self.earliest_ms is None:  # no well-formed record so far: there is no pane to close
            self.counted_ms = stream_ms
            self.has_ended = stream_ms == END_OF_TIME_MS
            return None
        if stream_ms == BEGINNING_OF_TIME_MS or self.has_ended:
            return None
        if self.first_pane is None:
            if stream_ms < self.earliest_ms:  # an earlier event may still come in time
                self.counted_ms = stream_ms
                return None
            self.first_pane = self.earliest_ms // pane_ms
        pane = self.next_pane
        assert pane is not None
        self.counted_ms = max(self.counted_ms, min(pane * pane_ms, stream_ms))  # nothing lies before it
        predictions = gate(pane)
        if predictions is None:
            return None
        end_ms = (pane + 1) * pane_ms
        self._count(pane, min(end_ms, stream_ms), predictions)
        if stream_ms < end_ms:
            return None
        self._close(pane)
        return pane

    def _count(self, pane: int, before_ms: int, predictions: Predictions) -> None:
        users, codes, times_ms = self._buffer.passed(before_ms)
        if users.shape[0]:
            clusters = self._codebook.ids(codes, times_ms, self._arrivals.names)  # or nothing is lost
            self._buffer.release(before_ms)
            keys = self.sequences.extend(users, clusters, times_ms, predictions)
            self._counts.setdefault(pane, []).append(keys)
        self.counted_ms = max(self.counted_ms, before_ms)

    def _close(self, pane: int) -> None:
        self.closed_pane = pane
        last_ms = self.latest_ms if self.latest_ms is not None else END_OF_TIME_MS
        self.has_ended = self.marks.stream_ms == END_OF_TIME_MS and pane >= last_ms // self._options.sequences.pane_ms
        if self.has_ended:
            self.counted_ms = END_OF_TIME_MS

    def commit(self) -> None:
        """Make everything so far true together. If that fails, a repetition tries the same checkpoint again.

        Raises
        ------
        StoreError
            As `stream.shard_store.ShardStore.commit` does. Nothing may be admitted until a commit has succeeded.
        """
        if self._pending is None:
            self._pending = self._checkpoint()
        self._store.commit(self._pending)
        self._count_segment(self._pending.segment, replaces=self._pending.replaces_segments)
        self._committed_marks, self._pending = self._pending.marks, None
        self._counts.clear()
        self.n_uncommitted = 0

    def _count_segment(self, segment: UserSegment | None, *, replaces: bool = False) -> None:
        if replaces:
            self._n_segments = self._n_stored = 0
        n_users = 0 if segment is None else int(segment.users.shape[0])
        self._n_segments += -(-n_users // USERS_A_PIECE)
        self._n_stored += n_users

    def _checkpoint(self) -> Checkpoint:
        replaces = self._is_worn()
        if replaces:
            self.sequences.forget_closed(self.counted_ms)
        latest_ms = self.marks.latest_ms
        forget_ids_before_ms = self.marks.stream_ms - (self._options.duplicates_ms or 0)
        return Checkpoint(
            progress=self._progress(),
            marks=self._public_marks(),
            offsets={p: (offset, latest_ms[p]) for p, offset in self.offsets.items()},
            new_clusters=self._codebook.take_new(),
            first_seen=self._codebook.take_first_seen(),
            segment=self.sequences.take_all() if replaces else self.sequences.take_dirty(),
            replaces_segments=replaces,
            waiting=self._fresh_waiting(),
            event_ids=None if self._seen is None else self._seen.take_new(forget_ids_before_ms),
            forget_ids_before_ms=forget_ids_before_ms,
            counts={pane: count_keys(parts) for pane, parts in self._counts.items()},
            stats={pane: self.sequences.stats.of_pane(pane) for pane in self._touched_panes()},
        )

    def _is_worn(self) -> bool:
        """Whether half of what is stored of sequences is garbage: then writing all anew costs what was written since.

        So state is written twice at most, a restart reads twice what is open at most, and users who are gone go.
        """
        if self._n_segments < MAX_SEGMENTS:
            return False
        if self._n_segments >= MOST_SEGMENTS:
            return True
        return self._n_stored >= 2 * self.sequences.n_open(self.counted_ms)

    def _public_marks(self) -> Marks:
        marks = self.marks
        return Marks(
            self.earliest_ms, self.latest_ms, marks.stream_ms, self.counted_ms, marks.all_idle, marks.all_finished
        )

    def _touched_panes(self) -> list[int]:
        """Panes whose figures may have changed: those counted now, and those whose predictions may have come true."""
        if not self._counts:
            return []
        reach = self._options.sequences.window_panes + 1
        first = max(self.sequences.stats.base_pane, min(self._counts) - reach)
        return list(range(first, max(self._counts) + 1))

    def _fresh_waiting(self) -> WaitingEvents | None:
        users, clusters, times_ms = self._buffer.take_fresh()
        if not users.shape[0]:
            return None
        codes, of_event = np.unique(clusters, return_inverse=True)
        names = tuple(self._arrivals.names[code] for code in codes)
        return WaitingEvents(names, users, of_event.astype(np.int32), times_ms)

    def _progress(self) -> Progress:
        return Progress(
            earliest_ms=self.earliest_ms,
            latest_ms=self.latest_ms,
            first_pane=self.first_pane,
            closed_pane=self.closed_pane,
            has_ended=self.has_ended,
            stream_ms=self.marks.stream_ms,
            counted_ms=self.counted_ms,
            outcomes={str(outcome): n for outcome, n in self.outcomes.items()},
            issues=tuple(self.issues),
        )

    def _restore(self) -> None:
        store, progress = self._store, self._store.progress()
        for segment in store.segments():
            self.sequences.load(segment)
            self._count_segment(segment)
        for pane, figures in store.shard_stats().items():
            self.sequences.stats.set_pane(pane, np.frombuffer(figures, np.int64))
        stored = store.offsets()
        self.offsets = {partition: offset for partition, (offset, _) in stored.items()}
        self.marks.restore({partition: latest for partition, (_, latest) in stored.items()}, progress.stream_ms)
        self.earliest_ms, self.latest_ms = progress.earliest_ms, progress.latest_ms
        self.first_pane, self.closed_pane = progress.first_pane, progress.closed_pane
        self.counted_ms, self.has_ended = progress.counted_ms, progress.has_ended
        self.outcomes.update(progress.outcomes)
        self.issues = list(progress.issues)
        for waiting in store.waiting():
            still = waiting.times_ms >= progress.counted_ms
            codes = self._arrivals.codes(waiting.names)[waiting.clusters[still]]
            self._buffer.add(waiting.users[still], codes, waiting.times_ms[still])
        self._buffer.take_fresh()
        if self._seen is not None:
            for ids in store.event_ids():
                self._seen.restore(ids)


def count_keys(parts: list[NDArray[np.int64]]) -> BucketedCounts:
    """Count packed transitions, int64[t] a part. `O(t log t)`."""
    keys, counts = np.unique(np.concatenate(parts), return_counts=True)
    return BucketedCounts(keys, counts.astype(np.int64))


def _min_or_none(times_ms: NDArray[np.int64]) -> int | None:
    return int(times_ms.min()) if times_ms.size else None


def _fold(pick: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return pick(one, other)
