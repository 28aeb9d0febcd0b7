"""What `make stack` takes for the story that was to be told, and what it says where a process fails."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.stack.composed import settled
from tests.stack.processes import Processes, StackError
from tests.stack.sightings import Story

TOLD = Story(0, before=0.26, dip=0.19, after=0.25, n_refreshes=3, n_rows=90, n_calls=60, version_before=4, version=7)


def test_a_drift_that_is_felt_answered_and_made_good_is_the_story():
    assert TOLD.holds


@pytest.mark.parametrize(
    "other",
    [
        replace(TOLD, dip=0.25),
        replace(TOLD, after=0.20),
        replace(TOLD, n_refreshes=0),
        replace(TOLD, version=4),
    ],
    ids=["not felt", "not made good", "not answered", "no new table"],
)
def test_anything_less_is_not(other: Story):
    assert not other.holds


def test_a_process_that_fails_is_named_with_what_it_said_last(tmp_path: Path):
    with Processes(tmp_path) as processes:
        processes.start("role", [sys.executable, "-c", "print('no store', flush=True); raise SystemExit(3)"])
        with pytest.raises(StackError, match="role ended with 3\nno store"):
            processes.wait_for("role", "http://127.0.0.1:1/healthz", 60.0)


def test_a_process_that_does_not_answer_in_time_is_named(tmp_path: Path):
    with Processes(tmp_path) as processes:
        processes.start("role", [sys.executable, "-c", "import time; time.sleep(60)"])
        with pytest.raises(StackError, match=r"role did not answer on .* within 0 s"):
            processes.wait_for("role", "http://127.0.0.1:1/healthz", 0.1)
        assert not processes.has_ended("role")
        assert processes.stop()["role"][0] != 0
        assert len(processes) == 0


def test_places_are_settled_the_longest_first():
    places = {"kafka:9092": "here:1", "kafka:9092/watches": "here:1/mine"}
    assert settled("kafka://kafka:9092/watches", places) == "kafka://here:1/mine"
