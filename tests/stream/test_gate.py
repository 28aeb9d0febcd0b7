"""The gate: shut until a pane's predecessor is decided, and never for longer than the patience."""

from __future__ import annotations

from dataclasses import dataclass, field

from stream.gate import PatientGate
from stream.predictions import Predictions, no_predictions
from tidegate.clock import ManualClock


@dataclass
class Verdicts:
    """What was decided, as the test says it."""

    first: int | None = None
    decided: dict[int, Predictions] = field(default_factory=dict)
    newest: Predictions = field(default_factory=no_predictions)

    def first_pane(self) -> int | None:
        return self.first

    def after(self, pane: int) -> Predictions | None:
        return self.decided.get(pane)

    def latest(self) -> Predictions:
        return self.newest


def test_a_pane_is_scored_by_what_the_pane_before_left() -> None:
    verdicts = Verdicts(first=3)
    gate = PatientGate(verdicts, ManualClock(), 60)
    assert gate.predictions(0, 4) is None
    verdicts.decided[3] = no_predictions()
    assert gate.predictions(0, 4) is verdicts.decided[3]
    assert gate.predictions(0, 5) is None


def test_nothing_serves_in_the_first_pane_or_before_and_it_is_waited_for_until_it_is_known() -> None:
    verdicts = Verdicts()
    gate = PatientGate(verdicts, ManualClock(), 60)
    assert gate.predictions(0, 3) is None
    verdicts.first = 3
    for pane in (2, 3):
        found = gate.predictions(0, pane)
        assert found is not None
        assert not found.is_serving


def test_patience_is_for_each_shard_and_pane_and_ends_with_what_serves_as_far_as_is_known() -> None:
    verdicts, clock = Verdicts(first=0), ManualClock()
    gate = PatientGate(verdicts, clock, 60)
    assert gate.predictions(0, 4) is None
    clock.sleep(40)
    assert gate.predictions(1, 4) is None
    clock.sleep(19)
    assert gate.predictions(0, 4) is None
    clock.sleep(1)
    assert gate.predictions(0, 4) is verdicts.newest
    assert gate.predictions(0, 5) is None
    assert gate.predictions(1, 4) is None
    clock.sleep(40)
    assert gate.predictions(1, 4) is verdicts.newest


def test_a_decision_that_comes_makes_the_next_wait_begin_anew() -> None:
    verdicts, clock = Verdicts(first=0), ManualClock()
    gate = PatientGate(verdicts, clock, 60)
    assert gate.predictions(0, 4) is None
    clock.sleep(59)
    verdicts.decided[3] = no_predictions()
    assert gate.predictions(0, 4) is verdicts.decided[3]
    assert gate.predictions(0, 5) is None
    clock.sleep(59)
    assert gate.predictions(0, 5) is None


def test_without_patience_the_gate_never_waits() -> None:
    verdicts = Verdicts()
    assert PatientGate(verdicts, ManualClock(), 0).predictions(0, 9) is verdicts.newest
