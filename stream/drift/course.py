"""The course of drift over windows: folded pane by pane, so that a slow drift adds up that no window proves alone.

The series that is watched is the whole table's (`stream.drift.detectors.score`): its distribution under no drift is
known, where that of the mean effect ``1 - J / null`` depends on the traffic, and it sees a drift two to three times as
far out of its noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from stream.drift.detectors.calibration import threshold_of
from stream.drift.detectors.contract import DetectorName, DetectorState
from stream.drift.detectors.opening import open_detector
from stream.drift.detectors.score import score_of
from tidegate.contracts import DriftCourse, DriftReport, FrontDrift

_STANDS_OUT_Z, _REPEATED_SHARE = 2.5, 0.5


@dataclass(frozen=True, slots=True)
class CourseOptions:
    """Who watches, and how often it may be wrong.

    Attributes
    ----------
    detector : DetectorName
    false_alarm_windows : float   windows until it is expected to be wrong, if nothing drifts
    window_panes : int            of window and reference each
    """

    detector: DetectorName = DetectorName.CUSUM
    false_alarm_windows: float = 2_000.0
    window_panes: int = 3

    @property
    def threshold(self) -> float:
        """The detector's threshold; found once, then known."""
        return threshold_of(self.detector, self.false_alarm_windows, self.window_panes)


class CourseState(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered from one pane to the next.

    Attributes
    ----------
    detector : DetectorName          whose state it is: another one starts anew
    windows_since_signal : int       None before the first
    fronts : tuple of float          z of the newest panes of the last windows, the oldest first, a window's length of
                                     them at most; None where there was none
    """

    detector: DetectorName
    remembered: DetectorState = DetectorState()
    windows_since_signal: int | None = None
    fronts: tuple[float | None, ...] = ()


def fold_course(
    state: CourseState | None, report: DriftReport, options: CourseOptions
) -> tuple[CourseState, DriftReport]:
    """Fold one window into the course; returns the report with what the detector says. Pure.

    A front that only repeats what the pane one window before showed is no alarm any more.

    Parameters
    ----------
    state : CourseState | None     None at the first window
    report : DriftReport           of the next window
    options : CourseOptions
    """
    if state is None or state.detector is not options.detector:
        state = CourseState(detector=options.detector)
    detector = open_detector(options.detector, options.threshold, options.window_panes, state.remembered)
    score = score_of(report)
    is_signalled = score is not None and detector.update(score)
    since = 0 if is_signalled else None if state.windows_since_signal is None else state.windows_since_signal + 1
    course = DriftCourse(
        detector=options.detector,
        score=score,
        statistic=detector.statistic,
        threshold=options.threshold,
        is_signalled=is_signalled,
        windows_since_signal=since,
        false_alarm_windows=options.false_alarm_windows,
    )
    front = _without_repetition(report.front, state.fronts, options.window_panes)
    fronts = (*state.fronts, None if front is None else front.table_z)[-options.window_panes :]
    folded = CourseState(
        detector=options.detector, remembered=detector.state, windows_since_signal=since, fronts=fronts
    )
    return folded, msgspec.structs.replace(report, course=course, front=front)


def _without_repetition(
    front: FrontDrift | None, fronts: tuple[float | None, ...], window_panes: int
) -> FrontDrift | None:
    """Take an alarm back where the pane of the same phase, one window before, stood out at least half as far."""
    before = fronts[0] if len(fronts) == window_panes else None
    if front is None or front.table_z is None or before is None or not front.alarmed:
        return front
    if before < max(_STANDS_OUT_Z, _REPEATED_SHARE * front.table_z):
        return front
    return msgspec.structs.replace(front, alarmed=False, is_repeated=True)
