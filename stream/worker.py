"""The stream worker of a process of its own: batches in, closed panes out, everything committed together.

One shard holds all partitions (`stream.shard` has the way of an event). When the watermark has passed a pane's end,
the worker commits and hands the pane to `on_pane`, which measures, decides and refreshes; what it returns scores the
next pane.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.catalogue import Catalogue
from stream.checkpoint import StoredIssue
from stream.closing import PaneClosing
from stream.events import EventBatch, Outcome, Source
from stream.predictions import Predictions, no_predictions
from stream.reorder import END_OF_TIME_MS
from stream.sequences import SequenceState
from stream.shard import Shard, ShardOptions
from stream.store import RunStore
from tidegate.errors import EmptySourceError, SourceError


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


OnPane = Callable[[PaneClosing], Predictions]
OnBatch = Callable[[BatchAccount], None]


class StreamWorker:
    """Reads a source into a store, pane by pane. One worker owns one run.

    Parameters
    ----------
    known_clusters : the catalogue, where one is given: it fixes the ids
    checkpoint_records : records between commits, at most about this many are read again after a crash

    Attributes
    ----------
    turn : lock, held while a batch is worked on; another thread that holds it finds the run between two batches
    """

    def __init__(
        self,
        source: Source,
        store: RunStore,
        options: ShardOptions,
        *,
        known_clusters: Iterable[str] = (),
        checkpoint_records: int = 1_000_000,
    ) -> None:
        self._source, self._options, self._checkpoint_records = source, options, checkpoint_records
        stored = store.cluster_names()
        self.catalogue = Catalogue(stored or list(known_clusters), n_stored=len(stored))
        self._shard = Shard(store, source.partitions, options, self.catalogue, source.identity)
        self._predictions = no_predictions()
        self.turn = threading.Lock()
        self._failure: BaseException | None = None

    @property
    def sequences(self) -> SequenceState:
        """Open sequences, and the figures by pane."""
        return self._shard.sequences

    @property
    def outcomes(self) -> dict[Outcome, int]:
        """Records of the whole run by outcome."""
        counts = self._shard.outcomes
        return {outcome: counts[outcome] for outcome in Outcome if counts[outcome]}

    @property
    def issues(self) -> tuple[StoredIssue, ...]:
        """The first few records of the run that were set aside."""
        return tuple(self._shard.issues)

    @property
    def has_ended(self) -> bool:
        """Whether the source's last pane is closed."""
        return self._shard.has_ended

    @property
    def first_pane(self) -> int | None:
        """Pane of the run's first event, once the watermark has passed it."""
        return self._shard.first_pane

    @property
    def unanswered_pane(self) -> PaneClosing | None:
        """The pane that was closed last: after a crash, the one whose decision may be missing."""
        shard = self._shard
        if shard.closed_pane is None or shard.first_pane is None:
            return None
        return PaneClosing(shard.closed_pane, shard.first_pane, shard.has_ended)

    def checkpoint(self) -> None:
        """Commit what was read. Only for who holds the `turn`.

        Raises
        ------
        StoreError
            If the store refuses; nothing may be read until a commit has succeeded.
        """
        if self._shard.has_news:
            self._shard.commit()

    @property
    def has_failed(self) -> bool:
        """Whether another thread has failed in its turn."""
        return self._failure is not None

    def fail(self, error: BaseException) -> None:
        """Let `run` raise what another thread has failed with, before anything else is read or committed.

        Only for who holds the `turn`.
        """
        self._failure = error

    def score_with(self, predictions: Predictions) -> None:
        """Score with another table from here on. Only for who holds the `turn`."""
        self._predictions = predictions

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
        shard = self._shard
        try:
            for batch in self._source.batches(dict(shard.offsets)):
                with self._my_turn():
                    self._work(batch, on_pane, on_batch)
                if should_stop():
                    break
        except SourceError:
            with self._my_turn():
                shard.commit()
            raise
        # Any other failure may have come in the middle of a batch, or of a commit: what is stored stays as it is.
        with self._my_turn():
            shard.commit()
        if shard.marks.stream_ms == END_OF_TIME_MS and not shard.outcomes:
            raise EmptySourceError("no record at all", "Check --source", place=self._source.identity)
        return shard.has_ended

    @contextmanager
    def _my_turn(self) -> Iterator[None]:
        with self.turn:
            if self._failure is not None:
                raise self._failure
            yield

    def _work(self, batch: EventBatch, on_pane: OnPane, on_batch: OnBatch) -> None:
        shard, before = self._shard, self._totals()
        outcomes = shard.admit(batch, self._source.cluster_names).outcomes
        self._source.pause_ahead_of(self._pause_limit_ms())
        self._close_panes(on_pane)
        on_batch(self._account(batch, outcomes, before))
        if shard.n_uncommitted >= self._checkpoint_records:
            shard.commit()

    def _close_panes(self, on_pane: OnPane) -> None:
        shard = self._shard
        while (pane := shard.count_passed(lambda _: self._predictions)) is not None:
            shard.commit()
            assert shard.first_pane is not None
            self._predictions = on_pane(PaneClosing(pane, shard.first_pane, shard.has_ended))

    def _totals(self) -> NDArray[np.int64]:
        totals: NDArray[np.int64] = self.sequences.stats.values.sum(axis=0)
        return totals

    def _account(self, batch: EventBatch, outcomes: dict[Outcome, int], before: NDArray[np.int64]) -> BatchAccount:
        stream_ms = self._shard.marks.stream_ms
        watermark_ms = stream_ms if abs(stream_ms) < END_OF_TIME_MS else None
        return BatchAccount(batch.n_records, outcomes, watermark_ms, self._totals() - before)

    def _pause_limit_ms(self) -> int | None:
        """Event time beyond which a partition waits for the others, so that the buffer stays about a pane long."""
        slowest = self._shard.marks.stream_ms
        if abs(slowest) >= END_OF_TIME_MS:
            return None
        return slowest + self._options.lateness_ms + self._options.sequences.pane_ms
