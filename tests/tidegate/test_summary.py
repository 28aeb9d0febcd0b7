"""What a run's JSON adds up, by hand."""

from __future__ import annotations

from tidegate.cli.summary import first_table_calls
from tidegate.contracts import RefreshResult, Trigger


def result(trigger: Trigger, calls: int, outcome: str = "completed") -> RefreshResult:
    return RefreshResult(
        order_id="o",
        window_end_ms=0,
        trigger=trigger,
        outcome=outcome,
        table_version=0,
        llm_calls=calls,
        reused=0,
        rows_changed=calls,
        rows_invalid=0,
        rows_retired=0,
    )


def test_calls_after_a_first_table_of_counts_alone_are_incremental():
    assert first_table_calls([result(Trigger.FIRST_TABLE, 0), result(Trigger.POLICY, 5)]) == 0


def test_all_attempts_at_the_first_table_are_its_calls():
    failed = result(Trigger.FIRST_TABLE, 7, "gate_failed")
    assert first_table_calls([failed, result(Trigger.FIRST_TABLE, 3), result(Trigger.POLICY, 5)]) == 10
