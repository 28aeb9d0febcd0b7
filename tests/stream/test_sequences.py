"""Sequences, transitions and hits, case by case as the glossary has them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.predictions import Predictions, index_predictions, no_predictions
from stream.sequence_kernel import (
    ANSWERED,
    HIT_MICROBITS,
    HITS_NEXT,
    HITS_SEQUENCE,
    SCORED,
    SEQUENCES,
    TRANSITIONS,
)
from stream.sequences import Dedup, PaneStats, SequenceOptions, SequenceState
from tidegate.counts import bucket_of_key, pack_pairs, pair_of_key, successor_of_key, unpack_pairs
from tidegate.errors import ConfigError

USER = 2**63 + 9


def _state(**options: object) -> SequenceState:
    return SequenceState(SequenceOptions(**({"pane_ms": 100, "window_ms": 300} | options)))  # type: ignore[arg-type]


def _watch(
    state: SequenceState, clusters: str, times_ms: list[int], predictions: Predictions | None = None, user: int = USER
) -> list[str]:
    """Let one user watch clusters A, B, C, … and return the transitions as words."""
    keys = state.extend(
        np.full(len(clusters), user, np.uint64),
        np.array([ord(letter) - ord("A") for letter in clusters], np.int32),
        np.array(times_ms, np.int64),
        predictions or no_predictions(),
    )
    c1, c2 = unpack_pairs(pair_of_key(keys))
    return ["".join(chr(ord("A") + c) for c in row) for row in zip(c1, c2, successor_of_key(keys), strict=True)]


def _table(**rows: str) -> Predictions:
    pairs = np.array([[ord(letter) - ord("A") for letter in pair] for pair in rows], np.int64).reshape(-1, 2)
    answers = np.array([ord(answer) - ord("A") for answer in rows.values()], np.int32)
    return index_predictions(
        pack_pairs(pairs[:, 0], pairs[:, 1]), answers, np.full((0, 1), -1, np.int32), np.array([1, 10, 100, 1_000])
    )


def _figure(state: SequenceState, column: int) -> dict[int, int]:
    rows = state.stats.values[:, column].tolist()
    return {state.stats.base_pane + i: n for i, n in enumerate(rows) if n}


def test_a_gap_splits_only_where_it_is_strictly_exceeded() -> None:
    assert _watch(_state(gap_ms=50), "ABC", [0, 50, 100]) == ["ABC"]
    assert _watch(_state(gap_ms=50), "ABC", [0, 50, 101]) == []
    assert _watch(_state(gap_ms=None), "ABC", [0, 50, 10**6]) == ["ABC"]


def test_a_gap_of_one_millisecond_splits() -> None:
    assert _watch(_state(gap_ms=1), "ABCDE", [0, 1, 2, 4, 5]) == ["ABC"]


def test_a_repeat_that_is_left_out_is_still_the_previous_watch() -> None:
    for dedup in Dedup:
        assert _watch(_state(gap_ms=50, dedup=dedup), "ABBC", [0, 40, 80, 130]) == ["ABC"]


def test_a_repeat_after_the_gap_begins_the_new_sequence() -> None:
    state = _state(gap_ms=50)
    assert _watch(state, "ABCAB", [0, 1, 2, 60, 61]) == ["ABC"]
    assert _watch(state, "C", [62]) == ["ABC"]
    assert _figure(state, SEQUENCES) == {0: 2}


def test_first_only_leaves_out_every_repeat_and_adjacent_those_that_follow_themselves() -> None:
    clusters, times_ms = "AABACAB", [0, 1, 2, 3, 4, 5, 6]
    assert _watch(_state(), clusters, times_ms) == ["ABC"]
    assert _watch(_state(dedup=Dedup.ADJACENT), clusters, times_ms) == ["BAC", "CAB"]
    assert _watch(_state(dedup=Dedup.ADJACENT, allow_return=True), clusters, times_ms) == ["ABA", "BAC", "ACA", "CAB"]


def test_a_sequence_counts_once_when_its_third_cluster_comes() -> None:
    state = _state()
    _watch(state, "AB", [0, 50])
    assert _figure(state, SEQUENCES) == {}
    _watch(state, "CD", [150, 250])
    assert _figure(state, SEQUENCES) == {1: 1}
    assert _figure(state, TRANSITIONS) == {1: 1, 2: 1}


def test_a_transition_belongs_to_the_pane_of_its_last_cluster_and_the_bucket_of_its_user() -> None:
    state = _state(n_buckets=16)
    keys = state.extend(
        np.full(3, USER, np.uint64), np.arange(3, dtype=np.int32), np.array([98, 99, 100]), no_predictions()
    )
    assert bucket_of_key(keys).tolist() == [USER % 16]
    assert _figure(state, TRANSITIONS) == {1: 1}


def test_panes_before_the_epoch_are_panes_too() -> None:
    state = _state()
    assert _watch(state, "ABCD", [-201, -101, -100, 0]) == ["ABC", "BCD"]
    assert _figure(state, TRANSITIONS) == {-1: 1, 0: 1}


def test_nothing_is_scored_before_a_table_serves() -> None:
    state = _state()
    _watch(state, "ABC", [0, 1, 2])
    assert _figure(state, TRANSITIONS) == {0: 1}
    assert _figure(state, SCORED) == {}
    _watch(state, "D", [3], _table())
    assert (_figure(state, SCORED), _figure(state, ANSWERED)) == ({0: 1}, {})  # no answer is a miss


def test_a_next_hit_is_a_sequence_hit_once_and_carries_the_clusters_information() -> None:
    state = _state()
    _watch(state, "ABCDC", [0, 1, 2, 3, 4], _table(AB="C", BC="A"))
    assert _figure(state, SCORED) == _figure(state, ANSWERED) == {0: 2}
    assert _figure(state, HITS_NEXT) == _figure(state, HITS_SEQUENCE) == {0: 1}
    assert _figure(state, HIT_MICROBITS) == {0: 100}


def test_information_of_a_cluster_beyond_the_list_is_that_of_the_last() -> None:
    state = _state()
    _watch(state, "XYZ", [0, 1, 2], _table(XY="Z"))
    assert _figure(state, HIT_MICROBITS) == {0: 1_000}


def test_a_later_hit_is_settled_in_the_pane_of_its_transition() -> None:
    state = _state()
    _watch(state, "ABC", [0, 1, 99], _table(AB="E"))
    _watch(state, "DE", [150, 250], _table())
    assert _figure(state, HITS_SEQUENCE) == {0: 1}
    assert _figure(state, HITS_NEXT) == {}
    assert _figure(state, HIT_MICROBITS) == {}


@pytest.mark.parametrize(("time_ms", "n_hits"), [(301, 0), (300, 1)])
def test_a_hit_counts_until_one_window_has_passed(time_ms: int, n_hits: int) -> None:
    state = _state()
    _watch(state, "ABCD", [-2, -1, 0, time_ms], _table(AB="D"))
    assert sum(_figure(state, HITS_SEQUENCE).values()) == n_hits


def test_the_end_of_a_sequence_ends_its_predictions() -> None:
    state = _state(gap_ms=50)
    _watch(state, "ABCD", [0, 1, 2, 53], _table(AB="D"))
    assert _figure(state, HITS_SEQUENCE) == {}


def test_a_prediction_comes_true_once_and_for_its_own_user_only() -> None:
    state = _state(dedup=Dedup.ADJACENT)
    _watch(state, "ABC", [0, 1, 2], _table(AB="D"))
    _watch(state, "D", [3], user=5)
    assert _figure(state, HITS_SEQUENCE) == {}
    _watch(state, "DCD", [4, 5, 6])
    assert _figure(state, HITS_SEQUENCE) == {0: 1}


def test_a_watch_can_settle_several_predictions() -> None:
    state = _state()
    _watch(state, "ABCDE", [0, 1, 2, 3, 4], _table(AB="E", BC="E", CD="E"))
    assert _figure(state, HITS_SEQUENCE) == {0: 3}
    assert _figure(state, HITS_NEXT) == {0: 1}


def test_a_prediction_of_what_the_sequence_has_had_cannot_come_true() -> None:
    state = _state()
    _watch(state, "ABCDA", [0, 1, 2, 3, 4], _table(CD="A", BC="A"))
    assert _figure(state, HITS_SEQUENCE) == {}


def test_only_users_that_changed_are_taken_and_only_once() -> None:
    state = _state()
    _watch(state, "AB", [0, 1], user=1)
    _watch(state, "A", [2], user=2)
    assert state.take_dirty().users.tolist() == [1, 2]
    assert state.take_dirty().users.tolist() == []
    _watch(state, "A", [3], user=2)  # a repeat: the previous watch is later now
    segment = state.take_dirty()
    assert (segment.users.tolist(), segment.last_ms.tolist(), segment.lengths.tolist()) == ([2], [3], [1])
    assert state.take_all().users.tolist() == [1, 2]
    assert state.take_dirty().users.tolist() == []
    assert state.n_users == 2


def test_a_later_segment_replaces_what_an_earlier_one_said_of_a_user() -> None:
    state, restarted = _state(), _state()
    for clusters, times_ms in (("ABCDEFGH", range(8)), ("I", [8])):
        _watch(state, clusters, list(times_ms))
        restarted.load(state.take_dirty())
    assert restarted.n_users == 1
    assert _watch(restarted, "J", [9]) == ["HIJ"]


def test_an_empty_segment_and_an_empty_batch_are_harmless() -> None:
    state = _state()
    state.load(state.take_dirty())
    assert _watch(state, "", []) == []
    assert state.n_users == 0


def test_a_segment_larger_than_the_pool_makes_room_for_itself() -> None:
    state, restarted = _state(), _state()
    n = 5_000
    users = np.repeat(np.arange(n, dtype=np.uint64), 2)
    state.extend(users, np.tile(np.array([0, 1], np.int32), n), np.arange(2 * n), no_predictions())
    _watch(restarted, "AB", [0, 1])
    restarted.load(state.take_all())
    assert _watch(restarted, "C", [2 * n]) == ["ABC"]
    assert _watch(restarted, "D", [2 * n], user=4_321) == ["ABD"]


def test_a_window_is_a_whole_number_of_panes() -> None:
    assert SequenceOptions(pane_ms=100, window_ms=300).window_panes == 3
    for window_ms in (50, 250):
        found = rf"--window: a window of {window_ms / 1_000:g}s is not a whole number of panes of 0\.1s"
        with pytest.raises(ConfigError, match=found):
            SequenceOptions(pane_ms=100, window_ms=window_ms)


@pytest.mark.parametrize("n_buckets", [0, -1, 3, 512])
def test_buckets_are_a_power_of_two_that_a_key_has_room_for(n_buckets: int) -> None:
    with pytest.raises(ConfigError, match=r"n_buckets: .* user buckets"):
        SequenceOptions(pane_ms=1, window_ms=1, n_buckets=n_buckets)
    assert SequenceOptions(pane_ms=1, window_ms=1, n_buckets=256).n_buckets == 256


def test_figures_of_a_pane_that_was_never_seen_are_zero() -> None:
    stats = PaneStats()
    assert stats.of_pane(3).tolist() == [0] * 7
    stats.set_pane(5, np.arange(7))
    stats.set_pane(7, np.arange(7))
    assert [stats.of_pane(pane).tolist() for pane in (4, 5, 6, 8)] == [[0] * 7, list(range(7)), [0] * 7, [0] * 7]


watches = st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from([0, 1, 20, 49, 50, 51, 90]))


@settings(deadline=None)  # the first call loads a kernel
@given(batches=st.lists(st.lists(watches, max_size=8), max_size=8), gap_ms=st.sampled_from([50, None]))
def test_forgetting_closed_sequences_changes_no_later_result(
    batches: list[list[tuple[int, int, int]]], gap_ms: int | None
) -> None:
    kept, forgetful = _state(gap_ms=gap_ms), _state(gap_ms=gap_ms)
    table, now_ms = _table(AB="C", BC="D", CD="A"), 0
    for batch in batches:
        users = np.array([user for user, _, _ in batch], np.uint64)
        clusters = np.array([cluster for _, cluster, _ in batch], np.int32)
        times_ms = now_ms + np.cumsum(np.array([step for _, _, step in batch], np.int64))
        forgetful.forget_closed(now_ms)
        keys = [state.extend(users, clusters, times_ms, table).tolist() for state in (kept, forgetful)]
        assert keys[0] == keys[1]
        now_ms = int(times_ms[-1]) if batch else now_ms
    for column in range(7):
        assert _figure(kept, column) == _figure(forgetful, column)


def test_users_whose_sequence_is_closed_are_forgotten() -> None:
    state = _state(gap_ms=50)
    _watch(state, "AB", [0, 10], user=1)
    _watch(state, "A", [40], user=2)
    state.forget_closed(60)
    assert state.n_users == 2
    state.forget_closed(61)
    assert state.take_all().users.tolist() == [2]
