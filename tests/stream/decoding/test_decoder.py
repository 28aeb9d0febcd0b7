from __future__ import annotations

from typing import Any

import pyarrow as pa

from stream.decoding.columns import DecodeOptions, map_columns
from stream.decoding.decoder import MAX_ISSUES, Decoder, RawRecords
from stream.decoding.engagement import PositiveRule
from stream.decoding.item_map import ItemClusters
from stream.events import EventBatch, Outcome, RecordIssue
from tidegate.clock import ManualClock
from tidegate.hashing import hash_text

_NOW_MS = 1_000_000
_DAY_MS = 86_400_000


def _decode(options: DecodeOptions, **columns: list[Any]) -> EventBatch:
    arrays = {name: pa.array(values) for name, values in columns.items()}
    decoder = Decoder(options, map_columns(arrays, options, "f"), ManualClock(_NOW_MS))
    n = len(next(iter(arrays.values())))
    return decoder.decode(RawRecords(arrays, n, lambda row: f"f#{row}"), partition=3, next_offset=10)


def test_good_records_become_arrays() -> None:
    batch = _decode(DecodeOptions(), user=[7, 8], category=["a", "b"], time=[5, 4])
    assert batch.users.tolist() == [hash_text("7"), hash_text("8")]
    assert (batch.users.dtype, batch.clusters.dtype, batch.times_ms.dtype) == ("uint64", "int32", "int64")
    assert (batch.clusters.tolist(), batch.times_ms.tolist()) == ([0, 1], [5_000, 4_000])
    assert batch.latest_ms == 5_000
    assert (batch.partition, batch.next_offset, batch.n_records, batch.at_end) == (3, 10, 2, False)
    assert (batch.set_aside, batch.issues) == ({}, ())


def test_each_record_has_one_outcome_by_precedence() -> None:
    far = (_NOW_MS + _DAY_MS) // 1_000 + 1
    batch = _decode(
        DecodeOptions(positive=PositiveRule.parse("x > 0"), known_clusters=frozenset({"a"})),
        user=["u", "", "u", "u", "u"],
        category=["a", "?", "?", "?", "a"],
        time=[1, far, far, 1, 1],
        x=[1, 0, 0, 0, 0],
    )
    assert batch.set_aside == {
        Outcome.MALFORMED: 1,
        Outcome.FUTURE: 1,
        Outcome.UNKNOWN_CLUSTER: 1,
        Outcome.NEGATIVE: 1,
    }
    assert len(batch.users) == 1
    assert batch.n_records == len(batch.users) + sum(batch.set_aside.values())


def test_the_span_covers_negative_and_unknown_records_but_not_future_ones() -> None:
    batch = _decode(
        DecodeOptions(positive=PositiveRule.parse("x > 0"), known_clusters=frozenset({"a"})),
        user=["u"] * 4,
        category=["a", "a", "?", "a"],
        time=[5, 2, 9, 10**9],
        x=[1, 0, 1, 1],
    )
    assert batch.latest_ms == 9_000


def test_nothing_in_time_has_no_span() -> None:
    batch = _decode(DecodeOptions(), user=["u"], category=["a"], time=[10**9])
    assert batch.latest_ms is None


def test_a_record_at_the_bound_is_not_future() -> None:
    options = DecodeOptions(max_ahead_ms=5_000, time_unit="ms")
    batch = _decode(options, user=["u", "u"], category=["a", "a"], time=[_NOW_MS + 5_000, _NOW_MS + 5_001])
    assert batch.set_aside == {Outcome.FUTURE: 1}


def test_issues_say_where_what_and_how_to_mend_it() -> None:
    batch = _decode(
        DecodeOptions(known_clusters=frozenset({"a"})),
        user=[None, "u", "u", "u", "u"],
        category=["a", " ", "a", "a", "?"],
        time=["1", "1", "soon", "99999999999", "1"],
    )
    assert [(issue.outcome, issue.place, issue.found) for issue in batch.issues] == [
        (Outcome.MALFORMED, "f#0", "user has no value"),
        (Outcome.MALFORMED, "f#1", "category has no value"),
        (Outcome.MALFORMED, "f#2", "time is 'soon', not a time in the unit s"),
        (Outcome.FUTURE, "f#3", "time is 5138-11-16T09:46:39Z, ahead of the clock by more than the bound"),
        (Outcome.UNKNOWN_CLUSTER, "f#4", "cluster '?' is not in the catalogue"),
    ]
    flags = ("--user-column", "--cluster-column", "--time-unit", "--time-unit", "catalogue")
    assert all(flag in issue.mend for flag, issue in zip(flags, batch.issues, strict=True))


def test_issues_are_few_and_begin_with_what_did_not_parse() -> None:
    options = DecodeOptions()
    arrays = {"user": pa.array([None] * 9), "category": pa.array(["a"] * 9), "time": pa.array([1] * 9)}
    decoder = Decoder(options, map_columns(arrays, options, "f"), ManualClock(_NOW_MS))
    unreadable = RecordIssue(Outcome.MALFORMED, "f#9", "?", "!")
    batch = decoder.decode(RawRecords(arrays, 9, str, (unreadable,), 2), partition=0, next_offset=11)
    assert batch.n_records == 11
    assert batch.set_aside == {Outcome.MALFORMED: 11}
    assert len(batch.issues) == MAX_ISSUES
    assert batch.issues[0] is unreadable


def test_an_item_without_a_cluster_is_unknown_and_without_an_item_malformed() -> None:
    options = DecodeOptions(item_clusters=ItemClusters({"1": "a"}, "items.csv"))
    batch = _decode(options, user=["u"] * 3, item=[1, 2, None], time=[1] * 3)
    assert batch.set_aside == {Outcome.UNKNOWN_CLUSTER: 1, Outcome.MALFORMED: 1}
    assert "items.csv" in batch.issues[0].mend
    assert "--item-column" in batch.issues[1].mend


def test_nan_users_are_shown_as_missing() -> None:
    batch = _decode(DecodeOptions(), user=[float("nan")], category=["a"], time=[1])
    assert batch.issues[0].found == "user has no value"


def test_a_time_past_the_calendar_is_shown_as_a_number() -> None:
    batch = _decode(DecodeOptions(time_unit="ms"), user=["u"], category=["a"], time=[1 << 53])
    assert "9007199254740992 ms" in batch.issues[0].found


def test_a_batch_of_nothing_is_empty() -> None:
    batch = _decode(DecodeOptions(positive=PositiveRule.parse("x > 0")), user=[], category=[], time=[], x=[])
    assert (batch.n_records, batch.latest_ms, batch.set_aside) == (0, None, {})
