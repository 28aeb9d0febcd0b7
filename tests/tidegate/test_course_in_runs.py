"""The course of drift in whole runs: what the JSON says of it, and that it can be folded again from the records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.database import Database
from stream.drift.course import CourseOptions, fold_course
from stream.drift.detectors.contract import DetectorName
from stream.run_reader import RunReader
from tests.runs import SYNTHETIC, run_quietly, small_log
from tidegate.cli.records import PaneRecord, decode_record

DAYS, SHIFT_DAY = 14, 7


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_log(tmp_path_factory.mktemp("log"), "abrupt", days=DAYS, sessions=3_000)


def records_of(home: Path, run_id: str) -> list[PaneRecord]:
    reader = RunReader(Database(home / "runs.db"), run_id)
    try:
        return [decode_record(body) for body in reader.records().values()]
    finally:
        reader.close()


def test_the_newest_pane_shows_an_abrupt_shift_before_the_window_does(log: Path, tmp_path: Path):
    summary = run_quietly(log, tmp_path, **SYNTHETIC)
    reports: list[dict[str, Any]] = summary["reports"]
    first_after = next(i for i, report in enumerate(reports) if f"-{SHIFT_DAY + 2:02d}T" in report["window_end"])
    before, shifted = reports[:first_after], reports[first_after]
    assert before
    assert not any(report["front"]["alarmed"] or report["course"]["is_signalled"] for report in before)
    assert shifted["front"]["alarmed"]
    assert shifted["front"]["flagged_pairs"] > 0
    assert shifted["front"]["table_z"] > shifted["table_z"]
    assert any(report["course"]["is_signalled"] for report in reports[first_after : first_after + 3])
    assert all(0 < report["table_p"] <= 1 for report in reports)


@pytest.mark.parametrize("detector", ["cusum", "shiryaev_roberts"])
def test_the_course_can_be_folded_again_from_the_records(detector: str, log: Path, tmp_path: Path):
    summary = run_quietly(log, tmp_path, detector=detector, false_alarm_windows=100.0, policy="never", **SYNTHETIC)
    options = CourseOptions(DetectorName(detector), 200.0, 3)
    state = None
    for record in records_of(tmp_path, summary["run_id"]):
        if record.report is not None:
            bare = msgspec.structs.replace(record.report, course=None)
            state, again = fold_course(state, bare, options)
            assert again == record.report
            assert again.course is not None
            assert again.course.detector == detector
        assert record.course == state


def test_the_wished_for_run_time_moves_the_levels_of_all_three_looks(log: Path, tmp_path: Path):
    often = run_quietly(log, tmp_path / "often", false_alarm_windows=10.0, policy="never", **SYNTHETIC)
    seldom = run_quietly(log, tmp_path / "seldom", false_alarm_windows=10_000.0, policy="never", **SYNTHETIC)
    thresholds = [summary["reports"][0]["course"]["threshold"] for summary in (often, seldom)]
    assert thresholds[0] < thresholds[1]
    assert often["reports"][0]["course"]["false_alarm_windows"] == 20.0
    for one, other in zip(often["reports"], seldom["reports"], strict=True):
        assert one["alarmed"] == (one["table_p"] <= 0.01)
        assert other["alarmed"] == (other["table_p"] <= 1e-5)
