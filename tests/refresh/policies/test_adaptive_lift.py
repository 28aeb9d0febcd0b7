"""What the adaptive policy does with what weights know beyond the counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.policies import AdaptivePolicy, Plan, PolicyOptions, PolicyState
from refresh.policies.anew import asked_anew
from refresh.policies.by_hand import open_by_alert, open_by_hand
from refresh.policies.lift import CLASSES, Lift
from refresh.table import TransitionTable
from tests.refresh.logs import DAY_MS, LOG, NAMES, OWN, Log, evidence_of, logs, table_with, view
from tidegate.contracts import Reason, Trigger
from tidegate.hashing import cluster_seeds

OPTIONS = PolicyOptions(price=0.3, horizon_windows=4.0, asks_model=True, probes=False)
EMPTY = TransitionTable.empty(NAMES, top_n=2)
# Everybody who comes to 1 goes on to 3: no pair has anything of its own, so by the counts no row gains anything.
ALIKE: Log = {(a, 1, 3): 4 for a in (0, 4, 5, 6)} | {(7, 1, 3): 90}
THIN = 4 << 16 | 1
# Answers that leave their line hit in 30 of 100 transitions, where the lines hit in 10; one in two leaves it.
GOOD = (Lift(n=2_000.0, n_left=1_000.0, hits=300.0, line_hits=100.0, spread=400.0),) * len(CLASSES)
BAD = (Lift(n=2_000.0, n_left=1_000.0, hits=20.0, line_hits=300.0, spread=320.0),) * len(CLASSES)


def plan(log: Log, table: TransitionTable | None, lifts: tuple[Lift, ...] = (), **parts: Any) -> Plan:
    options = replace(OPTIONS, **parts.pop("options", {}))
    return AdaptivePolicy(options, top_n=2).plan(view(log, table, state=PolicyState(lifts=lifts), **parts))


@settings(max_examples=25, deadline=None)
@given(logs, logs, st.sampled_from([None, EMPTY, table_with(OWN, 5), table_with(2 << 16 | 3, 4)]), st.floats(0, 5))
def test_where_answers_are_their_lines_every_decision_is_that_of_the_counts_alone(
    past: Log, newest: Log, table: TransitionTable | None, price: float
):
    evidence, state = evidence_of([past, newest]), PolicyState()
    for pane in range(9, 12):
        plans = []
        for asks_model in (False, True):
            policy = AdaptivePolicy(replace(OPTIONS, price=price, asks_model=asks_model), top_n=2)
            plans.append(policy.plan(view(newest, table, evidence=evidence, state=state, pane=pane)))
        one, other = plans
        assert msgspec.json.encode(one.order) == msgspec.json.encode(other.order)
        assert one.retrieved.shares.tobytes() == other.retrieved.shares.tobytes()
        assert one.explanation == other.explanation
        assert one.inputs.items() <= other.inputs.items()
        state = other.state
        assert msgspec.structs.replace(state, lifts=()) == msgspec.structs.replace(one.state, lifts=())


def test_a_pair_that_the_counts_would_never_buy_is_bought_for_what_the_weights_add():
    assert plan(ALIKE, EMPTY).order is None
    bought = plan(ALIKE, EMPTY, GOOD)
    assert THIN in bought.pairs
    assert bought.order is not None
    assert {row.reason for row in bought.order.rows} == {Reason.FIRST_SIGHT}
    assert bought.inputs["lift_thin"] == pytest.approx(0.1, abs=0.01)
    row = next(row for row in bought.order.rows if (row.c1, row.c2) == (4, 1))
    added = bought.inputs["lift_middling"]
    assert isinstance(added, float)
    assert row.gain_hits == pytest.approx(added * 4 * OPTIONS.horizon_windows, rel=0.05)
    assert bought.state.placed_hits > 0


def test_a_lift_that_is_worth_less_than_a_call_buys_nothing():
    assert plan(ALIKE, EMPTY, GOOD, options={"price": 100.0}).order is None
    assert plan(ALIKE, EMPTY, BAD).order is None


def test_an_answer_that_is_known_is_not_paid_for_again():
    everything = lambda pairs, _: np.ones(pairs.shape[0], np.bool_)  # noqa: E731
    assert plan(ALIKE, EMPTY, GOOD, is_known=everything).order is None


def test_an_answer_that_left_its_line_is_kept_as_long_as_such_answers_are_good():
    served = table_with(THIN, 2, context=3)
    assert _retired(plan(ALIKE, served)) == ((4, 1),)
    assert _retired(plan({**ALIKE, (7, 1, 3): 5, (7, 1, 6): 85}, served, GOOD)) == ()
    assert _retired(plan(ALIKE, served, BAD)) == ((4, 1),)


def test_an_answer_that_its_own_transitions_speak_against_is_dropped_however_good_others_are():
    served = table_with(THIN, 2, context=3)
    assert _retired(plan({**ALIKE, (4, 1, 3): 400}, served, GOOD)) == ((4, 1),)


def test_rows_are_judged_by_the_pane_that_they_have_served():
    evidence = evidence_of([ALIKE, {(4, 1, 2): 6, (4, 1, 3): 2}])
    lifts = plan(ALIKE, table_with(THIN, 2, context=3), evidence=evidence).state.lifts
    assert sum(lift.n for lift in lifts) == sum(lift.n_left for lift in lifts) == 8.0
    assert (sum(lift.hits for lift in lifts), sum(lift.line_hits for lift in lifts)) == (6.0, 2.0)
    assert sum(lift.spread for lift in lifts) == 16.0


def test_of_rows_that_gain_alike_a_budget_takes_the_same_whatever_they_are_numbered():
    def bought(new: list[int]) -> set[str]:
        names = [f"interest-{at}" for at in range(len(new))]
        log = {(new[a], new[b], new[c]): n for (a, b, c), n in ALIKE.items()}
        renamed = [names[new.index(at)] for at in range(len(new))]
        seen = view(log, EMPTY, state=PolicyState(lifts=GOOD), seeds=cluster_seeds(renamed))
        found = AdaptivePolicy(replace(OPTIONS, max_calls=3), top_n=2).plan(seen)
        return {renamed[pair >> 16] for pair in found.pairs.tolist()}

    assert len(bought([0, 1, 2, 3, 4, 5, 6, 7])) == 3
    assert bought([0, 1, 2, 3, 4, 5, 6, 7]) == bought([6, 1, 2, 3, 7, 0, 5, 4]) == bought([4, 1, 2, 3, 5, 6, 7, 0])


# --- probes --------------------------------------------------------------------------------------------------------


def probed(of: Plan) -> set[tuple[int, int]]:
    return {(row.c1, row.c2) for row in of.order.rows if row.reason is Reason.PROBE} if of.order else set()


def test_as_long_as_nothing_is_known_of_the_weights_some_rows_are_asked_to_learn_it():
    found = plan(ALIKE, EMPTY, options={"probes": True})
    assert (7, 1) in probed(found)
    assert found.inputs["rows_probed"] == len(probed(found)) == found.pairs.size
    assert found.state.calls == ((9, found.pairs.size),)
    assert "by probe" in found.explanation
    assert probed(plan(ALIKE, EMPTY, BAD, options={"probes": True})) == set()


def test_nothing_is_expected_of_a_probe():
    assert plan(ALIKE, EMPTY, options={"probes": True}).state.placed_hits == 0.0


def test_an_engine_without_weights_is_not_probed():
    assert plan(ALIKE, EMPTY, options={"probes": True, "asks_model": False}).order is None


@pytest.mark.parametrize("most", [0, 1, 2, 3])
def test_probes_come_out_of_the_same_budget(most: int):
    log = {**ALIKE, (0, 1, 2): 60}
    for options in ({"max_calls": most}, {"max_calls_per_day": most}):
        found = plan(log, EMPTY, has_new_weights=True, options={"probes": True, **options})
        assert found.pairs.size == most
        assert sum(n for _, n in found.state.calls) == most


def test_a_person_or_an_alert_asks_for_what_pays_and_for_no_probe():
    options = replace(OPTIONS, probes=True)
    seen = view(ALIKE, EMPTY)
    assert open_by_hand("ordered", "adaptive", DAY_MS, options, 2).plan(seen).pairs.size == 0
    assert open_by_alert("adaptive", DAY_MS, options, 2, number=1, alert="Stale").plan(seen).pairs.size == 0


# --- new weights ---------------------------------------------------------------------------------------------------


def test_new_weights_are_not_credited_with_what_the_former_knew_but_tried():
    found = plan(ALIKE, EMPTY, GOOD, has_new_weights=True, options={"probes": True})
    assert found.inputs["lift_thin"] == found.inputs["lift_thin_transitions"] == 0.0
    assert found.order is not None
    assert {row.reason for row in found.order.rows} == {Reason.PROBE}
    assert plan(ALIKE, EMPTY, GOOD, has_new_weights=True).order is None


def test_rows_of_the_former_weights_are_dropped_by_what_those_knew():
    """They are asked anew where they are kept."""
    log, served = {**ALIKE, (7, 1, 3): 5, (7, 1, 6): 85}, table_with(THIN, 2, context=3)
    assert _retired(plan(log, served, GOOD, has_new_weights=True)) == ()


def test_what_the_former_weights_knew_is_forgotten_when_all_rows_are_asked_anew():
    seen = view(LOG, table_with(OWN, 2), state=PolicyState(lifts=GOOD), has_new_weights=True)
    anew = asked_anew(AdaptivePolicy(replace(OPTIONS, probes=True), top_n=2).plan(seen), seen, 2)
    assert anew.order is not None
    assert anew.order.trigger is Trigger.FINE_TUNE
    assert anew.state.lifts == ()
    reasons = [row.reason for row in anew.order.rows]
    assert reasons.count(Reason.FINE_TUNE) == 1
    assert Reason.PROBE in reasons


def _retired(of: Plan) -> tuple[tuple[int, int], ...]:
    return of.order.retired if of.order else ()
