"""Growth is told from chance, and more users from more of the same users."""

from __future__ import annotations

import numpy as np
import pytest

from stream.drift.matching import match_pairs
from stream.drift.traffic import Traffic, octave_of, traffic_of
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


@pytest.mark.parametrize(("times", "share"), [(1, 0.0), (3, 1.0)])
def test_growth_is_told_by_whether_cells_grow_with_it(times: int, share: float) -> None:
    rng = np.random.default_rng(4)
    window = _side(rng, 180, repeats=3 * times)
    traffic = _traffic(window, _side(rng, 60, repeats=3))
    assert traffic.event_shares[octave_of(240)] == pytest.approx(share, abs=0.25)


def test_without_rows_there_is_no_traffic_to_measure() -> None:
    traffic = _traffic(BucketedCounts.empty(), BucketedCounts.empty())
    assert traffic.log_ratios.shape == (0,)


def test_octaves_double() -> None:
    assert [octave_of(n) for n in (0, 1, 2, 3, 4, 1_000)] == [0, 0, 1, 1, 2, 9]
