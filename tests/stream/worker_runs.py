"""Runs of one worker over made-up logs, and what a recount from scratch says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from stream.closing import PaneClosing
from stream.events import Outcome
from stream.predictions import Predictions, index_predictions, no_predictions
from stream.sequences import Dedup, SequenceOptions
from stream.shard import ShardOptions
from stream.store import RunStore
from stream.worker import BatchAccount, StreamWorker
from tests.fakes import FakeEvent, FakeSource
from tests.reference import Recount, Rules, Watch, answer, ids_by_first_sight, in_time, recount
from tidegate.counts import pair_of_key, successor_of_key, unpack_pairs
from tidegate.errors import StoreError

NAMES = ("art", "bikes", "cats", "dance", "eel")
LATENESS_MS = 30
MICROBITS = [5, 3, 11, 2, 7]
Streams = dict[int, list[FakeEvent]]
Schedule = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Case:
    """A log by partition, in arrival order, and the flags of its run."""

    streams: Streams
    rules: Rules

    @property
    def options(self) -> ShardOptions:
        sequences = SequenceOptions(
            pane_ms=self.rules.pane_ms,
            window_ms=self.rules.window_ms,
            gap_ms=self.rules.gap_ms,
            dedup=Dedup.ADJACENT if self.rules.adjacent else Dedup.FIRST,
            n_buckets=4,
        )
        return ShardOptions(sequences, lateness_ms=LATENESS_MS)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Some users on one to three partitions; event times jump, stand still and lag."""
    n_partitions = draw(st.integers(1, 3))
    records = st.tuples(
        st.integers(0, 5),
        st.sampled_from(NAMES),
        st.sampled_from([0, 1, 10, 40, 150]),
        st.sampled_from([0, 0, 0, 25, 31]),
    )
    streams: Streams = {partition: [] for partition in range(n_partitions)}
    now_ms = draw(st.sampled_from([0, 990, -50]))
    for user, cluster, step, lag in draw(st.lists(records, min_size=1, max_size=50)):
        now_ms += step
        streams[user % n_partitions].append(FakeEvent(f"user {user}", cluster, now_ms - lag))
    rules = Rules(
        pane_ms=100,
        window_ms=200,
        gap_ms=draw(st.sampled_from([None, 60])),
        adjacent=draw(st.booleans()),
    )
    return Case(streams, rules)


@st.composite
def cuts(draw: st.DrawFn) -> Schedule:
    return draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=25))


def table_after(pane: int) -> list[list[int]]:
    """Ranked answers by c2 of the table that `pane` leaves; every third table knows less."""
    return [[(c2 * 2 + pane) % 5, (c2 + pane + 1) % 5] if (c2 + pane) % 3 else [-1, -1] for c2 in range(5)]


