"""Parts of panes: few, summed up, and dropped when their time has come."""

from __future__ import annotations

import numpy as np
import pytest

from stream.checkpoint import Checkpoint, Marks, Progress
from stream.closing import PaneClosing, expire_panes
from stream.ledger import DECISIONS, RECORDS, REPORTS, RESULTS
from stream.pane_merge import merge_parts, parts_of
from stream.schema import event_id_segments, pane_counts, pane_parts, shards, waiting_segments
from tests.contracts.stores.world import (
    PANE_MS,
    Store,
    answers_getting_lost,
    are_same,
    counts_of,
    ids_of,
    transitions,
    waiting,
)
from tidegate.errors import StoreUnavailableError


def test_parts_of_an_open_pane_stay_few_and_sum_up_whoever_owns_the_shard(store: Store) -> None:
    store.join(1)
    shard = store.shard()
    for number in range(1, 201):
        if number % 30 == 0:
            shard = store.shard()
        counts = {0: counts_of((number % 5, 1)), 1: counts_of((7, number))}
        shard.commit(Checkpoint(Progress(), counts=counts))
    assert store.reader.n_rows(pane_parts) <= 2 * 7 * 3
    closing = Checkpoint(Progress(closed_pane=0), marks=Marks(0, 200, 200, 100), counts={0: counts_of((9, 1))})
    n_parts = store.reader.n_rows(pane_parts)
    shard.commit(closing)
    assert store.reader.n_rows(pane_parts) == n_parts + 1  # what is being closed is the evaluator's
    assert store.closer().close_next() == PaneClosing(0, 0, is_last=False)
    assert are_same(store.reader.counts(0, 0), counts_of(*((key, 40) for key in range(5)), (9, 1)))
    shard.commit(Checkpoint(Progress(closed_pane=1), marks=Marks(0, 300, 300, 200)))
    assert store.closer().close_next() == PaneClosing(1, 0, is_last=False)
    assert are_same(store.reader.counts(1, 1), counts_of((7, sum(range(1, 201)))))


def test_a_merge_of_parts_whose_answer_got_lost_happened_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.join(1)
    shard = store.shard()
    for number in range(1, 100):
        checkpoint = Checkpoint(Progress(), counts={1: counts_of((7, number))})
        with answers_getting_lost(store, monkeypatch), pytest.raises(StoreUnavailableError):
            shard.commit(checkpoint)
        shard.commit(checkpoint)
    with store.database.reading() as connection:
        assert are_same(parts_of(connection, store.run_id, 1), counts_of((7, sum(range(100)))))


def test_merging_a_pane_again_changes_nothing_and_adds_what_came_meanwhile(store: Store) -> None:
    store.join(1)
    shard = store.shard()
    shard.commit(Checkpoint(Progress(), counts={2: counts_of((5, 1), (7, 2))}))
    for _ in range(2):
        with store.database.writing() as connection:
            merge_parts(connection, store.run_id, 2)
        assert are_same(store.reader.counts(2, 2), counts_of((5, 1), (7, 2)))
    shard.commit(Checkpoint(Progress(), counts={2: counts_of((7, 1))}))
    with store.database.writing() as connection:
        merge_parts(connection, store.run_id, 2)
    assert are_same(store.reader.counts(2, 2), counts_of((5, 1), (7, 3)))


def test_panes_expire_but_for_those_that_are_kept_and_rows_stay_few(store: Store) -> None:
    store.join(1)
    shard, ledger, closer = store.shard(), store.ledger, store.closer()
    tables = (pane_counts, pane_parts, shards, *(REPORTS, DECISIONS, RESULTS, RECORDS))
    most = 0
    for pane in range(40):
        end_ms = (pane + 1) * PANE_MS
        shard.commit(
            Checkpoint(
                Progress(counted_ms=end_ms),
                marks=Marks(0, end_ms, end_ms, end_ms),
                counts={pane: transitions(0, 1, 2, 1)},
                stats={pane: np.ones(7, np.int64)},
                waiting=waiting(end_ms - 1),
                event_ids=ids_of(end_ms),
                forget_ids_before_ms=end_ms - 2 * PANE_MS,
            )
        )
        assert closer.close_next() == PaneClosing(pane, 0, is_last=False)
        for table in (REPORTS, DECISIONS, RESULTS, RECORDS):
            assert ledger.put(table, pane, b"body")
        expire_panes(store.database, store.run_id, pane - 4, frozenset({0, 1, 7}))
        most = max(most, *(ledger.n_rows(table) for table in (*tables, waiting_segments, event_id_segments)))
    assert most <= 8
    assert list(ledger.reports()) == [0, 1, 7, 35, 36, 37, 38, 39]
    assert list(ledger.stats()) == list(ledger.records()) == list(ledger.reports())
    assert ledger.counts(0, 40).total == 8
    assert expire_panes(store.database, store.run_id, 38) == 6
    assert expire_panes(store.database, store.run_id, 38) == 0
