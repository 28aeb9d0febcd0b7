"""Clusters as a whole, and the backoff's rows that stand in for thin pairs."""

from __future__ import annotations

import numpy as np
import pytest

from stream.drift.options import DriftOptions
from stream.drift.report import MAX_CLUSTERS_LISTED
from stream.drift.window import WindowDrift, measure_drift
from tests.stream.drift.reports import report_of
from tests.stream.drift.worlds import N_CLUSTERS, NAMES, SEEDS, counted, zipf_side
from tidegate.counts import BucketedCounts, pack_transitions, unpack_pairs
from tidegate.hashing import cluster_seeds

OPTIONS = DriftOptions(max_permutations=2_000, table_permutations=1_000)


def _measured(*, drifted_pairs: int = 0, thin_pairs: int = 0, n_pairs: int = 400, n: int = 50) -> WindowDrift:
    rng = np.random.default_rng(0)
    window, reference = (zipf_side(rng, n_pairs, n, thin_pairs=thin_pairs) for _ in range(2))
    return measure_drift(counted(*window, drifted_pairs=drifted_pairs), counted(*reference), SEEDS, OPTIONS)


def test_a_level_sums_the_pairs_of_each_cluster_up() -> None:
    measured = _measured(drifted_pairs=60)
    for level, of_pair in zip((measured.by_c1, measured.by_c2), unpack_pairs(measured.pairs), strict=True):
        assert level.clusters.tolist() == sorted(set(of_pair.tolist()))
        assert level.n_pairs.sum() == measured.pairs.shape[0]
        for i in (0, -1):
            mine = of_pair == level.clusters[i]
            weights = measured.n_window[mine]
            assert level.n_window[i] == weights.sum()
            matched, null = (np.average(each[mine], weights=weights) for each in (measured.matched, measured.null))
            assert level.drift[i] == pytest.approx(1 - matched / null)
            assert level.jaccard[i] == pytest.approx(np.average(measured.jaccard[mine], weights=weights))


def test_a_cluster_whose_pairs_drift_is_flagged_and_hardly_any_other() -> None:
    measured = _measured(drifted_pairs=0)
    assert measured.by_c1.flagged.sum() + measured.by_c2.flagged.sum() <= 1
    drifted = _measured(drifted_pairs=100)  # of 400: those of the first c2, each a quarter of its c1's pairs
    assert drifted.by_c2.flagged.tolist() == [True, False, False, False]
    assert drifted.by_c2.z[0] > 5
    assert drifted.by_c1.flagged.mean() > 0.5
    assert drifted.by_c2.drift[0] > 0.3
    assert abs(drifted.by_c2.drift[1:]).max() < 0.05


def test_clusters_without_drift_keep_the_level_of_the_test() -> None:
    measured = _measured(n_pairs=2_000, n=20)
    p_values = np.r_[measured.by_c1.p_value, measured.by_c2.p_value]
    assert 0.0 < (p_values <= 0.2).mean() < 0.35
    assert abs(np.nanmean(measured.by_c1.z)) < 0.4
    assert 0.7 < np.nanstd(measured.by_c1.z) < 1.3


def test_thin_pairs_are_compared_by_the_rows_of_their_second_cluster() -> None:
    measured = _measured(thin_pairs=100)  # 5 transitions each, of the first c2
    assert measured.pairs.shape[0] == 300
    assert measured.backoff.keys.tolist() == [100]
    assert measured.backoff.n_thin_pairs.tolist() == [100]
    assert measured.backoff.n_thin_window.tolist() == [500]
    assert measured.backoff.n_window.tolist() == measured.backoff.n_reference.tolist() == [500]
    assert not measured.backoff.flagged.any()


