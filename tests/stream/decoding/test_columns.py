from __future__ import annotations

import pytest

from stream.decoding.columns import DecodeOptions, candidate_columns, map_columns
from stream.decoding.engagement import PositiveRule
from stream.decoding.item_map import ItemClusters
from tidegate.errors import ConfigError, MissingColumnError

_ITEMS = ItemClusters({"1": "a"}, "items.csv")


def test_the_first_usual_name_is_taken() -> None:
    columns = map_columns(["ts", "time", "user", "user_id", "cluster", "category"], DecodeOptions(), "f.csv")
    assert (columns.user, columns.time, columns.label, columns.label_is_item) == ("user_id", "time", "category", False)


def test_a_chosen_name_wins() -> None:
    options = DecodeOptions(user_column="u", cluster_column="c", time_column="t")
    assert map_columns(["user_id", "u", "category", "c", "time", "t"], options, "f.csv").needed == ("u", "t", "c")


def test_clusters_come_from_items_only_where_there_is_no_cluster_column() -> None:
    options = DecodeOptions(item_clusters=_ITEMS)
    assert map_columns(["user", "item", "time"], options, "f.csv").label_is_item
    assert not map_columns(["user", "item", "time", "category"], options, "f.csv").label_is_item


@pytest.mark.parametrize(
    ("options", "wanted", "flag"),
    [
        (DecodeOptions(user_column="u"), "u", "--user-column"),
        (DecodeOptions(time_column="t"), "t", "--time-column"),
        (DecodeOptions(), "category or cluster", "--cluster-column"),
        (DecodeOptions(item_clusters=_ITEMS, item_column="i"), "i", "--item-column"),
        (DecodeOptions(positive=PositiveRule.parse("liked > 0")), "liked", "--positive"),
    ],
)
def test_a_missing_column_is_named_with_those_that_are_there(options: DecodeOptions, wanted: str, flag: str) -> None:
    with pytest.raises(MissingColumnError) as caught:
        map_columns(["user", "time", "x"], options, "f.csv")
    assert caught.value.found == f"there is no column {wanted}; the columns are: user, time, x"
    assert flag in caught.value.mend
    assert caught.value.place == "f.csv"


def test_messages_are_searched_for_every_usual_name() -> None:
    options = DecodeOptions(time_column="t", positive=PositiveRule.parse("liked > 0"))
    columns, candidates = candidate_columns(options)
    assert columns.needed == ("user_id", "t", "category", "liked")
    assert candidates["user_id"] == ("user_id", "user")
    assert candidates["t"] == ("t",)
    assert set(candidates) == set(columns.needed)


def test_messages_take_clusters_from_items_unless_the_cluster_is_named() -> None:
    assert candidate_columns(DecodeOptions(item_clusters=_ITEMS))[0].label_is_item
    assert not candidate_columns(DecodeOptions(item_clusters=_ITEMS, cluster_column="c"))[0].label_is_item


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(ConfigError, match="the bound is -1 ms"):
        DecodeOptions(max_ahead_ms=-1)
