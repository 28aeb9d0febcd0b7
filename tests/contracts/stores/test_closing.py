"""When a pane is closed, by whom, and what is in it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stream.checkpoint import Checkpoint, Marks, Progress
from stream.closing import PaneCloser, PaneClosing
from stream.reorder import END_OF_TIME_MS
from stream.run_reader import RunState
from stream.schema import pane_counts, pane_parts
from stream.shared_codes import SharedCodes
from tests.contracts.stores.world import Store, are_same, transitions


def _mark(store: Store, number: int, marks: Marks, **parts: Any) -> None:
    store.shard(number).commit(Checkpoint(Progress(counted_ms=marks.counted_ms), marks=marks, **parts))


def test_a_pane_waits_for_shards_that_are_missing_and_for_those_that_have_not_counted_it(store: Store) -> None:
    assert store.closer().close_next() is None  # there is no such run yet
    store.join(2)
    _mark(store, 0, Marks(310, 460, 450, 450))
    assert store.closer().close_next() is None
    assert store.reader.state() == RunState(2, None, None, None, False)
    _mark(store, 1, Marks(320, 405, 395, 395))
    assert store.closer().close_next() is None
    assert store.reader.state() == RunState(2, 395, 3, None, False)
    _mark(store, 1, Marks(320, 410, 400, 399))  # it waits at its gate
    assert store.closer().close_next() is None
    _mark(store, 1, Marks(320, 410, 400, 400))
    assert store.closer().close_next() == PaneClosing(3, 3, is_last=False)
    assert store.closer().close_next() is None
    assert store.reader.state() == RunState(2, 400, 3, 3, False)


def test_shards_that_idle_are_not_waited_for_but_must_have_gone_along(store: Store) -> None:
    store.join(2)
    _mark(store, 0, Marks(310, 460, 450, 450))
    _mark(store, 1, Marks(is_idle=True))
    assert store.closer().close_next() is None
    assert store.reader.state() == RunState(2, 450, None, None, False)  # an earlier event could come in time
    _mark(store, 1, Marks(watermark_ms=450, counted_ms=450, is_idle=True))
    assert store.closer().close_next() == PaneClosing(3, 3, is_last=False)


def test_the_stream_does_not_go_back_and_its_first_pane_stays(store: Store) -> None:
    store.join(1)
    _mark(store, 0, Marks(310, 460, 450, 350))
    store.closer().close_next()
    _mark(store, 0, Marks(10, 460, 300, 300))
    store.closer().close_next()
    assert store.reader.state() == RunState(1, 450, 3, None, False)


def test_an_evaluator_that_looked_too_early_does_not_take_the_first_pane_back(store: Store) -> None:
    store.join(1)
    _mark(store, 0, Marks(310, 460, 450, 350))
    late = store.closer()
    seen = late._reader.state()
    store.closer().close_next()
    late._advance_stream(seen, {0: Marks(310, 460, 450, 350), 1: Marks(is_idle=True)})
    assert store.reader.state().first_pane == 3


def test_a_run_ends_with_the_pane_of_its_last_event_once_all_shards_are_finished(store: Store) -> None:
    store.join(2)
    _mark(store, 0, Marks(110, 150, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    _mark(store, 1, Marks(None, None, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    _mark(store, 0, Marks(110, 250, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    closer = store.closer()
    assert closer.close_next() == PaneClosing(1, 1, is_last=False)
    assert closer.close_next() == PaneClosing(2, 1, is_last=True)
    assert store.reader.state() == RunState(2, END_OF_TIME_MS, 1, 2, True)
    assert closer.close_next() is None


def test_one_of_two_evaluators_closes_a_pane(store: Store) -> None:
    store.join(1)
    _mark(store, 0, Marks(110, 1_000, 990, 990), counts={1: transitions(0, 1, 2, 5)})
    closers, start = [store.closer(store.open()) for _ in range(2)], threading.Barrier(2)

    def close(closer: PaneCloser) -> list[PaneClosing]:
        start.wait()
        return [closed for _ in range(12) if (closed := closer.close_next()) is not None]

    with ThreadPoolExecutor(2) as pool:
        closed = [each for of_one in pool.map(close, closers) for each in of_one]
    assert sorted(each.pane for each in closed) == list(range(1, 9))
    assert store.reader.counts(0, 20).total == 5


def test_an_evaluator_that_was_overtaken_between_its_look_and_its_write_closes_nothing(store: Store) -> None:
    store.join(1)
    _mark(store, 0, Marks(110, 1_000, 990, 250))
    slow, fast = store.closer(), store.closer()
    advance = slow._advance_stream

    def overtaken(*args: Any) -> int | None:
        assert fast.close_next() is not None
        return advance(*args)

    slow._advance_stream = overtaken  # type: ignore[method-assign]
    assert slow.close_next() is None
    assert store.reader.state().closed_pane == 1


def test_a_run_without_an_event_ends_without_a_pane(store: Store) -> None:
    store.join(2)
    closer = store.closer()
    _mark(store, 0, Marks(None, None, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    _mark(store, 1, Marks())
    assert closer.close_next() is None
    assert not store.reader.state().has_ended
    _mark(store, 1, Marks(None, None, END_OF_TIME_MS, END_OF_TIME_MS, is_finished=True))
    assert closer.close_next() is None
    state = store.reader.state()
    assert (state.has_ended, state.first_pane, state.closed_pane) == (True, None, None)
    assert closer.close_next() is None


def test_closed_panes_speak_in_ids_by_first_event_time_and_then_name(store: Store) -> None:
    store.join(2)
    SharedCodes(store.database, store.run_id).of_names(["later", "b", "a", "never", "first"])
    marks = Marks(10, 300, 250, 200)
    _mark(store, 0, marks, first_seen={0: 150, 1: 20, 2: 60}, counts={0: transitions(1, 2, 4, 3)})
    _mark(store, 1, marks, first_seen={2: 20, 4: 10}, counts={0: transitions(1, 2, 4, 2), 1: transitions(4, 0, 2, 1)})
    closer = store.closer()
    assert closer.close_next() == PaneClosing(0, 0, is_last=False)
    assert store.reader.cluster_names() == ["first", "a", "b"]
    assert are_same(store.reader.counts(0, 0), transitions(2, 1, 0, 5))
    assert closer.close_next() == PaneClosing(1, 0, is_last=False)
    assert store.reader.cluster_names() == ["first", "a", "b", "later"]
    assert are_same(store.reader.counts(1, 1), transitions(0, 3, 1, 1))
    assert store.reader.n_rows(pane_parts) == 0
    assert store.reader.n_rows(pane_counts) == 2
