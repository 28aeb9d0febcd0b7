"""Watermarks, lateness and the reorder buffer: what is released does not depend on how partitions interleave."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.reorder import BEGINNING_OF_TIME_MS, END_OF_TIME_MS, ReorderBuffer, Watermarks, late_events
from tests.reference import in_time

LATENESS_MS = 10
times = st.lists(st.integers(0, 60), max_size=30)


def _array(values: list[int]) -> np.ndarray:
    return np.array(values, np.int64)


def _fill(buffer: ReorderBuffer, times_ms: list[int], first_user: int = 0) -> None:
    users = np.arange(first_user, first_user + len(times_ms), dtype=np.uint64)
    buffer.add(users, users.astype(np.int32), _array(times_ms))


@given(times_ms=times, cuts=st.lists(st.integers(0, 30), max_size=5))
def test_lateness_does_not_depend_on_how_a_partition_is_cut(times_ms: list[int], cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(times_ms)) for cut in cuts), len(times_ms)]
    is_late: list[bool] = []
    latest_ms = BEGINNING_OF_TIME_MS
    for first, end in pairwise(bounds):
        part = times_ms[first:end]
        is_late += late_events(_array(part), latest_ms, LATENESS_MS).tolist()
        latest_ms = max([latest_ms, *part])
    assert is_late == [not kept for kept in in_time(times_ms, LATENESS_MS)]


def test_an_event_exactly_as_late_as_allowed_is_in_time() -> None:
    assert late_events(_array([100, 90, 89]), BEGINNING_OF_TIME_MS, 10).tolist() == [False, False, True]


@given(times_ms=times, data=st.data())
def test_the_buffer_releases_in_event_time_order_and_ties_in_arrival_order(
    times_ms: list[int], data: st.DataObject
) -> None:
    buffer, released, n = ReorderBuffer(), [], 0
    bound = 0
    while n < len(times_ms):
        take = data.draw(st.integers(1, len(times_ms) - n))
        part = [max(time_ms, bound) for time_ms in times_ms[n : n + take]]  # nothing behind the watermark comes in
        times_ms[n : n + take] = part
        _fill(buffer, part, n)
        n += take
        bound = data.draw(st.integers(bound, 70))
        released += buffer.release(bound)[0].tolist()
        assert (buffer.times_ms >= bound).all()
    assert len(buffer) == len(times_ms) - len(released)
    released += buffer.release(END_OF_TIME_MS)[0].tolist()
    assert released == sorted(range(len(times_ms)), key=lambda at: times_ms[at])
    assert len(buffer) == 0


def test_an_event_at_the_bound_waits() -> None:
    buffer = ReorderBuffer()
    _fill(buffer, [20, 19, 21])
    assert buffer.release(20)[2].tolist() == [19]
    assert buffer.release(21)[2].tolist() == [20]


def test_an_empty_buffer_releases_nothing_of_the_right_types() -> None:
    users, clusters, times_ms = ReorderBuffer().release(END_OF_TIME_MS)
    assert [str(column.dtype) for column in (users, clusters, times_ms)] == ["uint64", "int32", "int64"]
    assert users.shape == clusters.shape == times_ms.shape == (0,)


def test_the_slowest_partition_sets_the_watermark_and_it_never_goes_back() -> None:
    marks = Watermarks([0, 1, 2], LATENESS_MS)
    assert marks.stream_ms == BEGINNING_OF_TIME_MS
    marks.advance(0, 100)
    marks.advance(1, 50)
    assert marks.stream_ms == BEGINNING_OF_TIME_MS  # nothing is known of partition 2
    marks.advance(2, 70)
    assert marks.stream_ms == 40
    marks.advance(1, 30)
    marks.advance(1, None)
    assert marks.stream_ms == 40
    assert marks.latest_ms == {0: 100, 1: 50, 2: 70}


def test_a_finished_partition_holds_nobody_back_and_the_last_one_ends_time() -> None:
    marks = Watermarks([0, 1], LATENESS_MS)
    marks.finish(1)
    marks.advance(0, 100)
    assert marks.stream_ms == 90
    marks.finish(0)
    assert marks.stream_ms == END_OF_TIME_MS


def test_an_idle_partition_holds_nobody_back_until_it_speaks_again() -> None:
    marks = Watermarks([0, 1], LATENESS_MS)
    marks.advance(0, 100)
    marks.idle(1)
    assert marks.stream_ms == 90
    marks.advance(1, 20)
    marks.advance(0, 200)
    assert marks.stream_ms == 90  # it is behind now, and waited for again
    marks.advance(1, 150)
    assert marks.stream_ms == 140


def test_where_everyone_idles_time_stands_at_the_furthest_seen() -> None:
    marks = Watermarks([0, 1], LATENESS_MS)
    marks.idle(0)
    marks.idle(1)
    assert marks.stream_ms <= BEGINNING_OF_TIME_MS
    marks.advance(0, 100)
    marks.advance(1, 60)
    marks.idle(0)
    marks.idle(1)
    assert marks.stream_ms == 90


def test_idle_is_not_finished() -> None:
    marks = Watermarks([0, 1], LATENESS_MS)
    marks.advance(0, 100)
    marks.finish(0)
    marks.idle(1)
    assert marks.stream_ms == 90


def test_a_restored_watermark_goes_on_where_it_stood() -> None:
    marks = Watermarks([0, 1], LATENESS_MS)
    marks.restore({0: 100}, 77)
    assert marks.stream_ms == 77
    marks.advance(1, 95)
    assert (marks.stream_ms, marks.latest_ms) == (85, {0: 100, 1: 95})


def test_only_where_everyone_idles_others_are_followed_and_never_back() -> None:
    marks = Watermarks([0, 1], LATENESS_MS)
    marks.advance(0, 100)
    marks.idle(0)
    assert not marks.all_idle
    marks.follow(500)
    assert marks.stream_ms == BEGINNING_OF_TIME_MS
    marks.idle(1)
    assert marks.all_idle
    marks.follow(500)
    marks.follow(300)
    assert marks.stream_ms == 500
    marks.advance(1, 400)
    marks.follow(900)
    assert (marks.all_idle, marks.stream_ms) == (False, 500)


def test_partitions_that_have_ended_do_not_idle() -> None:
    marks = Watermarks([0, 1], LATENESS_MS)
    marks.finish(0)
    marks.idle(1)
    assert (marks.all_idle, marks.all_finished) == (True, False)
    marks.finish(1)
    assert (marks.all_idle, marks.all_finished) == (False, True)


def test_fresh_events_are_those_that_wait_since_the_last_look_and_they_stay() -> None:
    buffer = ReorderBuffer()
    _fill(buffer, [30, 10, 20])
    buffer.release(11)
    assert buffer.take_fresh()[2].tolist() == [20, 30]
    assert buffer.take_fresh()[2].tolist() == []
    _fill(buffer, [25, 5], first_user=3)
    assert buffer.take_fresh()[0].tolist() == [4, 3]
    assert buffer.passed(21)[2].tolist() == buffer.release(21)[2].tolist() == [5, 20]
    assert buffer.release(END_OF_TIME_MS)[2].tolist() == [25, 30]
