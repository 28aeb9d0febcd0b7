"""Thresholds from the expected run time to a false alarm.

A raw threshold says nothing: river's own defaults never fire on such a series, or fire on noise. What a user can judge
is how many windows may pass, with no drift, until a detector is wrong. The threshold follows by simulating the series
of `stream.drift.detectors.null_series`, with a fixed seed: the same question has the same answer on every machine of
one kind, and is rounded so that it has on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from stream.drift.detectors.contract import DetectorName
from stream.drift.detectors.from_river import RiverDetector
from stream.drift.detectors.null_series import null_scores
from stream.drift.detectors.statistics import cusum_statistics, kswin_statistics, page_hinkley_statistics

_STATISTICS: dict[DetectorName, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    DetectorName.CUSUM: cusum_statistics,
    DetectorName.PAGE_HINKLEY: page_hinkley_statistics,
    DetectorName.KSWIN: kswin_statistics,
}
_SEED = 20_260
_N_PATHS, _N_OBJECTS = 1_000, 250  # of about 0.6 signals each: run times within 4 and 8 %
_MOST_SIMULATED = 4_000  # windows; beyond, run times grow exponentially with the threshold, as theory has it
_FINEST = 0.002  # relative; how closely a threshold is found
_MOST_ADWIN = 8.0


@lru_cache(maxsize=64)
def threshold_of(name: DetectorName, false_alarm_windows: float, window_panes: int) -> float:
    """Threshold at which a detector is expected to signal once in `false_alarm_windows` windows without drift.

    A second or less for each question, a few for ADWIN; answers are kept.

    Examples
    --------
    >>> threshold_of(DetectorName.SHIRYAEV_ROBERTS, 1_000, window_panes=3)
    2000.0
    """
    if name is DetectorName.SHIRYAEV_ROBERTS:
        return 2.0 * false_alarm_windows  # by construction
    if false_alarm_windows > _MOST_SIMULATED:
        quarter, whole = (threshold_of(name, _MOST_SIMULATED / part, window_panes) for part in (4, 1))
        return round(whole + (whole - quarter) * math.log(false_alarm_windows / _MOST_SIMULATED, 4), 3)
    n_paths = _N_OBJECTS if name is DetectorName.ADWIN else _N_PATHS
    scores = null_scores(window_panes, n_paths, math.ceil(false_alarm_windows), _SEED)
    if name is DetectorName.ADWIN:
        return _bisect(
            lambda threshold: _run_time_of_objects(name, threshold, scores), false_alarm_windows, _MOST_ADWIN
        )
    highest = np.maximum.accumulate(_STATISTICS[name](scores), axis=1)
    return _bisect(lambda threshold: _run_time(highest, threshold), false_alarm_windows, float(highest.max()) + 1.0)


def _bisect(run_time: Callable[[float], float], wanted: float, high: float) -> float:
    low = 0.0
    while high - low > _FINEST * high:
        middle = (low + high) / 2
        low, high = (low, middle) if run_time(middle) >= wanted else (middle, high)
    return round(high, 3)


def _run_time(highest: NDArray[np.float64], threshold: float) -> float:
    """Estimate the expected run time as windows watched for each signal: rare signals are nearly memoryless."""
    n_quiet = (highest < threshold).sum(axis=1)
    has_signalled = n_quiet < highest.shape[1]
    return float((n_quiet + has_signalled).sum() / max(1, has_signalled.sum()))


def _run_time_of_objects(name: DetectorName, threshold: float, scores: NDArray[np.float64]) -> float:
    """Watch each series until its first signal: for a detector whose memory depends on the threshold."""
    n_windows = n_signals = 0
    for series in scores.tolist():
        detector = RiverDetector(name, threshold)
        at = next((i for i, value in enumerate(series) if detector.update(value)), None)
        n_windows += len(series) if at is None else at + 1
        n_signals += at is not None
    return n_windows / max(1, n_signals)
