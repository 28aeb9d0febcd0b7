from __future__ import annotations

import numpy as np
import pytest

from stream.drift.detectors.contract import DetectorName
from stream.drift.detectors.from_river import MAX_KSWIN_VALUES, MAX_VALUES
from stream.drift.detectors.null_series import null_scores
from stream.drift.detectors.opening import open_detector
from stream.drift.detectors.statistics import cusum_statistics, kswin_statistics, page_hinkley_statistics


def test_cumulative_sums_are_those_of_the_detector():
    scores = null_scores(3, 2, 60, seed=1) + 0.4
    detector = open_detector(DetectorName.CUSUM, 1e9, 3)
    seen = [detector.statistic for score in scores[1].tolist() if not detector.update(score)]
    assert seen == cusum_statistics(scores)[1].tolist()


def test_kswin_tells_the_same_as_rivers_object_past_the_values_it_forgets():
    scores = null_scores(3, 2, MAX_KSWIN_VALUES + 30, seed=2)
    detector = open_detector(DetectorName.KSWIN, 300.0, 3)
    seen = []
    for score in scores[1].tolist():
        detector.update(score)
        seen.append(detector.statistic)
    assert kswin_statistics(scores)[1] == pytest.approx(seen, abs=1e-12)


@pytest.mark.parametrize("threshold", [4.0, 8.0, 12.0, 25.0])
def test_page_and_hinkleys_statistic_passes_the_threshold_where_rivers_object_signals(threshold: float):
    scores = null_scores(3, 4, 2 * MAX_VALUES, seed=3)
    statistics = page_hinkley_statistics(scores)
    for path, statistic in zip(scores.tolist(), statistics, strict=True):
        detector = open_detector(DetectorName.PAGE_HINKLEY, threshold, 3)
        first = next((i for i, score in enumerate(path) if detector.update(score)), None)
        passed = np.flatnonzero(statistic > threshold)
        assert first == (passed[0] if passed.size else None)
