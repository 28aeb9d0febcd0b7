"""The stream worker: batches in, closed panes out, everything committed together.

The way of one event: admitted (late ones are set aside) → waits in the reorder buffer → released in event-time
order → appended to its user's sequence → counted and scored. When the watermark has passed a pane's end, the worker
commits and hands the pane to `on_pane`, which measures, decides and refreshes; what it returns scores the next pane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.catalogue import ArrivalNames, Catalogue
from stream.checkpoint import Checkpoint, Progress, StoredIssue
from stream.decoding.decoder import iso_utc_or_ms
from stream.events import EventBatch, Outcome, Source
from stream.predictions import Predictions, no_predictions
from stream.reorder import BEGINNING_OF_TIME_MS, END_OF_TIME_MS, ReorderBuffer, Watermarks, late_events
from stream.sequences import SequenceOptions, SequenceState
from stream.store import RunStore
from tidegate.counts import BucketedCounts
from tidegate.errors import EmptySourceError, SourceError

MAX_ISSUES = 20
# Above this many segments a restart reads more garbage than state: all of it is written anew.
MAX_SEGMENTS = 32


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How the worker reads and commits.

    Attributes
    ----------
    lateness_ms : int           how far events may lag behind the latest one of their partition
    checkpoint_records : int    records between commits, at most about this many are read again after a crash
    follows : bool              partitions that are at their end are idle, not finished
    """

    sequences: SequenceOptions
    lateness_ms: int = 300_000
    checkpoint_records: int = 1_000_000
    follows: bool = False


@dataclass(frozen=True, slots=True)
class ClosedPane:
    """A pane whose events are all counted and committed."""

    pane: int
    first_pane: int
    is_last: bool


@dataclass(frozen=True, slots=True)
class BatchAccount:
    """What one batch came to, for metrics and progress bars.

    `figures` is what was added to the columns of the pane statistics, int64[7] (`stream.sequence_kernel`);
    `watermark_ms` is None before the first event and after the end.
    """

    n_records: int
    outcomes: dict[Outcome, int]
    watermark_ms: int | None
    figures: NDArray[np.int64]


OnPane = Callable[[ClosedPane], Predictions]
OnBatch = Callable[[BatchAccount], None]