def _thin_table(*, moves: bool) -> WindowDrift:
    """400 pairs of 10 transitions a side, all with the same successors, of which the window's top three may move."""
    rng = np.random.default_rng(3)
    sides = []
    for is_window in (True, False):
        pair, rank, bucket = zipf_side(rng, 400, 10)
        successor = np.where(is_window & moves & (rank < 3), rank + 60, rank) * 7 % 90
        keys, counts = np.unique(pack_transitions(pair % 100, 100 + pair // 100, successor, bucket), return_counts=True)
        sides.append(BucketedCounts(keys, counts.astype(np.int64)))
    return measure_drift(*sides, SEEDS, OPTIONS)


def test_a_table_of_thin_pairs_only_has_drift_all_the_same() -> None:
    same, moved = _thin_table(moves=False), _thin_table(moves=True)
    assert same.pairs.size == moved.pairs.size == 0
    assert same.drift_mean is None
    assert same.backoff.drift_mean == pytest.approx(0.0, abs=0.25)  # of four rows
    assert not same.backoff.flagged.any()
    assert moved.backoff.drift_mean is not None
    assert moved.backoff.drift_mean > 0.3
    assert moved.backoff.flagged.all()


def test_rows_without_enough_support_even_when_pooled_are_not_compared() -> None:
    assert _measured(n_pairs=3, thin_pairs=3).backoff.keys.size == 0


def test_levels_and_backoff_do_not_depend_on_how_ids_were_handed_out() -> None:
    rng = np.random.default_rng(2)
    window, reference = zipf_side(rng, 150, 70, thin_pairs=20), zipf_side(rng, 150, 40)
    ids = rng.permutation(N_CLUSTERS)
    renamed_seeds = cluster_seeds([NAMES[i] for i in np.argsort(ids)])
    one = measure_drift(counted(*window, drifted_pairs=20), counted(*reference), SEEDS, OPTIONS)
    other = measure_drift(
        counted(*window, drifted_pairs=20, ids=ids), counted(*reference, ids=ids), renamed_seeds, OPTIONS
    )
    for mine, theirs in ((one.by_c1, other.by_c1), (one.by_c2, other.by_c2)):
        order = np.argsort(ids[mine.clusters])
        assert ids[mine.clusters][order].tolist() == theirs.clusters.tolist()
        for name in ("n_pairs", "n_window", "jaccard", "null", "drift", "z", "p_value", "flagged"):
            assert getattr(mine, name)[order].tolist() == getattr(theirs, name).tolist(), name
    order = np.argsort(ids[one.backoff.keys])
    assert one.backoff.keys.size > 0
    for name in ("jaccard", "matched", "null", "rbo_null", "p_value", "n_thin_pairs"):
        assert getattr(one.backoff, name)[order].tolist() == getattr(other.backoff, name).tolist(), name
    assert one.drift_mean == other.drift_mean
    assert one.rbo_drift_mean == other.rbo_drift_mean


def test_a_report_lists_the_clusters_that_stand_out_most_and_no_more_than_its_limit() -> None:
    measured = _measured(drifted_pairs=100, thin_pairs=0)
    report = report_of(measured)
    assert report.by_c1 is not None
    assert report.by_c2 is not None
    assert report.by_c1.compared == measured.by_c1.clusters.shape[0] > MAX_CLUSTERS_LISTED
    assert len(report.by_c1.clusters) == MAX_CLUSTERS_LISTED
    assert [cluster.flagged for cluster in report.by_c2.clusters] == [True, False, False, False]
    p_values = [cluster.p_value for cluster in report.by_c1.clusters]
    assert p_values == sorted(p_values)
    assert report.by_c1.flagged == measured.by_c1.flagged.sum()


def test_a_report_lists_the_flagged_rows_of_the_backoff() -> None:
    backoff = report_of(_thin_table(moves=True)).backoff
    assert backoff is not None
    assert (backoff.rows, backoff.thin_pairs, backoff.thin_transitions) == (4, 400, 4_000)
    assert backoff.flagged_rows == len(backoff.heaviest) == 4
    assert all(row.flagged and row.c2 >= 100 for row in backoff.heaviest)


def test_a_cluster_of_which_nothing_can_be_exchanged_has_no_z() -> None:
    one = BucketedCounts(np.array([(1 << 24) + (2 << 8) + 4]), np.array([30]))
    measured = measure_drift(one, one, SEEDS, OPTIONS)
    assert np.isnan(measured.by_c1.z).all()
    report = report_of(measured)
    assert report.by_c1 is not None
    assert report.by_c1.clusters[0].z is None
    assert report.by_c1.clusters[0].p_value == 0.5
