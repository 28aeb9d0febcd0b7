"""Flags come for a reason, with its numbers, once, and not before it has persisted."""

import msgspec
import pytest

from refresh.fine_tune_flag import FineTuneState, FlagOptions, PaneEvidence, answered, judge_weights
from tidegate.contracts import DriftReport, FineTuneReason

DAY_MS = 86_400_000
OPTIONS = FlagOptions(patience_panes=3, level_panes=2)


def report(*, alarmed: bool, drift: float) -> DriftReport:
    return DriftReport(
        run_id="run",
        window_start_ms=0,
        window_end_ms=DAY_MS,
        pane_ms=DAY_MS,
        min_support=20,
        transitions=100,
        pairs=5,
        flagged_pairs=2,
        jaccard_mean=0.5,
        jaccard_variance=0.1,
        null_mean=0.6,
        drift_mean=drift,
        drift_traffic_mean=drift,
        table_z=9.0,
        alarmed=alarmed,
    )


def pane(day: int, *, hits: int = 40, since: DriftReport | None = None) -> PaneEvidence:
    return PaneEvidence("run", day * DAY_MS, since, scored=100, hits=hits)


def judge_all(panes: list[PaneEvidence]) -> list[FineTuneReason | None]:
    state, reasons = FineTuneState(tuned_window_end_ms=0), []
    for each in panes:
        state, flag = judge_weights(state, each, OPTIONS)
        reasons.append(flag.reason if flag else None)
    return reasons


def test_persisting_drift_is_flagged_after_its_patience_and_only_once():
    drifted = report(alarmed=True, drift=0.3)
    reasons = judge_all([pane(day, since=drifted) for day in range(1, 8)])
    assert reasons == [None, None, FineTuneReason.DRIFT, None, None, None, None]


def test_drift_that_pauses_starts_its_patience_anew():
    drifted, quiet = report(alarmed=True, drift=0.3), report(alarmed=False, drift=0.3)
    reasons = judge_all([pane(d, since=s) for d, s in enumerate([drifted, drifted, quiet, drifted, drifted], 1)])
    assert reasons == [None] * 5


def test_small_drift_of_an_alarmed_window_is_not_enough():
    assert judge_all([pane(day, since=report(alarmed=True, drift=0.05)) for day in range(1, 8)]) == [None] * 7


def test_hit_rate_below_its_level_is_flagged_with_both_numbers():
    state, flag = FineTuneState(tuned_window_end_ms=0), None
    for day, hits in enumerate([40, 40, 35, 35, 35], 1):
        state, flag = judge_weights(state, pane(day, hits=hits), OPTIONS)
    assert flag is not None
    assert flag.reason is FineTuneReason.HIT_RATE
    assert flag.numbers == {"hit_rate": 0.35, "hit_rate_level": 0.4, "panes": 3}


def test_hit_rate_that_only_wavers_is_not_flagged():
    assert judge_all([pane(day, hits=hits) for day, hits in enumerate([40, 40, 35, 39, 35, 39, 35], 1)]) == [None] * 7


def test_old_weights_are_flagged_by_their_age():
    assert judge_all([pane(35), pane(36)]) == [None, FineTuneReason.AGE]


def test_state_survives_its_bytes():
    state, _ = judge_weights(FineTuneState(tuned_window_end_ms=5), pane(1), OPTIONS)
    assert msgspec.json.decode(msgspec.json.encode(state), type=FineTuneState) == state


@pytest.mark.parametrize("scored", [0])
def test_a_pane_without_scores_says_nothing(scored: int):
    state, flag = judge_weights(
        FineTuneState(tuned_window_end_ms=0), PaneEvidence("run", DAY_MS, None, scored=scored, hits=0), OPTIONS
    )
    assert flag is None
    assert state.n_level_panes == 0


def flagged_state() -> FineTuneState:
    drifted = report(alarmed=True, drift=0.3)
    state = FineTuneState(tuned_window_end_ms=0)
    for day in (1, 2, 3):
        state, _ = judge_weights(state, pane(day, since=drifted), OPTIONS)
    return state


def test_an_open_flag_has_a_name_and_an_answer_lowers_it():
    state = flagged_state()
    assert (state.is_flagged, state.flag_id) == (True, f"run-{3 * DAY_MS}")
    state = answered(state, 4 * DAY_MS)
    assert (state.is_flagged, state.flag_id, state.answered_window_end_ms) == (False, None, 4 * DAY_MS)


def test_what_persists_after_an_answer_is_flagged_again_after_its_patience():
    drifted, state, found = report(alarmed=True, drift=0.3), answered(flagged_state(), 4 * DAY_MS), []
    for day in (4, 5, 6):
        state, flag = judge_weights(state, pane(day, since=drifted), OPTIONS)
        found.append(flag and flag.flag_id)
    assert found == [None, None, f"run-{6 * DAY_MS}"]


def test_age_is_asked_about_again_only_after_another_limit():
    state, flag = judge_weights(FineTuneState(tuned_window_end_ms=0), pane(36), OPTIONS)
    assert flag is not None
    state, found = answered(state, 37 * DAY_MS), []
    for day in (37, 72, 73):
        state, flag = judge_weights(state, pane(day), OPTIONS)
        found.append(flag and flag.numbers["age_days"])
    assert found == [None, None, 73.0]
