"""Drift over windows: how long detectors run without drift, how soon they see it, and how soon an abrupt shift shows.

Detectors are judged on fresh series of window scores; the rule as a whole (window, front, course:
`stream.drift.budget`) and what is assumed of scores on windows of real counts, from the streams without drift of
`bench.calibrate.streams`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.calibrate.streams import STREAMS, WINDOW_PANES, Stream, windows_of
from bench.calibrate.urgency import urgent_rows
from bench.calibrate.verdicts import Verdict, judged
from bench.calibrate.worlds import SEEDS, Floats
from stream.drift.budget import FalseAlarmBudget
from stream.drift.detectors.calibration import threshold_of
from stream.drift.detectors.contract import DetectorName
from stream.drift.detectors.null_series import autocorrelation, null_scores
from stream.drift.detectors.opening import open_detector
from stream.drift.detectors.score import HIGHEST_SCORE, LOWEST_SCORE, window_score
from stream.drift.detectors.statistics import cusum_statistics, kswin_statistics, page_hinkley_statistics
from stream.drift.front import measure_front
from stream.drift.options import DriftOptions
from stream.drift.parts import MatchedPairs
from stream.drift.table import table_shift

RUN_TIME, N_WINDOWS = 1_000, 150
STEPS = (0.5, 1.0, 2.0, 4.0)
PEAKS = (3.0, 6.0, 12.0)
_LEAD, _AFTER = 60, 300  # windows before a change and after it
_N_QUIET, _N_CHANGING = 1_000, 300
_FIRST_LOOK, _LOOKS_AGAIN_P = 10_000, 0.01  # permutations, as the front makes them
_STATISTICS = {
    DetectorName.CUSUM: cusum_statistics,
    DetectorName.PAGE_HINKLEY: page_hinkley_statistics,
    DetectorName.KSWIN: kswin_statistics,
}


def rows() -> list[Verdict]:
    """Detectors one by one, the rule as a whole on streams without drift, and the urgent path."""
    return [*detector_rows(), *stream_rows(), *urgent_rows()]


def detector_rows() -> list[Verdict]:
    """Run time without drift, and delay after a lasting rise and after an abrupt shift."""
    verdicts = []
    for name in DetectorName:
        threshold = threshold_of(name, RUN_TIME, WINDOW_PANES)
        first = _first_signals(name, threshold, null_scores(WINDOW_PANES, _N_QUIET, RUN_TIME, seed=1))
        watched, n_signals = np.where(np.isnan(first), RUN_TIME, first).sum(), int((~np.isnan(first)).sum())
        delays = "; ".join(_delay(name, threshold, step) for step in STEPS)
        shifts = "; ".join(_seen(name, threshold, peak) for peak in PEAKS)
        verdicts.append(
            judged(
                f"over time, {name}: windows to a false alarm, {RUN_TIME:,} asked for",
                float(watched / max(1, n_signals)),
                "windows",
                low=0.85 * RUN_TIME,
                conditions=f"threshold {threshold:g}; {_N_QUIET:,} series, windows of {WINDOW_PANES} panes, {n_signals}"
                f" signals. Median delay {delays}. Abrupt shifts seen {shifts}",
            )
        )
    return verdicts


def _first_signals(name: DetectorName, threshold: float, scores: Floats) -> Floats:
    """Windows until the first signal of each series, NaN where there is none: float64[n]."""
    if name in _STATISTICS:
        is_over = _STATISTICS[name](scores) >= threshold
        return np.where(is_over.any(axis=1), is_over.argmax(axis=1) + 1.0, np.nan)
    first = []
    for series in scores.tolist():
        detector = open_detector(name, threshold, WINDOW_PANES)
        first.append(next((i + 1.0 for i, score in enumerate(series) if detector.update(score)), np.nan))
    return np.array(first)


def _after_change(name: DetectorName, threshold: float, rise: Floats) -> Floats:
    """Windows from the change to the signal, of the series with no signal before it."""
    quiet = null_scores(WINDOW_PANES, _N_CHANGING, _LEAD + rise.shape[0], seed=2)
    quiet[:, _LEAD:] += rise
    first = _first_signals(name, threshold, np.clip(quiet, LOWEST_SCORE, HIGHEST_SCORE))
    return first[np.isnan(first) | (first > _LEAD)] - _LEAD


def _delay(name: DetectorName, threshold: float, step: float) -> str:
    delays = np.nan_to_num(_after_change(name, threshold, np.full(_AFTER, step)), nan=_AFTER)
    return f"{np.median(delays):.0f} at +{step:g}"


def _seen(name: DetectorName, threshold: float, peak: float) -> str:
    """Share of abrupt shifts that are signalled while a window and its reference differ at all."""
    rising = np.arange(1, 2 * WINDOW_PANES)
    rise = peak * (np.minimum(rising, 2 * WINDOW_PANES - rising) / WINDOW_PANES) ** 2
    return f"{np.mean(~np.isnan(_after_change(name, threshold, rise))):.2f} at a peak of {peak:g}"


@dataclass(frozen=True, slots=True)
class _Looks:
    """What the three looks say of one window."""

    score: float
    window: bool
    front: bool
    course: bool


def stream_rows() -> list[Verdict]:
    """False alarms of the rule as a whole, and how scores of real counts compare with the series assumed."""
    verdicts, total = [], np.zeros(3)
    correlations = []
    for number, stream in enumerate(STREAMS):
        looks = list(_looks(stream, number))
        scores = np.array([look.score for look in looks])
        counted = np.array([[look.window, look.front, look.course] for look in looks]).sum(axis=0)
        total += counted
        correlations.append(_correlations(scores))
        verdicts.append(
            judged(
                f"over time, {stream.name}: false alarms",
                float(counted.sum()),
                f"of {len(looks)}",
                conditions=f"window {counted[0]}, front {counted[1]}, course {counted[2]}; score: mean"
                f" {scores.mean():+.2f}, deviation {scores.std():.2f}, largest {scores.max():.1f}",
            )
        )
    n_windows = N_WINDOWS * len(STREAMS)
    assumed = ", ".join(f"{value:.2f}" for value in autocorrelation(WINDOW_PANES)[1:])
    measured = ", ".join(f"{value:.2f}" for value in np.mean(correlations, axis=0))
    return [
        *verdicts,
        judged(
            "over time: false alarms of the whole rule in 1,000 windows",
            1_000 * float(total.sum()) / n_windows,
            "windows",
            high=1.0,
            conditions=f"{n_windows:,} windows; window {total[0]:.0f}, front {total[1]:.0f}, course {total[2]:.0f}; a"
            " decision needs flagged pairs besides",
        ),
        judged(
            "over time: correlation of overlapping windows, beyond what is assumed",
            float((np.mean(correlations, axis=0) - autocorrelation(WINDOW_PANES)[1:]).max()),
            "",
            high=0.1,
            conditions=f"measured {measured}; assumed {assumed}, 1 to {2 * WINDOW_PANES} panes apart",
        ),
    ]


def _looks(stream: Stream, number: int) -> Iterator[_Looks]:
    budget = FalseAlarmBudget()
    options = DriftOptions(seed=number, alarm_p=budget.window_p, front_p=budget.front_p)
    name = DetectorName.CUSUM
    detector = open_detector(name, threshold_of(name, budget.course_windows, WINDOW_PANES), WINDOW_PANES)
    for reference, window, newest in windows_of(np.random.default_rng([number, 0xC7]), stream, N_WINDOWS):
        form = MatchedPairs(window, reference, SEEDS, options).form()
        shift = table_shift(form, options.seed, _FIRST_LOOK)
        if shift.p_value <= _LOOKS_AGAIN_P:
            shift = table_shift(form, options.seed, options.table_permutations)
        assert shift.z is not None
        front = measure_front(newest, reference, SEEDS, options, WINDOW_PANES)
        score = window_score(shift.z, shift.p_value)
        yield _Looks(
            score, shift.p_value <= options.alarm_p, front is not None and front.alarmed, detector.update(score)
        )


def _correlations(scores: Floats) -> Floats:
    centred = scores - scores.mean()
    lags = range(1, 2 * WINDOW_PANES + 1)
    return np.array([np.mean(centred[lag:] * centred[:-lag]) for lag in lags]) / scores.var()
