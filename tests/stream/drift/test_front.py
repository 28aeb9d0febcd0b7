from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from stream.drift.front import clumping_of, front_forms, measure_front
from stream.drift.matching import match_pairs
from stream.drift.options import DriftOptions
from stream.drift.window import measure_drift
from tests.stream.drift.worlds import N_CLUSTERS, NAMES, SEEDS, counted, zipf_side
from tidegate.contracts import FrontDrift
from tidegate.counts import BucketedCounts, bucket_of_key, pack_transitions, pair_of_key, successor_of_key
from tidegate.hashing import cluster_seeds
from tidegate.jit import is_compiled

OPTIONS = DriftOptions(max_permutations=2_000, table_permutations=10_000)
QUICK = DriftOptions(table_permutations=1_000)  # too few to alarm
W = 3


def measured(
    n_pairs: int,
    n: int,
    *,
    seed: int = 0,
    drifted_pairs: int = 0,
    repeats: int = 1,
    repeats_before: int = 1,
    growth: int = 1,
    options: DriftOptions = OPTIONS,
) -> FrontDrift:
    rng = np.random.default_rng(seed)
    pane = counted(*zipf_side(rng, n_pairs, n * growth, repeats=repeats), drifted_pairs=drifted_pairs)
    reference = counted(*zipf_side(rng, n_pairs, n * W, repeats=repeats_before))
    front = measure_front(pane, reference, SEEDS, options, W)
    assert front is not None
    return front


def plain_forms(
    pane: BucketedCounts, reference: BucketedCounts, pairs: list[int], clumping: list[float]
) -> NDArray[np.float64]:
    """The sum of the pairs' forms, loop by loop as the module's docstring has it."""
    cells: dict[int, dict[int, list[NDArray[np.float64]]]] = {pair: {} for pair in pairs}
    totals: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for side, counts in enumerate((pane, reference)):
        columns = (pair_of_key(counts.keys), successor_of_key(counts.keys), bucket_of_key(counts.keys), counts.counts)
        for pair, successor, bucket, n in zip(*(column.tolist() for column in columns), strict=True):
            if pair in cells:
                sides = cells[pair].setdefault(successor, [np.zeros(64), np.zeros(64)])
                sides[side][bucket] += n
                totals[pair][side] += n
    form = np.zeros((64, 64))
    for pair in pairs:
        ratio = totals[pair][0] / totals[pair][1]
        of_pair, by_bucket = np.zeros((64, 64)), np.zeros(64)
        for a, r in cells[pair].values():
            difference, both = a - ratio * r, a / clumping[0] + r / clumping[1]
            by_bucket += difference
            elsewhere = both.sum() + 2.0 - both[:, None] - both[None, :]
            of_pair += np.outer(difference, difference) / np.where(elsewhere > 0, elsewhere, 1.0)
        np.fill_diagonal(of_pair, 0.0)
        of_square = np.outer(by_bucket, by_bucket)
        np.fill_diagonal(of_square, 0.0)
        variance = float(np.square(of_square).sum())
        slope = float((of_pair * of_square).sum()) / variance if variance else 0.0
        form += (of_pair - slope * of_square) / ratio
    return form


@pytest.mark.parametrize("repeats", [1, 4])
def test_forms_are_those_of_plain_loops(repeats: int):
    rng = np.random.default_rng(repeats)
    pane = counted(*zipf_side(rng, 12, 16, repeats=repeats))
    reference = counted(*zipf_side(rng, 12, 40, repeats=repeats))
    pairs, sides = match_pairs(pane, reference, 7)
    clumping = [1.5, 1.25]
    forms = front_forms(np.arange(pairs.shape[0]), *sides, np.array(clumping), SEEDS, 64)
    assert is_compiled(front_forms)
    assert forms.sum(axis=0) == pytest.approx(plain_forms(pane, reference, pairs.tolist(), clumping), abs=1e-9)


