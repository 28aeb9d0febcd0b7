"""What the worker makes of first and last panes, of late and bad records, and of partitions that idle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream import shard as shard_module
from stream.closing import PaneClosing
from stream.events import Outcome
from stream.predictions import Predictions, no_predictions
from stream.schema import sequence_segments
from stream.shard import ShardOptions
from stream.store import RunStore
from stream.worker import StreamWorker
from tests.fakes import FakeEvent, FakeSource
from tests.reference import Rules
from tests.stream.worker_runs import LATENESS_MS, NAMES, Case, Run, Stop, after, case_of, walk
from tidegate.errors import EmptySourceError


def test_the_first_pane_is_that_of_the_first_event_however_the_batches_are_cut(
    new_run: Callable[[Case], Run],
) -> None:
    """One event just after midnight puts the watermark on the day before; that day is no part of the run."""
    case = case_of(*walk([105, 110, 250]))
    for size in (1, 2, 3):
        run = new_run(case)
        run.session([(0, size)])
        assert run.panes == [1, 2]
        run.assert_complete()


def test_a_stray_old_record_does_not_begin_the_run(new_run: Callable[[Case], Run]) -> None:
    case = case_of(*walk([1_000_005, 1_000_050, 0, 1_000_060]))
    for schedule in ([(0, 1), (0, 1), (0, 1)], [(0, 4)]):
        run = new_run(case)
        run.session(schedule)
        assert run.worker.outcomes == {Outcome.COUNTED: 3, Outcome.LATE: 1}
        run.assert_complete()


def test_panes_without_events_are_closed_too_and_only_the_last_is_the_last(
    new_run: Callable[[Case], Run],
) -> None:
    run = new_run(case_of(*walk([0, 1, 2, 950])))
    closed: list[PaneClosing] = []
    run.session(before_record=closed.append)
    assert closed == [PaneClosing(pane, 0, is_last=pane == 9) for pane in range(10)]
    assert run.worker.first_pane == 0
    assert run.worker.unanswered_pane == closed[-1]


def test_an_ended_run_closes_nothing_twice(new_run: Callable[[Case], Run]) -> None:
    run = new_run(case_of(*walk([0, 50, 130])))
    assert run.session()
    assert run.session()
    run.assert_complete()


def test_a_crash_between_close_and_record_leaves_an_unanswered_pane(new_run: Callable[[Case], Run]) -> None:
    run = new_run(case_of(*walk([0, 50, 130, 250])))

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
    run = new_run(case_of(*walk([0, 10, 20])))
    assert not run.session([(0, 1)], should_stop=lambda: True)
    assert run.worker.unanswered_pane is None
    assert run.worker.first_pane is None
    assert run.session()
    run.assert_complete()


def test_a_source_without_any_record_is_an_error(new_run: Callable[[Case], Run]) -> None:
    with pytest.raises(EmptySourceError, match=r"fake: no record at all\. Check --source"):
        new_run(case_of()).session()


def test_records_that_are_set_aside_are_counted_by_outcome_and_the_first_issues_kept(
    new_run: Callable[[Case], Run],
) -> None:
    broken = [FakeEvent("u", "art", 0, Outcome.MALFORMED) for _ in range(30)]
    negative = [FakeEvent("u", "cats", 350, Outcome.NEGATIVE)]
    run = new_run(case_of(*broken[:15], *walk([100, 110]), *broken[15:], *negative))
    for _ in range(2):
        run.session([(0, 9)] * 2, should_stop=after(1))
    assert run.session()
    assert run.worker.outcomes == {Outcome.COUNTED: 2, Outcome.NEGATIVE: 1, Outcome.MALFORMED: 30}
    assert len(run.worker.issues) == shard_module.MAX_ISSUES
    places = [f"fake[0]@{i}" for i in (*range(15), *range(17, 22))]
    assert [issue.place for issue in run.worker.issues] == places
    assert run.panes == [1, 2, 3]  # a negative event is an event: its pane belongs to the run


def test_clusters_of_late_and_negative_events_get_no_id(new_run: Callable[[Case], Run]) -> None:
    run = new_run(
        case_of(FakeEvent("u", "cats", 100), FakeEvent("u", "eel", 10), FakeEvent("u", "dance", 120, Outcome.NEGATIVE))
    )
    run.session()
    assert run.worker.catalogue.names == ["cats"]


def test_events_that_wait_for_the_watermark_survive_a_restart(new_run: Callable[[Case], Run]) -> None:
    """Partition 1 holds partition 0 back: all of its events are read, none is counted, when the worker stops."""
    streams = {0: walk(range(0, 500, 20), "even"), 1: walk(range(5, 500, 30), "odd")}
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
    run = new_run(case_of(*events))
    sizes = []
    for _ in range(5):
        run.session([(0, 4)] * 4, should_stop=after(3))
        store = RunStore(run.path, "log", "{}")
        sizes.append(store.n_rows(sequence_segments))
        store.close()
    run.session()
    assert max(sizes) <= 3
    run.assert_complete()


def test_a_restart_after_commits_that_changed_no_user_is_harmless(new_run: Callable[[Case], Run]) -> None:
    run = new_run(case_of(*walk([0, 10, 20, 900, 910, 920])))  # the panes between commit empty segments
    run.session([(0, 4)], should_stop=lambda: True)
    run.session()
    run.assert_complete()


def test_known_clusters_keep_the_ids_that_they_were_given(new_run: Callable[[Case], Run]) -> None:
    run = new_run(case_of(*walk([0, 10, 20])))
    for _ in range(2):
        store = RunStore(run.path, "log", "{}")
        known = ["zoo", "cats", "art", "bikes"]
        worker = StreamWorker(FakeSource(run.case.streams), store, run.case.options, known_clusters=known)
        worker.run(lambda _: no_predictions(), no_predictions())
        assert store.cluster_names() == worker.catalogue.names == known
        store.close()


def test_an_idle_partition_does_not_hold_the_others_back(tmp_path: Path) -> None:
    case = Case({0: walk(range(0, 500, 20), "even"), 1: []}, Rules(pane_ms=100, window_ms=200))
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
    start, rest = walk([0, 10], "odd"), walk([100, 569, 570, 590], "odd")
    options = ShardOptions(case_of().options.sequences, LATENESS_MS, follows=True)
    streams = {0: walk([0, 300, 600], "even"), 1: start}
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
    case = Case({0: walk([0, 400]), 1: walk([50, 60])}, Rules(pane_ms=100, window_ms=200))
    store = RunStore(tmp_path / "store.db", "log", "{}")
    source = FakeSource(case.streams, [(0, 2), (1, 1), (1, 1)])
    StreamWorker(source, store, case.options).run(lambda _: no_predictions(), no_predictions())
    store.close()
    assert source.paused_ahead_of_ms[0] is None  # nothing is known of partition 1
    assert source.paused_ahead_of_ms[1] == 50 + 100
    assert source.paused_ahead_of_ms[-1] is None  # all have ended


def test_a_source_of_nothing_but_malformed_records_ends_without_a_pane(new_run: Callable[[Case], Run]) -> None:
    run = new_run(case_of(*[FakeEvent("u", "art", 0, Outcome.MALFORMED)] * 3))
    assert run.session()
    assert run.panes == []
    assert run.worker.outcomes == {Outcome.MALFORMED: 3}
