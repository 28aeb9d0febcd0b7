from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest

from stream.drift.options import DriftOptions
from stream.drift.report import MAX_FLAGGED_LISTED
from stream.drift.window import WindowDrift, measure_drift
from tests.stream.drift.reports import report_of
from tests.stream.drift.worlds import N_CLUSTERS, NAMES, SEEDS, counted, zipf_side
from tidegate.counts import BucketedCounts, pack_transitions, unpack_pairs
from tidegate.errors import ConfigError, RequestError
from tidegate.hashing import cluster_seeds

OPTIONS = DriftOptions(max_permutations=2_000, table_permutations=20_000)
BY_PAIR = ("jaccard", "matched", "null", "drift", "rbo", "rbo_matched", "rbo_null", "p_value", "flagged")


def _measured(
    n_pairs: int, n: int, *, growth: int = 1, seed: int = 0, drifted_pairs: int = 0, repeats: int = 1
) -> WindowDrift:
    rng = np.random.default_rng(seed)
    window = zipf_side(rng, n_pairs, n * growth, repeats=repeats)
    reference = zipf_side(rng, n_pairs, n, repeats=repeats)
    return measure_drift(counted(*window, drifted_pairs=drifted_pairs), counted(*reference), SEEDS, OPTIONS)


def _error_of_drift_mean(measured: WindowDrift) -> float:
    spread = (measured.matched - measured.null).std() / np.sqrt(measured.pairs.shape[0])
    return float(spread / measured.null.mean())


@pytest.mark.parametrize("growth", [1, 3])
@pytest.mark.parametrize("n", [20, 60, 200])
def test_without_drift_the_effect_is_zero_and_the_test_keeps_its_level(n: int, growth: int) -> None:
    measured = _measured(1_000 if n < 200 else 300, n, growth=growth)
    assert measured.drift_mean is not None
    assert abs(measured.drift_mean) < 0.01 + 2 * _error_of_drift_mean(measured)
    assert 0.02 < (measured.p_value <= 0.05).mean() < 0.08
    assert measured.table_z is not None
    assert abs(measured.table_z) < 3.5
    assert not measured.alarmed
    assert measured.flagged.mean() < 0.01


def test_planted_drift_is_found_and_little_else() -> None:
    measured = _measured(600, 60, drifted_pairs=50)
    assert measured.alarmed
    c1, c2 = unpack_pairs(measured.pairs)
    drifted = c1 + 100 * (c2 - 100) < 50
    assert measured.flagged[drifted].mean() > 0.8
    assert measured.flagged[~drifted].sum() <= 0.25 * measured.flagged.sum()
    assert measured.drift[drifted].mean() > 0.4
    assert abs(measured.drift[~drifted].mean()) < 0.02


def test_an_abrupt_shift_of_a_twentieth_of_the_traffic_alarms_with_every_seed() -> None:
    assert all(_measured(400, 60, drifted_pairs=20, seed=seed).alarmed for seed in range(5))


def test_users_who_repeat_themselves_are_not_drift_but_would_be_if_events_were_exchanged() -> None:
    rng = np.random.default_rng(1)
    sides = [zipf_side(rng, 400, 120, repeats=10) for _ in range(2)]
    by_user = measure_drift(counted(*sides[0]), counted(*sides[1]), SEEDS, OPTIONS)
    events = [counted(pair, rank, np.asarray(rng.integers(0, 64, pair.shape[0]))) for pair, rank, _ in sides]
    by_event = measure_drift(events[0], events[1], SEEDS, OPTIONS)
    assert not by_user.alarmed
    assert by_user.flagged.mean() < 0.02
    assert by_event.alarmed
    assert by_event.flagged.mean() > 0.5


