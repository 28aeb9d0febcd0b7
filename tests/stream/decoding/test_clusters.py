from __future__ import annotations

import pyarrow as pa
import pytest

from stream.decoding import clusters
from stream.decoding.clusters import MISSING, UNKNOWN, ClusterDictionary
from stream.decoding.item_map import ItemClusters


def test_names_get_codes_in_the_order_they_are_seen_and_keep_them() -> None:
    dictionary = ClusterDictionary()
    assert dictionary.codes(pa.array(["b", "a", None, " ", "b"])).tolist() == [0, 1, MISSING, MISSING, 0]
    assert dictionary.codes(pa.array(["c", " a "])).tolist() == [2, 1]
    assert dictionary.names == ["b", "a", "c"]


def test_a_dictionary_column_hands_out_codes_only_for_what_occurs() -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([2, None, 1]), pa.array(["unused", "a", "b"]))
    dictionary = ClusterDictionary()
    assert dictionary.codes(column).tolist() == [0, MISSING, 1]
    assert dictionary.names == ["b", "a"]


def test_names_outside_the_catalogue_get_no_code() -> None:
    dictionary = ClusterDictionary(frozenset({"a"}))
    assert dictionary.codes(pa.array(["x", "a"])).tolist() == [UNKNOWN, 0]
    assert dictionary.names == ["a"]


def test_items_are_looked_up_by_their_text() -> None:
    dictionary = ClusterDictionary(items=ItemClusters({"7": "a", "9": "a"}, "items.csv"))
    for _ in range(2):
        assert dictionary.codes(pa.array([7.0, 8.0, None, 9.0])).tolist() == [0, UNKNOWN, MISSING, 0]
    assert dictionary.names == ["a"]


def test_blanks_of_any_kind_around_a_name_do_not_make_another() -> None:
    dictionary = ClusterDictionary()
    assert dictionary.codes(pa.array(["a", "\u00a0a", "\u2003", "\ta "])).tolist() == [0, 0, MISSING, 0]
    assert dictionary.codes(pa.array([b"a", b"\xff", None])).tolist() == [0, MISSING, MISSING]


def test_names_keep_their_codes_when_memory_of_labels_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "MAX_REMEMBERED", 2)
    dictionary = ClusterDictionary()
    for labels, codes in ((["a", "b", "c"], [0, 1, 2]), (["c", "d", "a"], [2, 3, 0]), (["b", "d"], [1, 3])):
        assert dictionary.codes(pa.array(labels)).tolist() == codes
    assert dictionary.names == ["a", "b", "c", "d"]


def test_numeric_clusters_are_named_by_their_text() -> None:
    dictionary = ClusterDictionary()
    dictionary.codes(pa.array([12, 3]))
    assert dictionary.names == ["12", "3"]