class StreamWorker:
    """Reads a source into a store, pane by pane. One worker owns one run.

    Parameters
    ----------
    known_clusters : the catalogue, where one is given: it fixes the ids
    """

    def __init__(
        self,
        source: Source,
        store: RunStore,
        options: WorkerOptions,
        *,
        known_clusters: Iterable[str] = (),
    ) -> None:
        self._source, self._store, self._options = source, store, options
        self.catalogue = Catalogue(store.cluster_names() or list(known_clusters))
        self.sequences = SequenceState(options.sequences)
        self._marks = Watermarks(source.partitions, options.lateness_ms)
        self._buffer = ReorderBuffer()
        self._counts: dict[int, list[NDArray[np.int64]]] = {}
        self._offsets: dict[int, int] = {}
        self._outcomes: Counter[str] = Counter()
        self._issues: list[StoredIssue] = []
        self._earliest_ms: int | None = None
        self._latest_ms: int | None = None
        self._first_pane: int | None = None
        self._closed_pane: int | None = None
        self._has_ended = False
        self._predictions = no_predictions()
        self._n_uncommitted = 0
        self._n_stored_clusters = len(store.cluster_names())
        self._arrivals = ArrivalNames()
        self._restore()

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """Records of the whole run by outcome."""
        return {outcome: self._outcomes[outcome] for outcome in Outcome if self._outcomes[outcome]}

    @property
    def issues(self) -> tuple[StoredIssue, ...]:
        """The first few records of the run that were set aside."""
        return tuple(self._issues)

    @property
    def has_ended(self) -> bool:
        """Whether the source's last pane is closed."""
        return self._has_ended

    @property
    def first_pane(self) -> int | None:
        """Pane of the run's first event, once the watermark has passed it."""
        return self._first_pane

    @property
    def unanswered_pane(self) -> ClosedPane | None:
        """The pane that was closed last: after a crash, the one whose decision may be missing."""
        if self._closed_pane is None or self._first_pane is None:
            return None
        return ClosedPane(self._closed_pane, self._first_pane, self._has_ended)

    def run(
        self,
        on_pane: OnPane,
        predictions: Predictions,
        *,
        on_batch: OnBatch = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Read until the source ends or `should_stop`; returns whether it ended.

        Parameters
        ----------
        on_pane : called once for each closed pane, after its commit; returns what serves from then on
        predictions : what serves now

        Raises
        ------
        SourceError
            If the source fails; everything that it yielded before is committed.
        EmptySourceError
            If a finite source had no record at all.
        """
        self._predictions = predictions
        try:
            for batch in self._source.batches(dict(self._offsets)):
                before = self._totals()
                outcomes = self._admit(batch)
                self._release(on_pane)
                on_batch(self._account(batch, outcomes, before))
                if self._n_uncommitted >= self._options.checkpoint_records:
                    self._commit()
                if should_stop():
                    break
        except SourceError:
            self._commit()
            raise
        # Any other failure may have come in the middle of a batch, or of a commit: what is stored stays as it is.
        self._commit()
        if self._marks.stream_ms == END_OF_TIME_MS and not self._outcomes:
            raise EmptySourceError("no record at all", "Check --source", place=self._source.identity)
        return self._has_ended

    def _totals(self) -> NDArray[np.int64]:
        totals: NDArray[np.int64] = self.sequences.stats.values.sum(axis=0)
        return totals

    def _account(self, batch: EventBatch, outcomes: dict[Outcome, int], before: NDArray[np.int64]) -> BatchAccount:
        watermark_ms = self._marks.stream_ms if abs(self._marks.stream_ms) < END_OF_TIME_MS else None
        return BatchAccount(batch.n_records, outcomes, watermark_ms, self._totals() - before)

    def _admit(self, batch: EventBatch) -> dict[Outcome, int]:
        """Set late events aside, put the others into the buffer, advance the watermark."""
        latest_ms = self._marks.latest_ms[batch.partition]
        is_late = late_events(batch.times_ms, latest_ms, self._options.lateness_ms)
        is_late |= batch.times_ms < self._marks.stream_ms  # a partition that idled comes back behind the others
        kept = ~is_late
        outcomes = Counter({Outcome(outcome): n for outcome, n in batch.set_aside.items() if n})
        outcomes += Counter({Outcome.LATE: int(is_late.sum()), Outcome.COUNTED: int(kept.sum())})
        if is_late.any() and not self._outcomes[Outcome.LATE]:
            self._issues.append(self._late_issue(batch, int(is_late.argmax())))
        self._outcomes.update(outcomes)
        self._issues += [StoredIssue(i.outcome, i.place, i.found, i.mend) for i in batch.issues]
        del self._issues[MAX_ISSUES:]
        codes = self._arrivals.translate(batch.clusters[kept], self._source.cluster_names)
        self._buffer.add(batch.users[kept], codes, batch.times_ms[kept])
        self._offsets[batch.partition] = batch.next_offset
        self._earliest_ms = _fold(min, self._earliest_ms, _earliest_in_time(batch, kept))
        self._latest_ms = _fold(max, self._latest_ms, batch.latest_ms)
        self._marks.advance(batch.partition, int(batch.times_ms.max()) if batch.times_ms.size else None)
        if batch.at_end:
            (self._marks.idle if self._options.follows else self._marks.finish)(batch.partition)
        self._source.pause_ahead_of(self._pause_limit_ms())
        self._n_uncommitted += batch.n_records
        return dict(outcomes)

    def _late_issue(self, batch: EventBatch, first: int) -> StoredIssue:
        """Describe the run's first late record; one that ran ahead may have made all that follow it late."""
        latest_ms = int(batch.times_ms[:first].max(initial=max(self._marks.latest_ms.values())))
        return StoredIssue(
            Outcome.LATE,
            self._source.identity,
            f"a record of {iso_utc_or_ms(int(batch.times_ms[first]))} came after one of {iso_utc_or_ms(latest_ms)}",
            "Correct the record that ran ahead, or allow events to lag further with --lateness",
        )

    def _pause_limit_ms(self) -> int | None:
        """Event time beyond which a partition waits for the others, so that the buffer stays about a pane long."""
        slowest = self._marks.stream_ms
        if abs(slowest) >= END_OF_TIME_MS:
            return None
        return slowest + self._options.lateness_ms + self._options.sequences.pane_ms

    def _release(self, on_pane: OnPane) -> None:
        """Count what the watermark has passed; close the panes whose end it has passed."""
        stream_ms, pane_ms = self._marks.stream_ms, self._options.sequences.pane_ms
        if self._earliest_ms is None:  # no well-formed record so far: there is no pane to close
            self._has_ended = stream_ms == END_OF_TIME_MS
            return
        if stream_ms == BEGINNING_OF_TIME_MS or self._has_ended:
            return
        if self._first_pane is None:
            if stream_ms < self._earliest_ms:
                return  # an earlier event may still come in time
            self._first_pane = self._earliest_ms // pane_ms
        while not self._has_ended:
            pane = self._first_pane if self._closed_pane is None else self._closed_pane + 1
            end_ms = (pane + 1) * pane_ms
            self._count(pane, min(end_ms, stream_ms))
            if stream_ms < end_ms:
                return
            self._close(pane, on_pane)

    def _count(self, pane: int, before_ms: int) -> None:
        users, codes, times_ms = self._buffer.release(before_ms)
        if users.shape[0]:
            clusters = self.catalogue.ids(codes, times_ms, self._arrivals.names)
            keys = self.sequences.extend(users, clusters, times_ms, self._predictions)
            self._counts.setdefault(pane, []).append(keys)

    def _close(self, pane: int, on_pane: OnPane) -> None:
        last_ms = self._latest_ms if self._latest_ms is not None else END_OF_TIME_MS
        self._closed_pane = pane
        self._has_ended = self._marks.stream_ms == END_OF_TIME_MS and pane >= last_ms // self._options.sequences.pane_ms
        self._commit()
        assert self._first_pane is not None
        self._predictions = on_pane(ClosedPane(pane, self._first_pane, self._has_ended))

    def _commit(self) -> None:
        """Make everything so far true together: counts, sequences, figures, names, waiting events, offsets."""
        names = self.catalogue.names
        replaces = self._store.n_segments() >= MAX_SEGMENTS
        touched = self._touched_panes()
        latest_ms = self._marks.latest_ms
        self._store.commit(
            Checkpoint(
                progress=self._progress(),
                offsets={p: (offset, latest_ms[p]) for p, offset in self._offsets.items()},
                new_clusters={i: names[i] for i in range(self._n_stored_clusters, len(names))},
                segment=self.sequences.take_all() if replaces else self.sequences.take_dirty(),
                replaces_segments=replaces,
                counts={pane: count_keys(parts) for pane, parts in self._counts.items()},
                stats={pane: self.sequences.stats.of_pane(pane) for pane in touched},
            )
        )
        self._counts.clear()
        self._n_stored_clusters = len(names)
        self._n_uncommitted = 0

    def _touched_panes(self) -> list[int]:
        """Panes whose figures may have changed: those counted now, and those whose predictions may have come true."""
        if not self._counts:
            return []
        reach = self._options.sequences.window_panes + 1
        first = max(self.sequences.stats.base_pane, min(self._counts) - reach)
        return list(range(first, max(self._counts) + 1))

    def _progress(self) -> Progress:
        codes, waiting = np.unique(self._buffer.clusters, return_inverse=True)
        return Progress(
            earliest_ms=self._earliest_ms,
            latest_ms=self._latest_ms,
            first_pane=self._first_pane,
            closed_pane=self._closed_pane,
            has_ended=self._has_ended,
            stream_ms=self._marks.stream_ms,
            outcomes={str(outcome): n for outcome, n in self._outcomes.items()},
            issues=tuple(self._issues),
            waiting_names=tuple(self._arrivals.names[code] for code in codes),
            waiting_users=self._buffer.users.tobytes(),
            waiting_clusters=waiting.astype(np.int32).tobytes(),
            waiting_times_ms=self._buffer.times_ms.tobytes(),
        )

    def _restore(self) -> None:
        progress = self._store.progress()
        for segment in self._store.segments():
            self.sequences.load(segment)
        for pane, figures in self._store.stats().items():
            self.sequences.stats.set_pane(pane, figures)
        stored = self._store.offsets()
        self._offsets = {partition: offset for partition, (offset, _) in stored.items()}
        self._marks.restore({partition: latest for partition, (_, latest) in stored.items()}, progress.stream_ms)
        self._earliest_ms, self._latest_ms = progress.earliest_ms, progress.latest_ms
        self._first_pane, self._closed_pane = progress.first_pane, progress.closed_pane
        self._has_ended = progress.has_ended
        self._outcomes.update(progress.outcomes)
        self._issues = list(progress.issues)
        self._arrivals = ArrivalNames(progress.waiting_names)
        self._buffer.add(
            np.frombuffer(progress.waiting_users, np.uint64),
            np.frombuffer(progress.waiting_clusters, np.int32),
            np.frombuffer(progress.waiting_times_ms, np.int64),
        )


def count_keys(parts: list[NDArray[np.int64]]) -> BucketedCounts:
    """Count packed transitions, int64[t] a part. `O(t log t)`."""
    keys, counts = np.unique(np.concatenate(parts), return_counts=True)
    return BucketedCounts(keys, counts.astype(np.int64))


def _earliest_in_time(batch: EventBatch, kept: NDArray[np.bool_]) -> int | None:
    """Earliest event time that may begin the run: a late record, years behind perhaps, must not."""
    if kept.all():
        return batch.earliest_ms
    return int(batch.times_ms[kept].min()) if kept.any() else None


def _fold(pick: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return pick(one, other)
