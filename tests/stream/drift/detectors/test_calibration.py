from __future__ import annotations

from itertools import pairwise

import pytest

from stream.drift.detectors.calibration import threshold_of
from stream.drift.detectors.contract import DetectorName


def test_an_e_detectors_threshold_follows_from_the_run_time_alone():
    assert {threshold_of(DetectorName.SHIRYAEV_ROBERTS, 700.0, w) for w in (1, 3, 28)} == {1_400.0}


def test_a_cumulative_sum_of_independent_scores_would_need_less_than_one_of_overlapping_windows():
    # Siegmund's approximation (Sequential Analysis, 1985) for independent normal scores and a run time of 1,000.
    independent = 5.07
    thresholds = [threshold_of(DetectorName.CUSUM, 1_000.0, w) for w in (1, 3, 7)]
    assert independent < thresholds[0] < thresholds[1] < thresholds[2]


def test_beyond_what_is_simulated_thresholds_grow_with_the_logarithm_of_the_run_time():
    thresholds = [threshold_of(DetectorName.CUSUM, run_time, 1) for run_time in (1_000, 4_000, 16_000, 64_000)]
    steps = [after - before for before, after in pairwise(thresholds)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.002)
    assert steps[0] > 1.0


def test_thresholds_are_rounded_so_that_machines_agree():
    threshold = threshold_of(DetectorName.CUSUM, 300.0, 3)
    assert threshold == round(threshold, 3)