@pytest.mark.parametrize("n", [40, 100])
def test_three_times_the_users_who_repeat_themselves_are_no_drift(n: int) -> None:
    measured = _measured(1_000, n, growth=3, repeats=5)
    assert measured.drift_mean is not None
    assert abs(measured.drift_mean) < 0.01 + 2 * _error_of_drift_mean(measured)
    assert not measured.alarmed
    assert measured.table_z is not None
    assert abs(measured.table_z) < 3.5
    assert not measured.flagged.any()


def test_results_do_not_depend_on_how_ids_were_handed_out() -> None:
    rng = np.random.default_rng(2)
    window, reference = zipf_side(rng, 150, 70), zipf_side(rng, 150, 40)
    ids = rng.permutation(N_CLUSTERS)
    renamed_seeds = cluster_seeds([NAMES[i] for i in np.argsort(ids)])
    one = measure_drift(counted(*window, drifted_pairs=20), counted(*reference), SEEDS, OPTIONS)
    other = measure_drift(
        counted(*window, drifted_pairs=20, ids=ids), counted(*reference, ids=ids), renamed_seeds, OPTIONS
    )
    renamed = ids[one.pairs >> 16] << 16 | ids[one.pairs & 0xFFFF]
    order = np.argsort(renamed)
    assert renamed[order].tolist() == other.pairs.tolist()
    for name in BY_PAIR:
        assert getattr(one, name)[order].tolist() == getattr(other, name).tolist(), name
    assert (one.table_z, one.table_p) == (other.table_z, other.table_p)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    numba.set_num_threads(1)
    one = _measured(300, 40, growth=2)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    two = _measured(300, 40, growth=2)
    for name in BY_PAIR:
        assert getattr(one, name).tolist() == getattr(two, name).tolist(), name
    assert (one.table_z, one.table_p) == (two.table_z, two.table_p)


def test_swapping_window_and_reference_changes_neither_test_nor_jaccard() -> None:
    rng = np.random.default_rng(3)
    sides = [counted(*zipf_side(rng, 200, n)) for n in (60, 60)]
    there = measure_drift(sides[0], sides[1], SEEDS, OPTIONS)
    back = measure_drift(sides[1], sides[0], SEEDS, OPTIONS)
    assert there.jaccard == pytest.approx(back.jaccard)
    assert there.p_value == pytest.approx(back.p_value)
    assert there.table_z == pytest.approx(back.table_z)
    assert there.null == pytest.approx(back.null, abs=0.15)  # by other draws of the same


def test_the_seed_moves_the_draws_but_not_the_counts() -> None:
    rng = np.random.default_rng(4)
    sides = [counted(*zipf_side(rng, 100, 60)) for _ in range(2)]
    one, other = (measure_drift(sides[0], sides[1], SEEDS, replace(OPTIONS, seed=seed)) for seed in (1, 2))
    assert one.jaccard.tolist() == other.jaccard.tolist()
    assert one.null.tolist() != other.null.tolist()


def _single_pair(counts: list[int], buckets: list[int]) -> BucketedCounts:
    n = len(counts)
    keys = pack_transitions(np.zeros(n, int), np.ones(n, int), np.arange(2, 2 + n), np.array(buckets))
    return BucketedCounts(keys, np.array(counts))


def test_only_pairs_with_support_on_both_sides_are_measured() -> None:
    just, short = _single_pair([12, 8], [1, 2]), _single_pair([12, 7], [1, 2])
    assert measure_drift(just, just, SEEDS, OPTIONS).pairs.tolist() == [1]
    assert measure_drift(short, just, SEEDS, OPTIONS).pairs.size == 0
    assert measure_drift(just, short, SEEDS, OPTIONS).pairs.size == 0


def test_the_same_counts_on_both_sides_show_no_drift() -> None:
    same = _single_pair([9, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6])
    measured = measure_drift(same, same, SEEDS, OPTIONS)
    assert measured.jaccard.tolist() == measured.null.tolist() == measured.rbo_null.tolist() == [1.0]
    assert measured.drift.tolist() == [0.0]
    assert measured.p_value.tolist() == [0.5]


