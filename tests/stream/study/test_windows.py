from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stream.predictions import hit_microbits, no_predictions
from stream.sequences import SequenceState
from stream.shard import count_keys
from stream.study.windows import N_BUCKETS, StudiedLog, half_of_users, in_fewer_buckets, users_of
from stream.watch_log import Watches
from tests.stream.study.logs import DAY_MS, NAMES, of_watches, sequence_options, studied, watch_log
from tidegate.counts import BucketedCounts
from tidegate.errors import RequestError


def test_windows_are_adjacent_and_the_days_left_over_are_in_none() -> None:
    log = studied(7, window_days=3)
    assert len(log.panes) == 7 and len(log.windows) == 2
    merged = BucketedCounts.merge(log.panes[3:6])
    assert np.array_equal(log.windows[1].keys, merged.keys) and np.array_equal(log.windows[1].counts, merged.counts)
    assert log.last_pane_of(1) == 5 and log.end_ms(5) == 6 * DAY_MS


def test_every_sequence_of_three_is_one_transition() -> None:
    assert sum(pane.total for pane in studied(4, a_day=100).panes) == 400


def test_a_log_of_less_than_two_windows_is_refused() -> None:
    with pytest.raises(RequestError, match=r"--window: the log has 3 panes of 1d, and two windows take 4") as refused:
        studied(3)
    assert refused.value.exit_code == 2


def test_a_log_without_a_transition_is_refused() -> None:
    lonely = Watches(np.arange(8, dtype=np.uint64), np.zeros(8, np.int32), np.arange(8) * DAY_MS // 2)
    with pytest.raises(RequestError, match="8 positive watches make no transition"):
        StudiedLog.of_log(of_watches(lonely, 4, NAMES), sequence_options())


def test_windows_without_a_transition_are_studied_all_the_same() -> None:
    log = watch_log(6)
    late = log.watches.times_ms >= 4 * DAY_MS
    watches = Watches(*(getattr(log.watches, name)[late] for name in ("users", "clusters", "times_ms")))
    quiet = StudiedLog.of_log(of_watches(watches, 6, NAMES), sequence_options())
    assert [window.total for window in quiet.windows] == [0, 0, 1_800]
    assert quiet.microbits.tolist() == hit_microbits(np.zeros(1, np.int64)).tolist()


def test_half_of_the_buckets_is_drawn_and_every_split_is_another() -> None:
    splits = [half_of_users(7, split) for split in range(50)]
    assert {int(split.sum()) for split in splits} == {N_BUCKETS // 2}
    assert len({split.tobytes() for split in splits}) == 50
    assert not np.array_equal(half_of_users(7, 0), half_of_users(8, 0))
    chosen = np.mean(splits, axis=0)
    assert chosen.min() > 0.2 and chosen.max() < 0.8


def test_two_halves_of_the_users_make_the_whole_window() -> None:
    window, is_first = studied(4).windows[0], half_of_users(0, 0)
    parts = [users_of(window, is_first), users_of(window, ~is_first)]
    assert all(part.total > 600 for part in parts)
    assert not set(parts[0].keys & 0xFF) & set(parts[1].keys & 0xFF)
    merged = BucketedCounts.merge(parts)
    assert np.array_equal(merged.keys, window.keys) and np.array_equal(merged.counts, window.counts)


@pytest.mark.parametrize("n_buckets", [1, 64, 256])
def test_users_put_into_fewer_buckets_are_as_if_counted_so(n_buckets: int) -> None:
    log, options = watch_log(4), replace(sequence_options(), n_buckets=n_buckets)
    state = SequenceState(options)
    watches = log.watches
    keys = state.extend(watches.users, watches.clusters, watches.times_ms, no_predictions())
    expected = count_keys([keys])
    whole = BucketedCounts.merge(StudiedLog.of_log(log, options).panes)
    folded = in_fewer_buckets(whole, n_buckets)
    assert np.array_equal(folded.keys, expected.keys) and np.array_equal(folded.counts, expected.counts)