@pytest.mark.parametrize("repeats", [1, 2, 5])
def test_clumping_is_how_often_users_repeat_themselves(repeats: int):
    side = counted(*zipf_side(np.random.default_rng(repeats), 40, 100, repeats=repeats))
    _, sides = match_pairs(side, side, 1)
    assert clumping_of(sides[0], 64) == pytest.approx(repeats, rel=0.15)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"growth": 3},
        {"repeats": 5, "repeats_before": 5},
        {"repeats": 5, "repeats_before": 1},  # more transitions of the same users, not more users
        {"repeats": 1, "repeats_before": 5},
    ],
)
def test_without_drift_a_pane_does_not_stand_out_however_users_repeat_themselves(how: dict[str, int]):
    fronts = [measured(30, 20, seed=seed, options=QUICK, **how) for seed in range(100)]
    assert abs(np.mean([front.table_z for front in fronts if front.table_z is not None])) < 0.4
    assert np.mean([front.table_p <= 0.05 for front in fronts]) < 0.12
    assert np.mean([front.table_p <= 0.01 for front in fronts]) < 0.05


def test_an_abrupt_shift_of_a_twentieth_of_the_traffic_alarms_in_its_first_pane_with_every_seed():
    for seed in range(3):
        front = measured(800, 20, drifted_pairs=40, seed=seed)
        assert front.alarmed
        assert front.flagged_pairs > 0


def test_a_window_with_one_pane_after_the_shift_does_not_show_it_yet():
    rng = np.random.default_rng(0)
    panes = [counted(*zipf_side(rng, 800, 20), drifted_pairs=40 * (i == 2)) for i in range(3)]
    reference = counted(*zipf_side(rng, 800, 60))
    front = measure_front(panes[2], reference, SEEDS, OPTIONS, W)
    window = measure_drift(BucketedCounts.merge(panes), reference, SEEDS, OPTIONS)
    assert front is not None
    assert front.table_z is not None
    assert window.table_z is not None
    assert front.alarmed
    assert front.table_z > 2 * window.table_z


def test_flagged_pairs_are_mostly_those_that_drift_and_are_listed_heaviest_first():
    front = measured(800, 20, drifted_pairs=80)
    drifted = [pair.c1 + 100 * (pair.c2 - 100) < 80 for pair in front.flagged]
    assert len(drifted) == front.flagged_pairs >= 5
    assert np.mean(drifted) > 0.7
    assert all(one.n_window >= other.n_window for one, other in zip(front.flagged, front.flagged[1:], strict=False))


def test_pairs_are_not_tested_where_the_pane_as_a_whole_does_not_alarm():
    front = measured(30, 20)
    assert (front.alarmed, front.flagged_pairs, front.flagged) == (False, 0, ())


def test_a_burst_of_one_user_is_no_alarm():
    rng = np.random.default_rng(5)
    pane, reference = counted(*zipf_side(rng, 40, 20)), counted(*zipf_side(rng, 40, 60))
    pairs = np.arange(5)
    burst = pack_transitions(pairs, np.full(5, 100), np.full(5, 50), np.full(5, 17))
    busy = BucketedCounts.merge([pane, BucketedCounts(burst, np.full(5, 200))])
    front = measure_front(busy, reference, SEEDS, OPTIONS, W)
    assert front is not None
    assert not front.alarmed
    assert front.table_z is not None
    assert front.table_z < 2.5


def test_a_pane_needs_its_share_of_a_windows_support():
    pane, reference = (
        counted(*zipf_side(np.random.default_rng(0), 4, 7)),
        counted(*zipf_side(np.random.default_rng(1), 4, 7)),
    )
    front = measure_front(pane, reference, SEEDS, replace(OPTIONS, min_support=21), W)
    assert front is not None
    assert front.pairs == 4
    assert measure_front(pane, reference, SEEDS, replace(OPTIONS, min_support=22), W) is None


def test_a_window_of_one_pane_has_no_front():
    side = counted(*zipf_side(np.random.default_rng(0), 4, 40))
    assert measure_front(side, side, SEEDS, OPTIONS, 1) is None


def test_results_do_not_depend_on_how_ids_were_handed_out():
    rng = np.random.default_rng(2)
    pane, reference = zipf_side(rng, 150, 20), zipf_side(rng, 150, 60)
    ids = rng.permutation(N_CLUSTERS)
    renamed_seeds = cluster_seeds([NAMES[i] for i in np.argsort(ids)])
    one = measure_front(counted(*pane), counted(*reference), SEEDS, OPTIONS, W)
    other = measure_front(counted(*pane, ids=ids), counted(*reference, ids=ids), renamed_seeds, OPTIONS, W)
    assert one == other


def test_results_do_not_depend_on_the_number_of_threads():
    numba.set_num_threads(1)
    one = measured(200, 20)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert one == measured(200, 20)