def test_one_user_alone_cannot_be_exchanged_and_proves_nothing() -> None:
    window, reference = _single_pair([30], [4]), _single_pair([0, 30], [4, 4])
    reference = BucketedCounts(reference.keys[1:], reference.counts[1:])
    measured = measure_drift(window, reference, SEEDS, OPTIONS)
    assert measured.jaccard.tolist() == [0.0]
    assert measured.drift.tolist() == [0.0]
    assert measured.p_value.tolist() == [0.5]
    assert measured.table_z is None
    assert not measured.alarmed


def test_an_empty_side_gives_a_report_without_means() -> None:
    full = counted(*zipf_side(np.random.default_rng(0), 3, 40))
    for window, reference in ((full, BucketedCounts.empty()), (BucketedCounts.empty(), BucketedCounts.empty())):
        report = report_of(measure_drift(window, reference, SEEDS, OPTIONS))
        assert report.pairs == report.flagged_pairs == 0
        assert report.jaccard_mean is report.jaccard_variance is report.null_mean is report.drift_mean is None
        assert report.drift_traffic_mean is report.table_z is report.rbo_mean is report.rbo_drift_mean is None
        assert report.by_c1 is not None
        assert report.by_c1.compared == 0
        assert not report.alarmed


def test_a_report_lists_the_flagged_pairs_heaviest_first() -> None:
    measured = _measured(300, 60, growth=2, drifted_pairs=60)
    report = report_of(measured)
    assert report.flagged_pairs == len(report.flagged) == measured.flagged.sum() > 0
    assert all(pair.flagged for pair in report.flagged)
    assert report.jaccard_variance == pytest.approx(measured.jaccard.var())
    assert report.drift_mean == pytest.approx(1 - measured.matched.mean() / measured.null.mean())
    assert report.drift_mean == pytest.approx(np.average(measured.drift, weights=measured.null))
    by_traffic = (np.average(each, weights=measured.n_window) for each in (measured.matched, measured.null))
    matched, null = by_traffic
    assert report.drift_traffic_mean == pytest.approx(1 - matched / null)
    assert report.rbo_drift_mean == pytest.approx(1 - measured.rbo_matched.mean() / measured.rbo_null.mean())


def test_a_report_lists_no_more_than_its_limit_of_pairs() -> None:
    n = MAX_FLAGGED_LISTED + 5
    ones = np.ones(n)
    few = measure_drift(BucketedCounts.empty(), BucketedCounts.empty(), SEEDS, OPTIONS)
    measured = replace(
        few,
        keys=np.arange(n),
        n_window=np.arange(n),
        n_reference=np.arange(n),
        flagged=ones > 0,
        **dict.fromkeys(("jaccard", "matched", "null", "drift", "rbo", "rbo_matched", "rbo_null", "p_value"), ones),
    )
    report = report_of(measured)
    assert len(report.flagged) == MAX_FLAGGED_LISTED
    assert report.flagged[0].n_window == n - 1
    assert report.flagged_pairs == n


def test_a_bucket_or_cluster_that_is_not_there_is_refused() -> None:
    with pytest.raises(RequestError, match="user bucket 64 where there are 64"):
        measure_drift(_single_pair([30], [64]), BucketedCounts.empty(), SEEDS, OPTIONS)
    with pytest.raises(RequestError, match="cluster 2 where there are 2 seeds"):
        measure_drift(_single_pair([30], [1]), BucketedCounts.empty(), SEEDS[:2], OPTIONS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("top_k", 0),
        ("min_support", 0),
        ("n_permutations", 5),
        ("max_permutations", 100),
        ("fdr", 1.5),
        ("n_buckets", 65),
    ],
)
def test_an_option_out_of_its_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name}: .* is not within"):
        replace(DriftOptions(), **{name: value})  # type: ignore[arg-type]
