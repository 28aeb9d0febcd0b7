"""Is it fresh: one state and one sentence, by what has to be known first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitoring.console.facts import MoveFacts, OpenOrder, ProgressFacts
from monitoring.console.verdict import Evidence, Freshness, Verdict, judge_freshness, waiting
from tests.monitoring.console_world import (
    DAY_MS,
    FIRST_PANE,
    FakeSource,
    alert,
    end_ms,
    facts,
    fine_tune,
    held,
    ordered,
    report,
    versions,
    world,
)
from tidegate.contracts import FineTuneStatus

LAST = FIRST_PANE + 9


def judged(source: FakeSource, **changes: Any) -> Verdict:
    seen = Evidence(
        now_ms=end_ms(LAST) + 3_600_000,
        run=source.run(),
        panes=source.panes(),
        open_order=source.open_order(),
        progress=source.progress(),
        tables=source.table_facts,
        candidates=source.candidates(),
        alerts=source.alerts(),
    )
    return judge_freshness(replace(seen, **changes))


def quiet() -> FakeSource:
    return FakeSource(pane_facts=[facts(FIRST_PANE + i) for i in range(10)], table_facts=versions())


def test_a_quiet_window_is_fresh() -> None:
    verdict = judged(quiet())
    assert verdict.state is Freshness.FRESH
    assert verdict.sentence.startswith("Version 2 serves, and the window that ended 2023-12-19 00:00 UTC")


def test_drift_that_was_answered_is_being_refreshed() -> None:
    verdict = judged(world())
    assert verdict.state is Freshness.REFRESHING
    assert "drifts beyond noise; 100 rows inferred anew for it serve in version 2" in verdict.sentence


def test_an_open_order_is_being_refreshed() -> None:
    source = world()
    source.order = OpenOrder("run1-1", end_ms(LAST), "policy", 40)
    assert judged(source).state is Freshness.REFRESHING
    assert judged(source).sentence.startswith("40 rows ordered for the window")
    calendar = quiet()
    calendar.order = OpenOrder("run1-1", end_ms(LAST), "schedule", 40)
    assert judged(calendar).sentence.startswith("40 rows ordered")


def test_drift_that_does_not_pay_is_as_fresh_as_it_pays() -> None:
    source = quiet()
    source.pane_facts[-1] = facts(LAST, report=report(LAST, alarmed=True))
    verdict = judged(source)
    assert verdict.state is Freshness.FRESH
    assert verdict.sentence.startswith("Fresh as far as it pays")


def test_the_last_pane_of_a_source_leaves_the_verdict_to_the_decision_before() -> None:
    source = world()
    drifting = report(LAST + 1, alarmed=True)
    source.pane_facts.append(facts(LAST + 1, report=drifting, explanation=None))
    assert judged(source).state is Freshness.REFRESHING
    assert source.run_facts is not None
    source.run_facts = replace(source.run_facts, has_ended=True)
    assert judged(source).notes == ("The source has ended: this is how it was left.",)


def test_a_window_that_could_not_be_compared_says_so() -> None:
    source = quiet()
    source.pane_facts[-1] = facts(LAST, report=None)
    assert "Drift could not be judged" in judged(source).sentence


@pytest.mark.parametrize(
    ("outcome", "why"), [("gate_failed", "its gates held it back (coverage)"), ("failed", "it failed")]
)
def test_an_order_that_was_not_served_is_stale(outcome: str, why: str) -> None:
    source = quiet()
    source.pane_facts[-2] = ordered(LAST - 1, 2, outcome)
    verdict = judged(source)
    assert verdict.state is Freshness.STALE
    assert why in verdict.sentence
    assert "Version 2, of the window that ended 2023-12-17 00:00 UTC, goes on serving." in verdict.sentence


def test_a_later_order_that_is_served_makes_good_for_one_that_was_not() -> None:
    source = quiet()
    source.pane_facts[-3], source.pane_facts[-2] = ordered(LAST - 2, 1, "failed"), ordered(LAST - 1, 2)
    assert judged(source).state is Freshness.FRESH


def test_orders_of_alerts_count_after_that_of_their_pane() -> None:
    source = quiet()
    source.alert_facts = [alert(1, LAST, "gate_failed")]
    assert judged(source).state is Freshness.STALE
    source.alert_facts = [alert(2, LAST), alert(1, LAST, "gate_failed")]
    assert judged(source).state is Freshness.FRESH
    source.pane_facts[-1], source.alert_facts = ordered(LAST, 2, "failed"), [alert(1, LAST - 1)]
    assert judged(source).state is Freshness.STALE
    source.alert_facts = [alert(1, LAST, None)]
    assert judged(source).state is Freshness.STALE


def test_a_candidate_that_a_person_published_is_not_held_back_any_more() -> None:
    source = quiet()
    source.pane_facts[-1] = ordered(LAST, 2, "gate_failed")
    assert judged(source).state is Freshness.STALE
    source.kept = [replace(held(), published_as=3)]
    assert judged(source).state is not Freshness.STALE


def test_a_rollback_in_force_is_stale_and_says_by_whom() -> None:
    source = quiet()
    source.table_facts = versions(1, MoveFacts(end_ms(LAST), "rollback", 2, 1, "Ana", "hits fell"))
    verdict = judged(source)
    assert verdict.state is Freshness.STALE
    assert "Ana rolled back to it on 2023-12-19 00:00 UTC (“hits fell”)" in verdict.sentence


def test_a_stream_behind_the_clock_is_stale_unless_it_has_ended() -> None:
    source = quiet()
    late = judged(source, now_ms=end_ms(LAST) + 5 * DAY_MS)
    assert late.state is Freshness.STALE
    assert "5 days behind the clock" in late.sentence
    assert source.run_facts is not None
    source.run_facts = replace(source.run_facts, has_ended=True)
    ended = judged(source, now_ms=end_ms(LAST) + 5 * DAY_MS)
    assert ended.state is Freshness.FRESH
    assert ended.notes == ("The source has ended: this is how it was left.",)


@pytest.mark.parametrize(
    ("n_reported", "who"), [(0, "the evaluator has not measured"), (4, "the controller has not decided")]
)
def test_closed_panes_that_nobody_answers_are_stale(n_reported: int, who: str) -> None:
    recorded = end_ms(LAST - 4)
    ends = (end_ms(LAST), recorded + n_reported * DAY_MS, recorded, recorded)
    verdict = judged(quiet(), progress=ProgressFacts(*ends, is_shared=True))
    assert verdict.state is Freshness.STALE
    assert verdict.sentence == f"4 closed panes since 2023-12-15 00:00 UTC wait: {who} on them."
    assert judged(quiet(), progress=ProgressFacts(*ends, is_shared=False)).state is Freshness.FRESH


def test_the_gravest_fault_is_the_sentence_and_the_others_are_notes() -> None:
    source = quiet()
    source.pane_facts[-1] = ordered(LAST, 2, "gate_failed")
    verdict = judged(source, now_ms=end_ms(LAST) + 5 * DAY_MS)
    assert "held it back" in verdict.sentence
    assert len(verdict.notes) == 1


def test_without_run_table_or_pane_there_is_no_verdict() -> None:
    for changes, said in (
        ({"run": None}, "no run yet"),
        ({"tables": None}, "does not answer"),
        ({"tables": versions(None)}, "No table serves yet"),
        ({"panes": []}, "no pane of this run"),
    ):
        verdict = judged(quiet(), **changes)
        assert verdict.state is Freshness.UNKNOWN
        assert said in verdict.sentence


def test_what_waits_for_a_person_is_listed_the_gravest_first() -> None:
    tables = replace(versions(3), serving=3)
    tunes = [
        fine_tune(status) for status in (FineTuneStatus.FAILED, FineTuneStatus.PENDING_REVIEW, FineTuneStatus.SERVING)
    ]
    found = waiting([held(), replace(held(), is_publishable=False)], tunes, tables)
    assert [each.path for each in found] == ["/tables", "/fine-tunes", "/fine-tunes", "/orders"]
    assert [each.sentence for each in found[1:3]] == [
        "Fine-tune ft-1 waits for approval.",
        "Fine-tune ft-1 has failed.",
    ]
    assert "a byte of clusters.npy differs" in found[0].sentence
    assert waiting([], [], None) == ()
