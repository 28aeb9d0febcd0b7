"""Event ids against a dictionary that never forgets, whatever the batches, restarts and forgetting between them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.checkpoint import EventIds
from stream.event_ids import SeenEvents, find_duplicates
from tidegate.jit import is_compiled

SPAN_MS, NEVER_MS = 20, -(10**9)
events = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), max_size=60)
cuts = st.lists(st.integers(0, 60), max_size=6)

Event = tuple[int, int]


def _recount(events: list[Event], latest_ms: int = NEVER_MS) -> list[bool]:
    """Duplicates as the rule says them, one after the other."""
    known: dict[int, int] = {}
    found = []
    for event_id, time_ms in events:
        latest_ms = max(latest_ms, time_ms)
        found.append(event_id != 0 and known.get(event_id, NEVER_MS) >= latest_ms - SPAN_MS)
        if event_id and not found[-1]:
            known[event_id] = time_ms
    return found


def _admit(seen: SeenEvents, events: list[Event], latest_ms: int) -> list[bool]:
    ids = np.array([event_id for event_id, _ in events], np.uint64)
    return seen.admit(ids, np.array([time_ms for _, time_ms in events], np.int64), latest_ms).tolist()


def _restored(stored: list[EventIds]) -> SeenEvents:
    seen = SeenEvents(SPAN_MS)
    for ids in stored:
        seen.restore(ids)
    assert seen.take_new(NEVER_MS).ids.size == 0
    return seen


@settings(deadline=None)  # the first call loads a kernel
@given(steps=events, backs=st.lists(st.integers(0, 12), max_size=60), cuts=cuts, restarts=st.booleans())
def test_duplicates_are_what_the_rule_says_whatever_the_batches_and_restarts(
    steps: list[Event], backs: list[int], cuts: list[int], restarts: bool
) -> None:
    now_ms, log = 0, []
    for number, (event_id, step_ms) in enumerate(steps):
        now_ms += step_ms
        log.append((event_id, now_ms - (backs[number] if number < len(backs) else 0)))
    seen, stored, found, latest_ms = SeenEvents(SPAN_MS), [], [], NEVER_MS
    bounds = [0, *sorted(min(cut, len(log)) for cut in cuts), len(log)]
    for first, end in pairwise(bounds):
        found += _admit(seen, log[first:end], latest_ms)
        latest_ms = max([latest_ms, *(time_ms for _, time_ms in log[first:end])])
        forget_ms = latest_ms - SPAN_MS
        stored.append(seen.take_new(forget_ms))
        assert seen.take_new(forget_ms).ids.size == 0
        # As the store does: a segment goes when all of it is older.
        stored = [ids for ids in stored if ids.times_ms.size and ids.times_ms.max() >= forget_ms]
        seen = _restored(stored) if restarts else seen
    assert found == _recount(log)
    assert is_compiled(find_duplicates)


def test_an_id_that_comes_again_beyond_the_span_is_new_and_is_known_again() -> None:
    seen = SeenEvents(SPAN_MS)
    log = [(1, 0), (1, 20), (1, 21), (1, 41), (1, 42)]
    assert _admit(seen, log, 0) == _recount(log) == [False, True, False, True, False]
    assert seen.take_new(NEVER_MS).times_ms.tolist() == [0, 21, 42]


def test_the_latest_time_counts_even_where_no_event_here_has_reached_it() -> None:
    seen = SeenEvents(SPAN_MS)
    assert _admit(seen, [(1, 0)], 0) == [False]
    assert _admit(seen, [(1, 0)], SPAN_MS) == [True]
    assert _admit(seen, [(1, 0)], SPAN_MS + 1) == [False]


def test_memory_lets_go_of_old_ids_once_they_are_the_greater_part() -> None:
    seen = SeenEvents(SPAN_MS)
    _admit(seen, [(1, 0), (2, 5), (3, 30)], 0)
    seen.take_new(0)
    assert len(seen) == 3
    seen.take_new(10)
    assert len(seen) == 1
    assert _admit(seen, [(3, 30), (1, 31)], 30) == [True, False]
