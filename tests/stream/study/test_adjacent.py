from __future__ import annotations

from itertools import pairwise

import pytest

from stream.drift.options import DriftOptions
from stream.study.adjacent import N_SPLITS, compare_adjacent
from stream.study.overlap import compare_windows
from tests.stream.study.logs import N_PAIRS, studied


def test_means_and_variances_are_those_of_the_pairs_compared() -> None:
    log = studied(6)
    found = compare_adjacent(log, DriftOptions(), 0)
    by_hand = [
        value
        for now, later in pairwise(log.windows)
        for value in compare_windows(now.without_buckets(), later.without_buckets(), 20).jaccard[:, 0]
    ]
    assert found.pairs == len(by_hand) == 2 * N_PAIRS == sum(row.pairs for row in found.windows)
    assert found.jaccard_mean == pytest.approx(sum(by_hand) / len(by_hand))
    assert found.jaccard_variance == pytest.approx(sum((each - found.jaccard_mean) ** 2 for each in by_hand) / 6)
    assert found.jaccard_mean == pytest.approx(sum(row.jaccard_mean * row.pairs for row in found.windows) / 6)
    assert [row.window_end for row in found.windows] == ["1970-01-05T00:00:00Z", "1970-01-07T00:00:00Z"]


def test_a_log_that_does_not_drift_shows_none_in_any_way() -> None:
    found = compare_adjacent(studied(8), DriftOptions(), 0)
    assert found.windows_alarmed == 0 and found.drift_mean == pytest.approx(0, abs=0.1)
    beyond = found.halves.beyond_noise
    assert found.halves.splits == N_SPLITS and abs(beyond.mean) <= max(2 * beyond.spread, 0.02)


def test_a_shift_shows_in_the_window_where_it_is_planted_and_in_the_halves() -> None:
    found = compare_adjacent(studied(8, shift_day=4), DriftOptions(), 0)
    assert [row.alarmed for row in found.windows] == [False, True, False]
    assert found.windows[1].flagged_pairs == N_PAIRS and found.windows[1].drift_mean > 0.3
    halves = found.halves
    assert halves.beyond_noise.mean > 3 * halves.beyond_noise.spread
    assert halves.beyond_noise.mean == pytest.approx(halves.floor.mean - halves.half.mean)


def test_pairs_too_thin_to_compare_leave_figures_absent_but_are_reported_at_all() -> None:
    found = compare_adjacent(studied(4, a_day=20), DriftOptions(min_support=500), 0)
    assert found.pairs == 0 and found.jaccard_mean is None and found.drift_mean is None
    assert found.halves.floor is found.halves.beyond_noise is found.halves.floor_variance is None
    assert found.all_pairs == N_PAIRS and found.all_jaccard_mean is not None
