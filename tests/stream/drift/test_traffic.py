"""Growth is told from chance, and more users from more of the same users."""

from __future__ import annotations

import numpy as np
import pytest

from stream.drift.clumps import octave_of
from stream.drift.matching import join_sides, match_pairs, side_of
from stream.drift.traffic import Traffic, traffic_of
from tests.stream.drift.worlds import counted, zipf_side
from tidegate.counts import BucketedCounts


def _traffic(window: BucketedCounts, reference: BucketedCounts) -> Traffic:
    pairs, sides = match_pairs(window, reference, 10)
    return traffic_of(*sides, np.arange(pairs.shape[0]), 64)


def _side(rng: np.random.Generator, n: int, *, repeats: int = 1, n_pairs: int = 600) -> BucketedCounts:
    return counted(*zipf_side(rng, n_pairs, n, repeats=repeats))


def test_growth_of_all_pairs_is_the_ratio_of_each() -> None:
    rng = np.random.default_rng(1)
    traffic = _traffic(_side(rng, 120), _side(rng, 40))
    assert np.exp(traffic.log_ratios) == pytest.approx(3.0, rel=0.1)


def test_what_pairs_differ_by_chance_is_shrunk_away_and_what_they_differ_by_more_is_kept() -> None:
    rng = np.random.default_rng(2)
    halves = [zipf_side(rng, 300, n) for n in (20, 180, 60)]
    window = (
        np.concatenate([halves[0][0], halves[1][0] + 300]),
        *(np.concatenate([halves[0][i], halves[1][i]]) for i in (1, 2)),
    )
    reference = zipf_side(rng, 600, 60)
    ratios = np.exp(_traffic(counted(*window), counted(*reference)).log_ratios)
    assert np.median(np.sort(ratios)[:300]) == pytest.approx(1 / 3, rel=0.15)
    assert np.median(np.sort(ratios)[300:]) == pytest.approx(3, rel=0.15)


def test_one_heavy_user_is_not_growth_of_his_pair() -> None:
    rng = np.random.default_rng(3)
    pair, rank, bucket = zipf_side(rng, 300, 40)
    heavy = np.r_[pair, np.zeros(200, np.int64)], np.r_[rank, np.zeros(200, np.int64)], np.r_[bucket, np.full(200, 7)]
    traffic = _traffic(counted(*heavy), _side(rng, 40, n_pairs=300))
    assert np.exp(traffic.log_ratios.max()) < 1.5


def test_growth_is_told_by_whether_cells_grow_with_it() -> None:
    rng = np.random.default_rng(4)
    by_users = _traffic(_side(rng, 180, repeats=3), _side(rng, 60, repeats=3))
    by_transitions = _traffic(_side(rng, 180, repeats=9), _side(rng, 60, repeats=3))
    assert np.median(by_users.log_events) == pytest.approx(0.0, abs=0.25)
    assert np.median(by_transitions.log_events) == pytest.approx(
        np.log(8 / 2), abs=0.25
    )  # further ones in a cell: 8, not 2


def test_more_of_each_user_and_fewer_users_are_both_seen_where_traffic_is_the_same() -> None:
    rng = np.random.default_rng(5)
    traffic = _traffic(_side(rng, 60, repeats=6), _side(rng, 60, repeats=2))
    assert np.median(traffic.log_ratios) == pytest.approx(0.0, abs=0.05)
    assert np.median(traffic.log_events) == pytest.approx(np.log(3), abs=0.7)


def test_where_hardly_anybody_repeats_himself_growth_is_more_transitions() -> None:
    rng = np.random.default_rng(6)
    traffic = _traffic(_side(rng, 45, n_pairs=20), _side(rng, 15, n_pairs=20))
    assert np.median(traffic.log_events) == pytest.approx(np.median(traffic.log_ratios), abs=0.3)


def test_without_rows_there_is_no_traffic_to_measure() -> None:
    traffic = _traffic(BucketedCounts.empty(), BucketedCounts.empty())
    assert traffic.log_ratios.shape == (0,)


def test_octaves_double() -> None:
    assert [octave_of(n) for n in (0, 1, 2, 3, 4, 1_000)] == [0, 0, 1, 1, 2, 9]


def test_pairs_of_one_side_and_thin_pairs_tell_traffic_too() -> None:
    rng = np.random.default_rng(7)
    window, reference = (
        counted(*(np.concatenate([a, b]) for a, b in zip(_users(rng, 4_000, n), _users(rng, 4_000, n), strict=True)))
        for n in (6.0, 2.0)
    )
    pairs, sides = join_sides(side_of(window), side_of(reference))
    assert pairs.tolist() == np.union1d(side_of(window)[0], side_of(reference)[0]).tolist()
    assert min(side.totals.min() for side in sides) == 0
    joined = traffic_of(*sides, np.arange(pairs.shape[0]), 64)
    assert np.exp(np.median(joined.log_ratios)) == pytest.approx(3.0, rel=0.1)
    matched = _traffic(window, reference)  # of those with ten on both sides: by chance few more in the window
    assert np.exp(np.median(matched.log_ratios)) < 2.0


def _users(rng: np.random.Generator, n_pairs: int, n: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pair, rank and bucket of users who come by chance, `n` a pair, and make two alike."""
    pair = np.repeat(np.arange(n_pairs), rng.poisson(n / 2, n_pairs))
    rank, bucket = rng.integers(0, 20, pair.shape[0]), rng.integers(0, 64, pair.shape[0])
    return np.repeat(pair, 2), np.repeat(rank, 2), np.repeat(bucket, 2)
