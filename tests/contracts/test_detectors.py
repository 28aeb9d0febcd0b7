"""What every detector keeps, whichever it is: one suite, one case a detector."""

from __future__ import annotations

from itertools import count

import msgspec
import numpy as np
import pytest

from stream.drift.detectors.calibration import threshold_of
from stream.drift.detectors.contract import Detector, DetectorName, DetectorState
from stream.drift.detectors.from_river import MAX_VALUES
from stream.drift.detectors.null_series import null_scores
from stream.drift.detectors.opening import open_detector
from stream.drift.detectors.score import HIGHEST_SCORE

W, RUN_TIME = 3, 100

pytestmark = pytest.mark.parametrize("name", list(DetectorName))


def opened(name: DetectorName, state: DetectorState | None = None) -> Detector:
    return open_detector(name, threshold_of(name, RUN_TIME, W), W, state)


def quiet(seed: int, n_windows: int, n_paths: int = 1) -> list[list[float]]:
    paths: list[list[float]] = null_scores(W, n_paths, n_windows, seed).tolist()
    return paths


def signals(detector: Detector, scores: list[float]) -> list[int]:
    return [i for i, score in enumerate(scores) if detector.update(score)]


def test_a_lasting_rise_is_signalled(name: DetectorName):
    detector = opened(name)
    for score in quiet(seed=1, n_windows=40)[0]:
        detector.update(score)
    assert signals(detector, [score + 4.0 for score in quiet(seed=2, n_windows=30)[0]])


def test_a_fall_is_no_signal(name: DetectorName):
    detector = opened(name)
    for score in quiet(seed=1, n_windows=40)[0]:
        detector.update(score + 2.0)
    assert not signals(detector, [-3.0 + 0.01 * (i % 7) for i in range(40)])


def test_after_a_signal_it_is_as_new(name: DetectorName):
    detector = opened(name)
    next(i for i in count() if detector.update(HIGHEST_SCORE if i > 40 else 0.1 * (i % 3)))
    assert detector.state == opened(name).state
    scores = [score + 1.0 for score in quiet(seed=3, n_windows=150)[0]]
    assert signals(detector, scores) == signals(opened(name), scores)


def test_made_anew_from_its_written_state_it_goes_on_bit_for_bit(name: DetectorName):
    scores = [score + 0.6 for score in quiet(seed=4, n_windows=MAX_VALUES + 80)[0]]
    unbroken, state = opened(name), DetectorState()
    for score in scores:
        broken = opened(name, state)
        assert broken.update(score) == unbroken.update(score)
        assert broken.statistic == unbroken.statistic
        state = msgspec.json.decode(msgspec.json.encode(broken.state), type=DetectorState)
        assert state == unbroken.state


def test_what_it_remembers_is_bounded(name: DetectorName):
    detector = open_detector(name, 1e9 if name is not DetectorName.KSWIN else 300.0, W)
    sizes = []
    for score in quiet(seed=5, n_windows=3 * MAX_VALUES)[0]:
        detector.update(score)
        sizes.append(len(detector.state.numbers))
    assert max(sizes) < MAX_VALUES


def test_it_signals_where_its_statistic_reaches_the_threshold(name: DetectorName):
    detector = opened(name)
    for score in quiet(seed=6, n_windows=400)[0]:
        is_signalled = detector.update(score)
        if detector.statistic is not None:
            assert is_signalled == (detector.statistic >= detector.threshold)


def test_without_drift_it_runs_as_long_as_was_asked(name: DetectorName):
    run_times, n_signals = 0, 0
    for path in quiet(seed=77, n_windows=2 * RUN_TIME, n_paths=25 if name is DetectorName.KSWIN else 150):
        first = next(iter(signals_until_first(opened(name), path)), None)
        run_times += len(path) if first is None else first + 1
        n_signals += first is not None
    measured = run_times / max(1, n_signals)
    assert measured > 0.7 * RUN_TIME
    if name not in (DetectorName.SHIRYAEV_ROBERTS, DetectorName.KSWIN):  # a bound; few values of a p-value
        assert measured < 1.4 * RUN_TIME


def signals_until_first(detector: Detector, scores: list[float]) -> list[int]:
    return next(([i] for i, score in enumerate(scores) if detector.update(score)), [])


def test_a_longer_run_time_needs_a_higher_threshold(name: DetectorName):
    thresholds = [threshold_of(name, run_time, W) for run_time in (50, 100, 200)]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < thresholds[-1]


def test_equal_scores_give_equal_signals(name: DetectorName):
    scores = (np.array(quiet(seed=8, n_windows=200)[0]) + 1.0).tolist()
    assert signals(opened(name), scores) == signals(opened(name), scores)
