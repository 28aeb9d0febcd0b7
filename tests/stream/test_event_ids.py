"""Event ids against a set that never forgets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.event_ids import SeenEvents

SPAN_MS = 20
events = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=6)


def _admit(seen: SeenEvents, events: list[tuple[int, int]]) -> list[bool]:
    ids = np.array([event_id for event_id, _ in events], np.uint64)
    return seen.admit(ids, np.array([time_ms for _, time_ms in events], np.int64)).tolist()


@settings(deadline=None)  # the first call loads a kernel
@given(events=events, cuts=cuts)
def test_an_id_is_new_once_however_the_events_are_cut(events: list[tuple[int, int]], cuts: list[int]) -> None:
    seen, known, expected = SeenEvents(10**6), set[int](), []
    for event_id, _ in events:
        expected.append(event_id != 0 and event_id in known)
        known.add(event_id)
    bounds = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    assert [flag for first, end in pairwise(bounds) for flag in _admit(seen, events[first:end])] == expected
    assert len(seen) == len(known - {0})


@settings(deadline=None)
@given(steps=events, cuts=cuts, restarts=st.booleans())
def test_ids_within_the_span_are_never_forgotten_and_those_twice_behind_are(
    steps: list[tuple[int, int]], cuts: list[int], restarts: bool
) -> None:
    now, events = 0, []
    for event_id, step in steps:
        now += step
        events.append((event_id, now))
    seen, stored = SeenEvents(SPAN_MS), []
    last_ms: dict[int, int] = {}
    bounds = [0, *sorted(min(cut, len(events)) for cut in cuts), len(events)]
    for first, end in pairwise(bounds):
        for (event_id, time_ms), is_duplicate in zip(events[first:end], _admit(seen, events[first:end]), strict=True):
            if event_id and not is_duplicate:
                assert event_id not in last_ms or time_ms - last_ms[event_id] > SPAN_MS
                last_ms[event_id] = time_ms
        stored.append(seen.take_new())
        assert seen.take_new().ids.size == 0
        if restarts:
            forget_ms = seen.forget_before_ms
            seen = SeenEvents(SPAN_MS)
            stored = [ids for ids in stored if ids.times_ms.size and ids.times_ms.max() >= forget_ms]
            for ids in stored:
                seen.restore(ids.ids, ids.times_ms)
            assert seen.take_new().ids.size == 0


def test_old_ids_are_dropped_from_memory_and_may_come_again() -> None:
    seen = SeenEvents(SPAN_MS)
    assert _admit(seen, [(1, 0), (2, 30)]) == [False, False]
    assert seen.take_new().ids.tolist() == [1, 2]
    assert _admit(seen, [(3, 41), (1, 41)]) == [False, True]
    assert seen.take_new().ids.tolist() == [3]
    assert len(seen) == 2  # 2 and 3: a generation goes at once
    assert _admit(seen, [(1, 42), (2, 42)]) == [False, True]
