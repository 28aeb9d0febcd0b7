"""The lookup: one answer whichever way it is asked, and one version at a time while versions move."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.lookup import Lookup
from refresh.served_table import LEVELS, Histories, LookupAnswer, ServedTable, find_rows_dense
from refresh.table_rows import rank_unseen_answers
from refresh.table_store import TableStore
from tests.tables import NAMES, publish, small_table
from tidegate.clock import ManualClock
from tidegate.errors import RequestError, TidegateError
from tidegate.jit import is_compiled

N = len(NAMES)
GRID = tuple(
    np.ascontiguousarray(c.reshape(-1), np.int32) for c in np.meshgrid(np.arange(-1, N + 1), np.arange(-1, N + 1))
)


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "tables")


def test_a_pair_is_answered_from_its_row_then_from_the_backoff_then_not_at_all() -> None:
    served = ServedTable(7, small_table())
    assert served.one(0, 1, 5) == LookupAnswer(7, (2, 3), (0.5, 0.25), "pair")
    assert served.one(0, 1) == LookupAnswer(7, (2,), (0.5,), "pair")
    assert served.one(4, 1, 5) == LookupAnswer(7, (2, 0), (0.5, 0.25), "backoff")
    assert served.one(2, 1, 5) == LookupAnswer(7, (0,), (0.25,), "backoff")  # rank 1 is c1 itself
    assert served.one(1, 0) == LookupAnswer(7, (), (), "none")


def test_excluded_clusters_are_passed_over_and_a_row_without_others_gives_way_to_the_backoff() -> None:
    served = ServedTable(1, small_table())
    assert served.one(0, 1, exclude={2}).clusters == (3,)
    assert served.one(3, 1, exclude={4}) == LookupAnswer(1, (2,), (0.5,), "backoff")
    assert served.one(3, 1, exclude={4, 2, 0}).level == "none"


def test_clusters_newer_than_the_table_are_no_error() -> None:
    served = ServedTable(1, small_table())
    assert served.one(9, 1) == LookupAnswer(1, (2,), (0.5,), "backoff")
    assert served.one(0, 9).level == served.one(0, -1).level == "none"


@given(
    st.dictionaries(st.tuples(st.integers(0, 1), st.integers(2, 4)), st.sampled_from([(), (1,), (0,)]), max_size=6),
    st.dictionaries(st.integers(0, 4), st.permutations(range(N)).map(lambda row: row[:3]), max_size=5),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_batches_dense_or_searched_equal_single_answers(pairs: dict, backoff: dict, n: int) -> None:
    pairs = {pair: [c for c in row if c not in pair] for pair, row in pairs.items()}
    backoff = {c2: [c for c in row if c != c2] for c2, row in backoff.items()}
    table = small_table(pairs, backoff)
    dense, searched = ServedTable(1, table), ServedTable(1, table, dense_cells=0)
    c1, c2 = GRID
    singles = [dense.one(a, b, n) for a, b in zip(c1.tolist(), c2.tolist(), strict=True)]
    assert singles == [searched.one(a, b, n) for a, b in zip(c1, c2, strict=True)]
    for served in (dense, searched):
        batch = served.many_ranked(c1, c2, n)
        found = [tuple(c for c in row if c >= 0) for row in batch.clusters.tolist()]
        assert found == [answer.clusters for answer in singles]
        assert [LEVELS[level] for level in batch.levels.tolist()] == [answer.level for answer in singles]
        weights = [tuple(p for p in row if p > 0) for row in batch.probabilities.tolist()]
        assert weights == [answer.probabilities for answer in singles]
        best = served.many(c1, c2)
        assert best.clusters.tolist() == batch.clusters[:, 0].tolist() == table.predict(c1, c2).tolist()
    assert is_compiled(find_rows_dense)


@given(
    st.lists(st.lists(st.integers(-1, N), max_size=4), min_size=GRID[0].size, max_size=GRID[0].size), st.integers(1, 4)
)
@settings(max_examples=40, deadline=None)
def test_batches_pass_over_histories_as_single_answers_do(histories: list[list[int]], n: int) -> None:
    served = ServedTable(1, small_table())
    batch = served.many_ranked(*GRID, n, Histories.of(histories))
    singles = [served.one(a, b, n, seen) for a, b, seen in zip(*(c.tolist() for c in GRID), histories, strict=True)]
    assert [tuple(c for c in row if c >= 0) for row in batch.clusters.tolist()] == [one.clusters for one in singles]
    assert [LEVELS[level] for level in batch.levels.tolist()] == [one.level for one in singles]
    assert is_compiled(rank_unseen_answers)


def test_a_history_for_each_pair_is_required() -> None:
    served, pair = ServedTable(1, small_table()), np.zeros(1, np.int32)
    with pytest.raises(RequestError, match="history: 2 histories for 1 pairs"):
        served.many_ranked(pair, pair, 1, Histories.of([[], []]))


def test_names_answer_names(store: TableStore) -> None:
    publish(store, small_table())
    lookup = Lookup(store)
    assert lookup.one_named("jazz", "rock", 5) == ("soul", "folk")
    assert lookup.one_named("jazz", "rock", 5, exclude=["soul"]) == ("folk",)
    with pytest.raises(RequestError, match=r"c2: 'polka' is no cluster of table version 1\. Name one of its 5"):
        lookup.one_named("jazz", "polka")


def test_before_the_first_version_nothing_is_answered(store: TableStore) -> None:
    clock = ManualClock()
    lookup = Lookup(store, clock=clock)
    assert lookup.one(0, 1) == LookupAnswer(0, (), (), "none")
    assert lookup.many(*GRID).clusters.tolist() == [-1] * GRID[0].size
    publish(store, small_table())
    clock.advance_ms(1_000)
    assert lookup.one(0, 1).clusters == (2,)


def test_the_pointer_is_looked_at_no_more_often_than_asked(store: TableStore) -> None:
    clock, swaps = ManualClock(), []
    publish(store, small_table())
    lookup = Lookup(store, check_every_ms=500, clock=clock, on_swap=swaps.append)
    publish(store, small_table({}), window_end_ms=2_000)
    clock.advance_ms(499)
    assert lookup.many(*GRID).version == lookup.version == 1
    clock.advance_ms(1)
    assert lookup.many(*GRID).version == 2
    store.rollback(why="x")
    assert lookup.poll()
    assert not lookup.poll()
    assert swaps == [1, 2, 1]


def test_a_snapshot_keeps_its_version_while_the_lookup_moves_on(store: TableStore) -> None:
    publish(store, small_table())
    lookup = Lookup(store)
    held = lookup.snapshot()
    publish(store, small_table({}), window_end_ms=2_000)
    store.retain(1)
    lookup.poll()
    assert (held.one(0, 1).version, held.one(0, 1).clusters) == (1, (2,))
    assert lookup.one(0, 1).version == 2


def test_a_corrupt_version_is_rejected_once_and_the_old_one_goes_on(
    store: TableStore, caplog: pytest.LogCaptureFixture
) -> None:
    rejected: list[TidegateError] = []
    publish(store, small_table())
    lookup = Lookup(store, on_rejected=rejected.append)
    publish(store, small_table({}), window_end_ms=2_000)
    path = store.root / "v00000002" / "pairs.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.ERROR):
        assert not lookup.poll()
        assert not lookup.poll()
    assert (lookup.version, lookup.n_rejected, len(rejected)) == (1, 1, 1)
    assert [record.message for record in caplog.records] == [f"table version 1 goes on serving: {lookup.rejected}"]
    store.rollback(1, why="version 2 is corrupt")
    lookup.poll()
    assert (lookup.version, lookup.rejected) == (1, None)
    (store.root / "CURRENT").write_text("nonsense")
    lookup.poll()
    assert (lookup.version, lookup.n_rejected) == (1, 2)


def test_an_error_that_may_pass_is_tried_again(store: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, small_table())
    lookup = Lookup(store)
    publish(store, small_table({}), window_end_ms=2_000)

    def no_descriptors(_: int, **__: object) -> object:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(store, "load", no_descriptors)
        assert not lookup.poll()
    assert "Too many open files" in str(lookup.rejected)
    assert lookup.poll()
    assert (lookup.version, lookup.rejected, lookup.n_rejected) == (2, None, 1)


def test_while_one_thread_swaps_the_others_go_on(store: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store, small_table())
    lookup = Lookup(store, check_every_ms=0)
    publish(store, small_table({}), window_end_ms=2_000)
    loading, go_on = threading.Event(), threading.Event()
    load = store.load

    def slow_load(version: int, **_: object) -> object:
        loading.set()
        go_on.wait(10)
        return load(version)

    monkeypatch.setattr(store, "load", slow_load)
    swapping = threading.Thread(target=lookup.poll)
    swapping.start()
    assert loading.wait(10)
    assert lookup.one(0, 1).version == 1
    go_on.set()
    swapping.join(10)
    assert lookup.one(0, 1).version == 2


def test_every_answer_is_of_one_version_while_versions_move(store: TableStore) -> None:
    """Version k answers (0, 1) with one cluster only, which its number tells."""
    publish(store, small_table({(0, 1): (2,)}, {}))
    lookup, mixed, done = Lookup(store, check_every_ms=0), [], threading.Event()

    def ask() -> None:
        while not done.is_set():
            answer, batch = lookup.one(0, 1), lookup.many(np.zeros(50, np.int32), np.ones(50, np.int32))
            expected = [2 + (answer.version + 1) % 2], {2 + (batch.version + 1) % 2}
            if (list(answer.clusters), set(batch.clusters.tolist())) != expected:
                mixed.append((answer, batch))

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for version in range(2, 12):
        assert publish(store, small_table({(0, 1): (2 + (version + 1) % 2,)}, {}), window_end_ms=version) == version
    done.set()
    for thread in asking:
        thread.join(10)
    assert not mixed
    assert lookup.one(0, 1).version == 11
