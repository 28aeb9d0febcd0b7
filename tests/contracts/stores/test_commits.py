"""What a commit and a fence mean on each database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from stream import shard_store
from stream.checkpoint import Checkpoint, Marks, Progress
from stream.reorder import END_OF_TIME_MS
from stream.run_reader import RunState
from stream.schema import event_id_segments, waiting_segments
from stream.sequences import UserSegment
from stream.shared_codes import SharedCodes
from tests.contracts.stores.world import (
    Store,
    answers_getting_lost,
    content_of,
    counts_of,
    first_ms_of,
    full_checkpoint,
    ids_of,
    waiting,
)
from tidegate.errors import FencedError, StoreUnavailableError


def test_a_commit_is_read_back_whole_by_the_next_owner(store: Store) -> None:
    checkpoint = full_checkpoint()
    store.shard().commit(checkpoint)
    content = content_of(store.shard())
    assert content == {
        "progress": checkpoint.progress,
        "marks": checkpoint.marks,
        "offsets": {0: (2**40, -5)},
        "codes": {"naïve": 0, "b": 1},
        "segments": [([2**64 - 1], [1])],
        "waiting": [(("a", "b"), [2**63, 2**63 + 1], [0, 1], [500, 600])],
        "ids": [([1, 2], [1, 900])],
        "stats": {5: list(range(7))},
        "parts": [(5, [2**62, 2**62 + 1], [2, 1])],
    }


def test_a_new_shard_has_nothing_and_tells_nothing(store: Store) -> None:
    shard = store.shard()
    assert shard.progress() == Progress()
    assert shard.marks() == {0: Marks()}
    assert (shard.offsets(), list(shard.segments()), list(shard.waiting()), list(shard.event_ids())) == ({}, [], [], [])
    assert shard.state() == RunState(None, None, None, None, False)


@pytest.mark.parametrize("table", ["pane_parts", "sequence_segments", "waiting_segments", "offsets", "pane_stats"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_fails_inside_changes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch, table: str, when: str
) -> None:
    shard = store.shard()
    shard.commit(Checkpoint(Progress(), offsets={0: (1, 1)}))
    before, put_all = content_of(shard), shard._put_all

    def fail_at(connection: Any, target: Any, rows: Any) -> None:
        if target.name != table or when == "after":
            put_all(connection, target, rows)
        if target.name == table:
            raise RuntimeError("killed")

    monkeypatch.setattr(shard, "_put_all", fail_at)
    with pytest.raises(RuntimeError, match="killed"):
        shard.commit(full_checkpoint())
    assert content_of(shard) == before
    monkeypatch.undo()
    shard.commit(full_checkpoint())
    assert content_of(shard)["progress"] == full_checkpoint().progress


def test_an_owner_that_was_replaced_is_fenced_before_and_after_the_new_ones_first_commit(store: Store) -> None:
    zombie = store.shard(owner="the old one")
    zombie.commit(full_checkpoint())
    owner = store.shard(owner="the new one")
    before = content_of(owner)
    with pytest.raises(FencedError, match=r"taken over by another process \(the new one\)"):
        zombie.commit(full_checkpoint())
    assert content_of(owner) == before
    owner.commit(Checkpoint(Progress(closed_pane=9)))
    after = content_of(owner)
    with pytest.raises(FencedError, match="the new one"):
        zombie.commit(full_checkpoint())
    assert content_of(owner) == after


def test_a_commit_whose_answer_got_lost_is_applied_once_when_it_is_repeated(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = store.shard()
    with answers_getting_lost(store, monkeypatch), pytest.raises(StoreUnavailableError):
        shard.commit(full_checkpoint())
    applied = content_of(shard)
    assert applied["parts"] == [(5, [2**62, 2**62 + 1], [2, 1])]
    shard.commit(full_checkpoint())
    assert content_of(shard) == applied
    shard.commit(Checkpoint(Progress(counted_ms=500), counts={5: counts_of((1, 1))}))
    assert len(content_of(shard)["parts"]) == 2


def test_state_of_many_users_is_stored_in_pieces_and_comes_back_whole(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_store, "USERS_A_PIECE", 2)
    lengths = np.array([2, 0, 3, 1, 1], np.int32)
    cells = np.arange(7)
    columns = {"clusters": cells.astype(np.int32), "times_ms": 10 * cells, "predictions": -cells.astype(np.int32)}
    users = np.arange(5, dtype=np.uint64)
    segment = UserSegment(users=users, last_ms=np.arange(5), lengths=lengths, **columns)
    shard = store.shard()
    shard.commit(Checkpoint(Progress(), segment=segment))
    found = list(shard.segments())
    assert [piece.users.tolist() for piece in found] == [[0, 1], [2, 3], [4]]
    for name in ("users", "last_ms", "lengths", *columns):
        whole = np.concatenate([getattr(piece, name) for piece in found])
        assert whole.tolist() == getattr(segment, name).tolist(), name
    shard.commit(Checkpoint(Progress(), segment=segment, replaces_segments=True))
    assert len(list(shard.segments())) == 3


def test_waiting_segments_are_dropped_once_all_of_them_is_counted(store: Store) -> None:
    shard = store.shard()
    shard.commit(Checkpoint(Progress(counted_ms=0), waiting=waiting(10, 50)))
    shard.commit(Checkpoint(Progress(counted_ms=50), waiting=waiting(60, 70)))
    assert [w.times_ms.tolist() for w in shard.waiting()] == [[10, 50], [60, 70]]  # one of the first still waits
    shard.commit(Checkpoint(Progress(counted_ms=51)))
    assert [w.times_ms.tolist() for w in shard.waiting()] == [[60, 70]]
    shard.commit(Checkpoint(Progress(counted_ms=END_OF_TIME_MS), waiting=waiting()))
    assert shard.n_rows(waiting_segments) == 0


def test_event_ids_are_forgotten_a_segment_at_a_time(store: Store) -> None:
    shard = store.shard()
    shard.commit(Checkpoint(Progress(), event_ids=ids_of(10, 20)))
    shard.commit(Checkpoint(Progress(), event_ids=ids_of(30), forget_ids_before_ms=20))
    assert [e.times_ms.tolist() for e in shard.event_ids()] == [[10, 20], [30]]
    shard.commit(Checkpoint(Progress(), event_ids=ids_of(), forget_ids_before_ms=21))
    assert [e.times_ms.tolist() for e in shard.event_ids()] == [[30]]
    assert shard.n_rows(event_id_segments) == 1


def test_a_cluster_keeps_the_earliest_time_that_any_shard_saw_it(store: Store) -> None:
    store.join()
    SharedCodes(store.database, store.run_id).of_names(["a", "b", "c"])
    one, other = store.shard(0), store.shard(1)
    one.commit(Checkpoint(Progress(), first_seen={1: 50, 0: 70}))
    other.commit(Checkpoint(Progress(), first_seen={0: 60, 1: 55}))
    assert first_ms_of(store) == {0: 60, 1: 50, 2: None}


def test_two_shards_do_not_disturb_each_other(store: Store) -> None:
    one, other = store.shard(0), store.shard(1)
    other.commit(_full_checkpoint_of(1))
    before = content_of(other)
    one.commit(full_checkpoint())
    one.commit(Checkpoint(Progress(counted_ms=END_OF_TIME_MS), replaces_segments=True, forget_ids_before_ms=10**6))
    store.shard(0)
    assert content_of(other) == before
    assert list(store.reader.marks()) == [0, 1]
    other.commit(Checkpoint(Progress(closed_pane=5)))  # its epoch is still its own


def _full_checkpoint_of(partition: int) -> Checkpoint:
    return replace(full_checkpoint(), offsets={partition: (3, 4)})


def test_figures_add_up_over_shards(store: Store) -> None:
    for number in (0, 1):
        figures = np.full(7, number + 1, np.int64)
        store.shard(number).commit(Checkpoint(Progress(), stats={3: figures, 4 + number: figures}))
    assert {pane: row.tolist() for pane, row in store.reader.stats().items()} == {3: [3] * 7, 4: [1] * 7, 5: [2] * 7}
    assert store.reader.stats_of_pane(3).tolist() == [3] * 7
    assert store.reader.stats_of_pane(9).tolist() == [0] * 7
