"""The worker against a recount from scratch: whatever the batches, whatever breaks, nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import shard as shard_module
from stream.closing import PaneClosing
from stream.events import Outcome
from stream.predictions import Predictions, index_predictions, no_predictions
from stream.schema import sequence_segments
from stream.sequences import Dedup, SequenceOptions
from stream.shard import ShardOptions
from stream.store import RunStore
from stream.worker import BatchAccount, StreamWorker
from tests.fakes import FakeEvent, FakeSource
from tests.reference import Recount, Rules, Watch, answer, ids_by_first_sight, in_time, recount
from tidegate.counts import pair_of_key, successor_of_key, unpack_pairs
from tidegate.errors import EmptySourceError, SourceError, StoreError

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


def _after(n: int) -> Callable[[], bool]:
    calls = iter(range(1_000_000))
    return lambda: next(calls) >= n


@pytest.fixture
def new_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Run]:
    return lambda case: Run(case, tmp_path_factory.mktemp("run") / "store.db")


# The factory makes a new folder each time, so examples share nothing.
hypothesis_settings = settings(max_examples=20, deadline=None)


@given(case=cases(), schedule=cuts())
@hypothesis_settings
def test_any_interleaving_and_any_batches_count_what_the_glossary_says(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    assert run.session(schedule)
    run.assert_complete()
    assert sum(account.n_records for account in run.accounts) == sum(map(len, case.streams.values()))
    stats = run.worker.sequences.stats.values.sum(axis=0)
    assert np.sum([account.figures for account in run.accounts], axis=0).tolist() == stats.tolist()


@given(case=cases(), schedules=st.lists(cuts(), min_size=3, max_size=3), n=st.integers(0, 8), m=st.integers(0, 8))
@hypothesis_settings
def test_stopping_after_any_batch_and_going_on_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedules: list[Schedule], n: int, m: int
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    for schedule, stop_after in zip(schedules, (n, m, 10_000), strict=True):
        has_ended = run.session(schedule, should_stop=_after(stop_after))
    assert has_ended
    run.assert_complete()


@given(case=cases(), schedule=cuts(), data=st.data())
@hypothesis_settings
def test_a_handler_that_fails_at_any_pane_is_asked_again_for_that_pane_only(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule, data: st.DataObject
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    bad = data.draw(st.sampled_from(expected_of(case).panes))

    def refuse(closed: PaneClosing) -> None:
        if closed.pane == bad:
            raise RuntimeError("no engine")

    with pytest.raises(RuntimeError, match="no engine"):
        run.session(schedule, before_record=refuse)
    assert run.panes == [pane for pane in expected_of(case).panes if pane < bad]
    assert run.session(schedule)
    run.assert_complete()


@given(case=cases(), schedule=cuts(), n=st.integers(0, 12))
@hypothesis_settings
def test_a_process_that_dies_between_commits_reads_the_rest_again(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule, n: int
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    batches = iter(range(1_000_000))

    def die(_: BatchAccount) -> None:
        if next(batches) == n:
            raise Stop

    try:
        run.session(schedule, on_batch=die)
    except Stop:
        assert run.session()
    run.assert_complete()


@given(case=cases(), schedule=cuts(), n=st.integers(0, 6))
@hypothesis_settings
def test_a_commit_that_the_database_refuses_costs_nothing_but_a_restart(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule, n: int
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    try:
        run.session(schedule, break_commit=n)
    except StoreError:
        assert run.session(schedule)
    run.assert_complete()


@pytest.mark.parametrize("number", range(4))
def test_a_refused_commit_is_not_followed_by_one_of_half_the_state(new_run: Callable[[Case], Run], number: int) -> None:
    """State that was taken for the refused commit would be missing from a next one, which moves the offsets on."""
    run = new_run(_one(*_walk([0, 10, 110, 210, 310, 320])))
    with pytest.raises(StoreError, match="disk full"):
        run.session(break_commit=number)
    assert run.session()
    run.assert_complete()


@given(case=cases(), schedule=cuts(), n=st.integers(0, 6))
@hypothesis_settings
def test_a_source_that_fails_leaves_what_it_yielded_committed(
    tmp_path_factory: pytest.TempPathFactory, case: Case, schedule: Schedule, n: int
) -> None:
    run = Run(case, tmp_path_factory.mktemp("run") / "store.db")
    try:
        run.session(schedule, fails_after=n)
    except SourceError as error:
        assert not isinstance(error, EmptySourceError)
        stored = RunStore(run.path, "log", "{}")
        offsets, outcomes = stored.offsets(), stored.progress().outcomes
        stored.close()
        n_read = sum(offset for offset, _ in offsets.values())
        assert n_read == sum(account.n_records for account in run.accounts) == sum(outcomes.values())
        run.session()
    run.assert_complete()


def _one(*events: FakeEvent, **rules: Any) -> Case:
    return Case({0: list(events)}, Rules(pane_ms=100, window_ms=200, **rules))


def _walk(times_ms: Iterable[int], user: str = "u") -> list[FakeEvent]:
    return [FakeEvent(user, NAMES[i % len(NAMES)], time_ms) for i, time_ms in enumerate(times_ms)]


def test_the_first_pane_is_that_of_the_first_event_however_the_batches_are_cut(
    new_run: Callable[[Case], Run],
) -> None:
    """One event just after midnight puts the watermark on the day before; that day is no part of the run."""
    case = _one(*_walk([105, 110, 250]))
    for size in (1, 2, 3):
        run = new_run(case)
        run.session([(0, size)])
        assert run.panes == [1, 2]
        run.assert_complete()


def test_a_stray_old_record_does_not_begin_the_run(new_run: Callable[[Case], Run]) -> None:
    case = _one(*_walk([1_000_005, 1_000_050, 0, 1_000_060]))
    for schedule in ([(0, 1), (0, 1), (0, 1)], [(0, 4)]):
        run = new_run(case)
        run.session(schedule)
        assert run.worker.outcomes == {Outcome.COUNTED: 3, Outcome.LATE: 1}
        run.assert_complete()


def test_panes_without_events_are_closed_too_and_only_the_last_is_the_last(
    new_run: Callable[[Case], Run],
) -> None:
    run = new_run(_one(*_walk([0, 1, 2, 950])))
    closed: list[PaneClosing] = []
    run.session(before_record=closed.append)
    assert closed == [PaneClosing(pane, 0, is_last=pane == 9) for pane in range(10)]
    assert run.worker.first_pane == 0
    assert run.worker.unanswered_pane == closed[-1]


def test_an_ended_run_closes_nothing_twice(new_run: Callable[[Case], Run]) -> None:
    run = new_run(_one(*_walk([0, 50, 130])))
    assert run.session()
    assert run.session()
    run.assert_complete()


def test_a_crash_between_close_and_record_leaves_an_unanswered_pane(new_run: Callable[[Case], Run]) -> None:
    run = new_run(_one(*_walk([0, 50, 130, 250])))

    def die(closed: PaneClosing) -> None:
        if closed.pane == 1:
            raise Stop

    with pytest.raises(Stop):
        run.session(before_record=die)
    store = RunStore(run.path, "log", "{}")
    worker = StreamWorker(FakeSource(run.case.streams), store, run.case.options)
    assert worker.unanswered_pane == PaneClosing(1, 0, is_last=False)
    assert list(store.records()) == [0]
    store.close()
    run.session()
    run.assert_complete()


def test_nothing_is_unanswered_before_the_first_pane_is_closed(new_run: Callable[[Case], Run]) -> None:
    run = new_run(_one(*_walk([0, 10, 20])))
    assert not run.session([(0, 1)], should_stop=lambda: True)
    assert run.worker.unanswered_pane is None
    assert run.worker.first_pane is None
    assert run.session()
    run.assert_complete()


def test_a_source_without_any_record_is_an_error(new_run: Callable[[Case], Run]) -> None:
    with pytest.raises(EmptySourceError, match=r"fake: no record at all\. Check --source"):
        new_run(_one()).session()


def test_records_that_are_set_aside_are_counted_by_outcome_and_the_first_issues_kept(
    new_run: Callable[[Case], Run],
) -> None:
    broken = [FakeEvent("u", "art", 0, Outcome.MALFORMED) for _ in range(30)]
    negative = [FakeEvent("u", "cats", 350, Outcome.NEGATIVE)]
    run = new_run(_one(*broken[:15], *_walk([100, 110]), *broken[15:], *negative))
    for _ in range(2):
        run.session([(0, 9)] * 2, should_stop=_after(1))
    assert run.session()
    assert run.worker.outcomes == {Outcome.COUNTED: 2, Outcome.NEGATIVE: 1, Outcome.MALFORMED: 30}
    assert len(run.worker.issues) == shard_module.MAX_ISSUES
    places = [f"fake[0]@{i}" for i in (*range(15), *range(17, 22))]
    assert [issue.place for issue in run.worker.issues] == places
    assert run.panes == [1, 2, 3]  # a negative event is an event: its pane belongs to the run


def test_clusters_of_late_and_negative_events_get_no_id(new_run: Callable[[Case], Run]) -> None:
    run = new_run(
        _one(FakeEvent("u", "cats", 100), FakeEvent("u", "eel", 10), FakeEvent("u", "dance", 120, Outcome.NEGATIVE))
    )
    run.session()
    assert run.worker.catalogue.names == ["cats"]


def test_events_that_wait_for_the_watermark_survive_a_restart(new_run: Callable[[Case], Run]) -> None:
    """Partition 1 holds partition 0 back: all of its events are read, none is counted, when the worker stops."""
    streams = {0: _walk(range(0, 500, 20), "even"), 1: _walk(range(5, 500, 30), "odd")}
    run = new_run(Case(streams, Rules(pane_ms=100, window_ms=200)))
    run.session([(0, 25)], should_stop=lambda: True)
    store = RunStore(run.path, "log", "{}")
    waiting = list(store.waiting())
    assert sum(segment.times_ms.shape[0] for segment in waiting) == 25
    assert {name for segment in waiting for name in segment.names} == set(NAMES)
    assert store.progress().closed_pane is None
    store.close()
    run.session()
    run.assert_complete()


def test_segments_are_replaced_before_they_pile_up(
    new_run: Callable[[Case], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "MAX_SEGMENTS", 3)
    events = [FakeEvent(f"user {i % 4}", NAMES[i % 5], i * 20) for i in range(80)]
    run = new_run(_one(*events))
    sizes = []
    for _ in range(5):
        run.session([(0, 4)] * 4, should_stop=_after(3))
        store = RunStore(run.path, "log", "{}")
        sizes.append(store.n_rows(sequence_segments))
        store.close()
    run.session()
    assert max(sizes) <= 3
    run.assert_complete()


def test_a_restart_after_commits_that_changed_no_user_is_harmless(new_run: Callable[[Case], Run]) -> None:
    run = new_run(_one(*_walk([0, 10, 20, 900, 910, 920])))  # the panes between commit empty segments
    run.session([(0, 4)], should_stop=lambda: True)
    run.session()
    run.assert_complete()


def test_known_clusters_keep_the_ids_that_they_were_given(new_run: Callable[[Case], Run]) -> None:
    run = new_run(_one(*_walk([0, 10, 20])))
    for _ in range(2):
        store = RunStore(run.path, "log", "{}")
        known = ["zoo", "cats", "art", "bikes"]
        worker = StreamWorker(FakeSource(run.case.streams), store, run.case.options, known_clusters=known)
        worker.run(lambda _: no_predictions(), no_predictions())
        assert store.cluster_names() == worker.catalogue.names == known
        store.close()


def test_an_idle_partition_does_not_hold_the_others_back(tmp_path: Path) -> None:
    case = Case({0: _walk(range(0, 500, 20), "even"), 1: []}, Rules(pane_ms=100, window_ms=200))
    options = ShardOptions(case.options.sequences, LATENESS_MS, follows=True)
    store = RunStore(tmp_path / "store.db", "log", "{}")
    panes: list[int] = []

    def on_pane(closed: PaneClosing) -> Predictions:
        assert not closed.is_last
        panes.append(closed.pane)
        return no_predictions()

    source = FakeSource(case.streams, [(1, 1), (0, 20)])
    worker = StreamWorker(source, store, options)
    assert not worker.run(on_pane, no_predictions())  # what is followed never ends
    assert panes == [0, 1, 2, 3]  # 480 less the lateness closes pane 3
    store.close()


def test_a_partition_that_idled_comes_back_late(tmp_path: Path) -> None:
    """While partition 1 idles, partition 0 moves the watermark to 570; what comes then is held against it."""
    start, rest = _walk([0, 10], "odd"), _walk([100, 569, 570, 590], "odd")
    options = ShardOptions(_one().options.sequences, LATENESS_MS, follows=True)
    streams = {0: _walk([0, 300, 600], "even"), 1: start}
    store = RunStore(tmp_path / "store.db", "log", "{}")
    StreamWorker(FakeSource(streams, [(1, 2), (0, 3)]), store, options).run(
        lambda _: no_predictions(), no_predictions()
    )
    store.close()
    store = RunStore(tmp_path / "store.db", "log", "{}")
    again = StreamWorker(FakeSource({**streams, 1: start + rest}, [(1, 4)]), store, options)
    again.run(lambda _: no_predictions(), no_predictions())
    assert again.outcomes == {Outcome.COUNTED: 7, Outcome.LATE: 2}
    store.close()


def test_the_source_is_paused_about_a_pane_ahead_of_the_slowest_partition(tmp_path: Path) -> None:
    case = Case({0: _walk([0, 400]), 1: _walk([50, 60])}, Rules(pane_ms=100, window_ms=200))
    store = RunStore(tmp_path / "store.db", "log", "{}")
    source = FakeSource(case.streams, [(0, 2), (1, 1), (1, 1)])
    StreamWorker(source, store, case.options).run(lambda _: no_predictions(), no_predictions())
    store.close()
    assert source.paused_ahead_of_ms[0] is None  # nothing is known of partition 1
    assert source.paused_ahead_of_ms[1] == 50 + 100
    assert source.paused_ahead_of_ms[-1] is None  # all have ended


def test_a_source_of_nothing_but_malformed_records_ends_without_a_pane(new_run: Callable[[Case], Run]) -> None:
    run = new_run(_one(*[FakeEvent("u", "art", 0, Outcome.MALFORMED)] * 3))
    assert run.session()
    assert run.panes == []
    assert run.worker.outcomes == {Outcome.MALFORMED: 3}