def predictions_after(pane: int) -> Predictions:
    none = np.zeros(0, np.int64)
    backoff = np.array(table_after(pane), np.int32)
    return index_predictions(none, none.astype(np.int32), backoff, np.array(MICROBITS, np.int64))


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run over a whole log must come to."""

    recount: Recount[int]
    ids: dict[str, int]
    panes: list[int]
    n_late: int
    n_counted: int


def expected_of(case: Case) -> Expected:
    watches: list[Watch[str]] = []
    n_late = 0
    for events in case.streams.values():
        is_kept = in_time([event.time_ms for event in events], LATENESS_MS)
        watches += [Watch(e.user, e.cluster, e.time_ms) for e, kept in zip(events, is_kept, strict=True) if kept]
        n_late += is_kept.count(False)
    watches.sort(key=lambda watch: watch.time_ms)
    ids = ids_by_first_sight(watches)
    first_pane = watches[0].time_ms // case.rules.pane_ms
    last_pane = max(e.time_ms for events in case.streams.values() for e in events) // case.rules.pane_ms

    def predict(pane: int, c1: int, c2: int) -> int | None:
        return answer({}, table_after(pane - 1), c1, c2) if pane > first_pane else None

    result = recount(
        [Watch(watch.user, ids[watch.cluster], watch.time_ms) for watch in watches],
        case.rules,
        predict,
        lambda cluster: MICROBITS[cluster],
    )
    return Expected(result, ids, list(range(first_pane, last_pane + 1)), n_late, len(watches))


class Stop(BaseException):
    """The process dies here."""


@dataclass
class Run:
    """One run over one store, through as many workers as it takes."""

    case: Case
    path: Path
    panes: list[int] = field(default_factory=list)
    accounts: list[BatchAccount] = field(default_factory=list)

    def session(
        self,
        schedule: Schedule = (),  # type: ignore[assignment]
        *,
        should_stop: Callable[[], bool] = lambda: False,
        before_record: Callable[[PaneClosing], None] = lambda _: None,
        on_batch: Callable[[BatchAccount], None] = lambda _: None,
        fails_after: int | None = None,
        break_commit: int | None = None,
    ) -> bool:
        """Start a worker over the store, answer what was left unanswered, and read on."""
        self.store = RunStore(self.path, "log", "{}")
        if break_commit is not None:
            _break_commit(self.store, break_commit)
        try:
            source = FakeSource(self.case.streams, schedule, batch_records=6, fails_after=fails_after)
            self.worker = StreamWorker(source, self.store, self.case.options, checkpoint_records=7)

            def on_pane(closed: PaneClosing) -> Predictions:
                before_record(closed)
                self.store.record_pane(closed.pane, b"last" if closed.is_last else b"more")
                self.panes.append(closed.pane)
                return predictions_after(closed.pane)

            def account(batch: BatchAccount) -> None:
                self.accounts.append(batch)
                on_batch(batch)

            predictions = no_predictions()
            closed = self.worker.unanswered_pane
            if closed is not None:
                answered = closed.pane in self.store.records()
                predictions = predictions_after(closed.pane) if answered else on_pane(closed)
            return self.worker.run(on_pane, predictions, on_batch=account, should_stop=should_stop)
        finally:
            self.store.close()

    def assert_complete(self) -> None:
        """Compare everything that is stored with the recount."""
        expected, store = expected_of(self.case), RunStore(self.path, "log", "{}")
        assert self.panes == expected.panes
        assert list(store.records().values()) == [b"more"] * (len(self.panes) - 1) + [b"last"]
        assert store.cluster_names() == list(expected.ids)
        counts: Counter[tuple[int, int, int, int]] = Counter()
        for pane in self.panes:
            part = store.counts(pane, pane)
            c1, c2 = unpack_pairs(pair_of_key(part.keys))
            for a, b, c, n in zip(c1, c2, successor_of_key(part.keys), part.counts, strict=True):
                counts[pane, int(a), int(b), int(c)] += int(n)
        assert counts == expected.recount.counts
        figures = {pane: row.tolist() for pane, row in store.stats().items() if row.any()}
        assert figures == dict(expected.recount.figures)
        outcomes = Counter({Outcome.COUNTED: expected.n_counted, Outcome.LATE: expected.n_late})
        assert Counter(store.progress().outcomes) == +outcomes
        store.close()


def _break_commit(store: RunStore, number: int) -> None:
    """Let the database refuse the n-th commit, and take the next one again."""
    commit, calls = store.commit, iter(range(1_000_000))

    def refuse_once(checkpoint: Any) -> None:
        if next(calls) == number:
            raise StoreError("the database refused: disk full", "Make room")
        commit(checkpoint)

    store.commit = refuse_once  # type: ignore[method-assign]


def after(n: int) -> Callable[[], bool]:
    calls = iter(range(1_000_000))
    return lambda: next(calls) >= n


# The factory makes a new folder each time, so examples share nothing.
hypothesis_settings = settings(max_examples=20, deadline=None)


def case_of(*events: FakeEvent, **rules: Any) -> Case:
    return Case({0: list(events)}, Rules(pane_ms=100, window_ms=200, **rules))


def walk(times_ms: Iterable[int], user: str = "u") -> list[FakeEvent]:
    return [FakeEvent(user, NAMES[i % len(NAMES)], time_ms) for i, time_ms in enumerate(times_ms)]
