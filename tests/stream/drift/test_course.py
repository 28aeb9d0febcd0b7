from __future__ import annotations

import msgspec
import pytest

from stream.drift.course import CourseOptions, CourseState, fold_course
from stream.drift.detectors.contract import DetectorName
from tests.stream.drift.reports import front, report
from tidegate.contracts import DriftCourse, DriftReport, FrontDrift

OPTIONS = CourseOptions(false_alarm_windows=100.0)
P_OF_SCORE_2 = 0.0227501319481792


def fold_all(reports: list[DriftReport], options: CourseOptions = OPTIONS) -> list[DriftReport]:
    state, folded = None, []
    for each in reports:
        state, with_course = fold_course(state, each, options)
        folded.append(with_course)
    return folded


def courses(reports: list[DriftReport], options: CourseOptions = OPTIONS) -> list[DriftCourse]:
    found = [each.course for each in fold_all(reports, options)]
    return [course for course in found if course is not None]


def test_a_slow_drift_that_no_window_proves_alone_is_signalled_in_its_course():
    seen = courses([report(z=2.0, p_value=P_OF_SCORE_2)] * 8)
    assert any(course.is_signalled for course in seen)
    assert not seen[0].is_signalled
    assert seen[0].score == pytest.approx(2.0)
    assert seen[0].statistic == pytest.approx(1.5)
    assert seen[0].threshold == OPTIONS.threshold
    assert (seen[0].detector, seen[0].false_alarm_windows) == ("cusum", 100.0)


def test_windows_since_the_last_signal_are_counted():
    reports = [report(z=12.0, p_value=1e-5)] + [report(z=-1.0, p_value=0.9)] * 3
    assert [course.windows_since_signal for course in courses(reports[1:])] == [None, None, None]
    assert [course.windows_since_signal for course in courses(reports)] == [0, 1, 2, 3]


def test_a_window_without_a_comparison_leaves_the_course_as_it_was():
    seen = courses([report(z=2.0, p_value=P_OF_SCORE_2), report(z=None, p_value=1.0)])
    assert (seen[1].score, seen[1].is_signalled) == (None, False)
    assert seen[1].statistic == seen[0].statistic


@pytest.mark.parametrize("detector", list(DetectorName))
def test_a_course_goes_on_from_its_written_state(detector: DetectorName):
    options = CourseOptions(detector, 100.0)
    reports = [report(z=1.0, p_value=0.05 + 0.9 * (i * 7 % 10) / 10) for i in range(12)]
    state, written = None, None
    for each in reports:
        state, unbroken = fold_course(state, each, options)
        if written is not None:
            written = msgspec.json.decode(msgspec.json.encode(written), type=CourseState)
        written, broken = fold_course(written, each, options)
        assert broken == unbroken
        assert written == state


def test_another_detector_starts_anew():
    state, _ = fold_course(None, report(z=2.0, p_value=P_OF_SCORE_2), OPTIONS)
    other = CourseOptions(DetectorName.SHIRYAEV_ROBERTS, 100.0)
    again, folded = fold_course(state, report(z=2.0, p_value=P_OF_SCORE_2), other)
    assert again.detector is DetectorName.SHIRYAEV_ROBERTS
    assert again == fold_course(None, report(z=2.0, p_value=P_OF_SCORE_2), other)[0]
    assert folded.course is not None


def fronts_of(zs: list[float], *, window_panes: int = 3) -> list[FrontDrift]:
    reports = [report(z=0.0, p_value=0.5, front=front(z, alarmed=z > 3.5)) for z in zs]
    folded = [each.front for each in fold_all(reports, CourseOptions(false_alarm_windows=100.0))]
    return [each for each in folded if each is not None]


def test_an_abrupt_shift_alarms_until_the_window_is_full_of_it():
    assert [each.alarmed for each in fronts_of([0.3, 1.2, -0.5, 6.0, 6.5, 5.5])] == [False] * 3 + [True] * 3


def test_a_pane_that_only_repeats_the_one_a_window_before_is_no_alarm():
    weekend = [0.3, 0.1, 9.0]
    seen = fronts_of(weekend * 3)
    assert [each.alarmed for each in seen] == [False, False, True] + [False] * 6
    assert [each.is_repeated for each in seen] == [False] * 5 + [True] + [False] * 2 + [True]
    assert seen[5].table_z == 9.0


def test_a_shift_that_stands_out_of_a_cycle_is_an_alarm():
    assert fronts_of([0.3, 0.1, 4.0, 0.2, 0.1, 11.0])[-1].alarmed


def test_a_window_without_a_front_breaks_no_cycle():
    reports = [report(z=0.0, p_value=0.5)] * 3 + [report(z=0.0, p_value=0.5, front=front(6.0, alarmed=True))]
    folded = fold_all(reports)
    assert folded[0].front is None
    last = folded[-1].front
    assert last is not None
    assert last.alarmed


def test_a_report_that_was_folded_already_folds_to_itself():
    """A decision is made again from its record, whose report says what the detector said."""
    state = None
    for z in (0.3, 0.1, 9.0, 0.2, 0.0, 9.0):
        before = state
        state, folded = fold_course(before, report(z=1.0, p_value=0.1, front=front(z, alarmed=z > 3.5)), OPTIONS)
        assert fold_course(before, folded, OPTIONS) == (state, folded)
    assert folded.front is not None
    assert folded.front.is_repeated
