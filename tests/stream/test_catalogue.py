"""Cluster ids: by first event time and name, however the source came to know the names."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import catalogue as catalogue_module
from stream.catalogue import ArrivalNames, Catalogue
from tests.reference import Watch, ids_by_first_sight
from tidegate.errors import CatalogueError

names = st.sampled_from(["art", "bee", "cat", "dog", "éclair", "Art", ""])
logs = st.lists(st.tuples(names, st.integers(0, 3)), max_size=30)


@given(log=logs, data=st.data())
def test_ids_depend_on_event_time_and_name_alone(log: list[tuple[str, int]], data: st.DataObject) -> None:
    log.sort(key=lambda entry: entry[1])
    arrivals = data.draw(st.permutations(sorted({name for name, _ in log})))  # as some source came upon them
    expected = ids_by_first_sight(Watch("u", name, time_ms) for name, time_ms in log)
    assert _ids(catalogue := Catalogue(), log, arrivals) == [expected[name] for name, _ in log]
    assert catalogue.names == list(expected)
    # The watermark cuts between instants, never within one.
    in_parts, ids = Catalogue(), []
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, 3)))), 4]
    for first, end in pairwise(cuts):
        ids += _ids(in_parts, [(name, time_ms) for name, time_ms in log if first <= time_ms < end], arrivals)
    assert ids == [expected[name] for name, _ in log]


def _ids(catalogue: Catalogue, part: list[tuple[str, int]], arrivals: list[str]) -> list[int]:
    codes = np.array([arrivals.index(name) for name, _ in part], np.int32)
    ids: list[int] = catalogue.ids(codes, np.array([time for _, time in part], np.int64), arrivals).tolist()
    return ids


def test_names_that_were_given_keep_their_ids_and_new_ones_follow() -> None:
    catalogue = Catalogue(["zoo", "art"])
    assert _ids(catalogue, [("bee", 1), ("zoo", 2), ("ant", 2)], ["ant", "art", "bee", "zoo"]) == [2, 0, 3]
    assert catalogue.names == ["zoo", "art", "bee", "ant"]


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(CatalogueError, match="cluster 'art' is named twice"):
        Catalogue(["art", "zoo", "art"])


def test_more_clusters_than_a_key_has_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_module, "MAX_CLUSTERS", 2)
    catalogue = Catalogue()
    _ids(catalogue, [("art", 1), ("bee", 1)], ["art", "bee"])
    with pytest.raises(CatalogueError, match="more than 2 clusters, the latest 'cat'"):
        _ids(catalogue, [("cat", 2)], ["art", "bee", "cat"])


def test_arrival_names_outlive_the_source_that_named_them() -> None:
    names = ArrivalNames()
    first = ["zoo", "art"]
    assert names.translate(np.array([1, 0, 1], np.int32), first).tolist() == [1, 0, 1]
    first.append("bee")  # a source's names only grow
    assert names.translate(np.array([2, 0], np.int32), first).tolist() == [2, 0]
    restarted = ArrivalNames(["bee", "zoo"])  # what still waited when the run was stopped
    assert restarted.translate(np.array([0, 1, 2], np.int32), ["art", "bee", "zoo"]).tolist() == [2, 0, 1]
    assert restarted.names == ["bee", "zoo", "art"]
    assert restarted.translate(np.zeros(0, np.int32), ["art", "bee", "zoo"]).tolist() == []
