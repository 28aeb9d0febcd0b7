"""Codes of clusters that workers meet together, and when they were first seen."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stream import shared_codes
from stream.checkpoint import Checkpoint, Progress
from stream.database import Database
from stream.reorder import BEGINNING_OF_TIME_MS
from stream.shared_codes import ShardCodes, SharedCodes
from tests.contracts.stores.world import Store, first_ms_of
from tidegate.errors import CatalogueError, StoreUnavailableError


def test_workers_that_meet_the_same_new_names_together_agree_on_dense_codes(store: Store) -> None:
    store.join()
    databases = [store.open() for _ in range(2)]
    start = threading.Barrier(2)

    def meet(database: Database, order: int) -> dict[str, int]:
        codes = SharedCodes(database, store.run_id)
        start.wait()
        for number in range(0, 30, 3):
            codes.of_names([f"n{number + i}" for i in range(3)][::order])
        names = [f"n{number}" for number in range(30)]
        return dict(zip(names, codes.of_names(names).tolist(), strict=True))

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(meet, databases, (1, -1))
    assert one == other == store.reader.cluster_codes()
    assert sorted(one.values()) == list(range(30))


def test_clusters_of_a_catalogue_come_first_in_its_order(store: Store) -> None:
    store.join()
    codes = SharedCodes(store.database, store.run_id, ["z", "a"])
    assert codes.of_names(["b", "z", "b", "a"]).tolist() == [2, 0, 2, 1]
    assert first_ms_of(store) == {0: BEGINNING_OF_TIME_MS, 1: BEGINNING_OF_TIME_MS + 1, 2: None}
    assert SharedCodes(store.database, store.run_id, ["z", "a"]).of_names(["a"]).tolist() == [1]


def test_a_shard_tells_only_those_first_sights_that_are_news(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_codes, "_FEW", 2)
    store.join()
    shared = SharedCodes(store.database, store.run_id)
    names = ["a", "b", "c"]
    first, second = ShardCodes(shared), ShardCodes(shared)
    first.ids(np.arange(3, dtype=np.int32), np.array([10, 20, 30]), names)
    store.shard().commit(Checkpoint(Progress(), first_seen=first.take_first_seen()))
    assert (first.take_first_seen(), first_ms_of(store)) == ({}, {0: 10, 1: 20, 2: 30})
    second.ids(np.array([1, 0, 2], np.int32), np.array([15, 16, 30]), names)
    monkeypatch.setattr(SharedCodes, "first_seen", _refuse)
    with pytest.raises(StoreUnavailableError):
        second.take_first_seen()
    monkeypatch.undo()
    monkeypatch.setattr(shared_codes, "_FEW", 2)
    assert second.take_first_seen() == {1: 15}
    assert second.take_first_seen() == {}


def _refuse(_: SharedCodes) -> dict[int, int | None]:
    raise StoreUnavailableError("the database refused", "Wait", place="store")


def test_more_clusters_than_a_key_has_room_for_are_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_codes, "MAX_CLUSTERS", 3)
    store.join()
    codes = SharedCodes(store.database, store.run_id)
    codes.of_names(["a", "b"])
    with pytest.raises(CatalogueError, match=r"more than 3 clusters, the latest 'd'"):
        codes.of_names(["a", "c", "d"])
    assert store.reader.cluster_codes() == {"a": 0, "b": 1}
    assert codes.of_names(["c"]).tolist() == [2]
