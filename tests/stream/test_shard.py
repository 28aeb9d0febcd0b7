"""A shard: what a shut gate holds back, what a failed commit leaves, and duplicates by event id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream import shard as shard_module
from stream.database import Database
from stream.events import EventBatch, Outcome
from stream.predictions import Predictions, no_predictions
from stream.schema import sequence_segments
from stream.sequences import SequenceOptions
from stream.shard import Gate, Shard, ShardOptions
from stream.shard_store import ShardStore, join_run
from stream.shared_codes import ShardCodes, SharedCodes
from tidegate.errors import StoreUnavailableError

OPTIONS = ShardOptions(SequenceOptions(pane_ms=100, window_ms=200, n_buckets=4), lateness_ms=30, duplicates_ms=1_000)
NAMES = ["a", "b", "c", "d", "e"]
EVENTS = [(n % 3, (n * n + n // 4) % 5, 20 * n - 25 * (n % 4 == 3)) for n in range(40)]


def _batch(events: list[tuple[int, int, int]], first: int, ids: list[int] | None = None) -> EventBatch:
    times_ms = np.array([time_ms for _, _, time_ms in events], np.int64)
    return EventBatch(
        partition=0,
        next_offset=first + len(events),
        n_records=len(events),
        users=np.array([user + 1 for user, _, _ in events], np.uint64),
        clusters=np.array([cluster for _, cluster, _ in events], np.int32),
        times_ms=times_ms,
        latest_ms=int(times_ms.max()) if events else None,
        event_ids=None if ids is None else np.array(ids, np.uint64),
    )


def _open(_: int) -> Predictions | None:
    return no_predictions()


def _shut(_: int) -> Predictions | None:
    return None


class Runs:
    """Shards of runs of their own over one database."""

    def __init__(self, database: Database) -> None:
        self.database, self.n = database, 0

    def new(self) -> str:
        self.n += 1
        join_run(self.database, f"run {self.n}", "topic", "{}", 1)
        return f"run {self.n}"

    def shard(self, run_id: str) -> Shard:
        codes = ShardCodes(SharedCodes(self.database, run_id))
        return Shard(ShardStore(self.database, run_id, 0), [0], OPTIONS, codes, "topic")


def _count(shard: Shard, gate: Gate = _open) -> None:
    while shard.count_passed(gate) is not None:
        shard.commit()


def _end(shard: Shard) -> dict[str, Any]:
    shard.marks.finish(0)
    _count(shard)
    shard.commit()
    assert shard.has_ended
    store = shard._store
    return {
        "stats": {pane: row.tolist() for pane, row in store.stats().items()},
        "outcomes": store.progress().outcomes,
        "names": set(store.cluster_codes()),
        "offsets": store.offsets(),
    }


@pytest.fixture(scope="module")
def runs_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    database = Database(tmp_path_factory.mktemp("shards") / "runs.db")
    yield Runs(database)
    database.close()


@given(shut_for=st.lists(st.booleans(), max_size=12), size=st.integers(1, 9), restarts=st.booleans())
@settings(max_examples=20, deadline=None)
def test_what_a_shut_gate_holds_back_is_counted_as_ever_once_it_opens(
    runs_of: Runs, shut_for: list[bool], size: int, restarts: bool
) -> None:
    undisturbed = runs_of.shard(runs_of.new())
    undisturbed.admit(_batch(EVENTS, 0), NAMES)
    expected = _end(undisturbed)
    run_id = runs_of.new()
    shard = runs_of.shard(run_id)
    for number, first in enumerate(range(0, len(EVENTS), size)):
        shard.admit(_batch(EVENTS[first : first + size], first), NAMES)
        _count(shard, _shut if number < len(shut_for) and shut_for[number] else _open)
        if restarts and number % 2:
            shard.commit()
            shard = runs_of.shard(run_id)
    assert _end(shard) == expected


def test_a_shut_gate_holds_all_events_of_its_pane(runs_of: Runs) -> None:
    shard = runs_of.shard(runs_of.new())
    shard.admit(_batch(EVENTS, 0), NAMES)
    asked: list[int] = []

    def shut_at_2(pane: int) -> Predictions | None:
        asked.append(pane)
        return None if pane >= 2 else no_predictions()

    _count(shard, shut_at_2)
    assert asked == [0, 1, 2]
    assert (shard.closed_pane, shard.counted_ms) == (1, 200)
    n_waiting = shard.n_waiting
    assert shard.count_passed(shut_at_2) is None
    assert shard.n_waiting == n_waiting > 0


@pytest.mark.parametrize("size", [1, 7, 41])
def test_a_late_record_does_not_begin_the_run_in_any_batches(runs_of: Runs, size: int) -> None:
    shard = runs_of.shard(runs_of.new())
    log = [*EVENTS[:20], (2, 1, -(10**9)), *EVENTS[20:]]
    for first in range(0, 41, size):
        shard.admit(_batch(log[first : first + size], first), NAMES)
    _end(shard)
    assert shard.outcomes[Outcome.LATE] == 1
    assert shard.earliest_ms == min(time_ms for _, _, time_ms in EVENTS)


def test_a_store_that_refuses_new_codes_loses_no_event(runs_of: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailableError("the database refused", "Wait", place="store")

    results = []
    for is_refused in (False, True):
        shard = runs_of.shard(runs_of.new())
        shard.admit(_batch(EVENTS, 0), NAMES)
        if is_refused:
            monkeypatch.setattr(SharedCodes, "of_names", refuse)
            with pytest.raises(StoreUnavailableError):
                shard.count_passed(_open)
            monkeypatch.undo()
        results.append(_end(shard))
    assert results[0] == results[1]


@pytest.mark.parametrize("is_applied", [False, True], ids=["nothing of it happened", "its answer got lost"])
def test_a_commit_that_failed_is_repeated_as_it_was(
    runs_of: Runs, monkeypatch: pytest.MonkeyPatch, is_applied: bool
) -> None:
    expected = runs_of.shard(runs_of.new())
    expected.admit(_batch(EVENTS, 0), NAMES)
    run_id = runs_of.new()
    shard = runs_of.shard(run_id)
    shard.admit(_batch(EVENTS[:25], 0), NAMES)
    assert shard.count_passed(_open) == 0
    writing: Callable[..., Any] = runs_of.database.writing

    class Broken:
        def __enter__(self) -> Any:
            self.block = writing()
            return self.block.__enter__()

        def __exit__(self, *args: Any) -> None:
            error = StoreUnavailableError("the connection broke", "Wait", place="store")
            if is_applied:
                self.block.__exit__(*args)
            else:
                self.block.__exit__(type(error), error, None)
            raise error

    monkeypatch.setattr(runs_of.database, "writing", Broken)
    with pytest.raises(StoreUnavailableError):
        shard.commit()
    monkeypatch.undo()
    shard.commit()
    shard = runs_of.shard(run_id)
    shard.admit(_batch(EVENTS[25:], 25), NAMES)
    assert _end(shard) == _end(expected)


@given(
    repeats=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 12)), max_size=12),
    size=st.integers(1, 9),
    restarts=st.booleans(),
)
@settings(max_examples=20, deadline=None)
def test_duplicates_are_counted_once_in_any_batches(
    runs_of: Runs, repeats: list[tuple[int, int]], size: int, restarts: bool
) -> None:
    once = runs_of.shard(runs_of.new())
    once.admit(_batch(EVENTS, 0, list(range(1, 41))), NAMES)
    expected = _end(once)
    log = [(event, number + 1) for number, event in enumerate(EVENTS)]
    for number, distance in repeats:
        at = next(i for i, (_, event_id) in enumerate(log) if event_id == number + 1)
        log.insert(min(len(log), at + 1 + distance), (EVENTS[number], number + 1))
    run_id = runs_of.new()
    shard = runs_of.shard(run_id)
    for number, first in enumerate(range(0, len(log), size)):
        part = log[first : first + size]
        shard.admit(_batch([event for event, _ in part], first, [event_id for _, event_id in part]), NAMES)
        _count(shard)
        if restarts and number % 2:
            shard.commit()
            shard = runs_of.shard(run_id)
    found = _end(shard)
    assert found["outcomes"].get(Outcome.DUPLICATE, 0) == len(repeats)
    assert {k: n for k, n in found["outcomes"].items() if k != Outcome.DUPLICATE} == expected["outcomes"]
    assert (found["stats"], found["names"]) == (expected["stats"], expected["names"])


def test_events_without_ids_are_never_duplicates(runs_of: Runs) -> None:
    shard = runs_of.shard(runs_of.new())
    shard.admit(_batch(EVENTS[:2], 0, [0, 0]), NAMES)
    admission = shard.admit(replace(_batch(EVENTS[:2], 2), event_ids=None), NAMES)
    assert admission.is_duplicate.tolist() == [False, False]


@pytest.mark.parametrize(("n_users", "most"), [(1, 2), (100, 6)])
def test_state_is_written_anew_when_half_of_what_is_stored_is_garbage_or_in_too_many_pieces(
    runs_of: Runs, monkeypatch: pytest.MonkeyPatch, n_users: int, most: int
) -> None:
    monkeypatch.setattr(shard_module, "MAX_SEGMENTS", 2)
    monkeypatch.setattr(shard_module, "MOST_SEGMENTS", 6)
    run_id = runs_of.new()
    sizes = []
    for number in range(20):
        if number % 9 == 0:  # a new owner counts what is there
            shard = runs_of.shard(run_id)
        shard.admit(_batch([(number % n_users, number % 5, 100 * number)], number), NAMES)
        _count(shard)
        shard.commit()
        sizes.append(shard._store.n_rows(sequence_segments))
    assert max(sizes) == most
    assert runs_of.shard(run_id).sequences.n_users == min(n_users, 19)  # the last event waits
