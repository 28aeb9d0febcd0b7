"""The way of a fine-tune: no step but the drawn ones, nothing serves without a person, twice is once."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from refresh.finetune import lifecycle
from refresh.finetune.lifecycle import ANSWERED, FROM, NEEDS_PERSON, PERSONS_ONLY, TO, Actor, take
from refresh.finetune.overriding import not_overridable
from tests.fine_tunes import ANN, LOST, MACHINE, PASSED, flag, in_status
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus, GateVerdict
from tidegate.errors import TransitionError

S, A = FineTuneStatus, FineTuneAction
TORN = GateVerdict(gate="files", found=None, required=None, is_passed=False, sentence="a file was changed")


def test_a_flag_becomes_a_record_that_says_who_when_why_and_numbers() -> None:
    record = lifecycle.flagged(flag(), "run", 7)
    (step,) = record.steps
    assert (record.fine_tune_id, record.run_id, record.status, record.revision) == ("run-1", "run", S.FLAGGED, 1)
    assert (step.from_status, step.to_status, step.by, step.is_person, step.at_ms) == (
        None,
        S.FLAGGED,
        "tidegate",
        False,
        7,
    )
    assert (step.why, step.numbers) == ("hit_rate_below_level", {"hit_rate": 0.2})


def test_a_record_survives_its_bytes_with_steps_that_read_from_and_to() -> None:
    record = in_status(S.RETIRED)
    body = msgspec.json.encode(record)
    assert msgspec.json.decode(body, type=FineTune) == record
    assert msgspec.json.decode(body)["steps"][1]["from"] == "flagged"


def test_the_usual_way_leads_to_service_and_out_of_it_again() -> None:
    record = in_status(S.RETIRED)
    assert [step.to_status for step in record.steps] == [
        *(S.FLAGGED, S.CURATING, S.TRAINING, S.GATED, S.PENDING_REVIEW, S.APPROVED, S.SERVING, S.RETIRED),
    ]
    assert record.revision == 8
    assert (record.base_fingerprint, record.sample_checksum, record.candidate_fingerprint) == (
        *("base", "samples", "candidate"),
    )
    assert lifecycle.approval(record) == record.steps[5]


@pytest.mark.parametrize(("action", "status"), list(product(TO, S)))
def test_no_step_begins_where_it_is_not_drawn(action: FineTuneAction, status: FineTuneStatus) -> None:
    record, actor = in_status(status), ANN
    was_taken = record.steps[-1].action is action or (action is A.APPROVE and status is S.SERVING)
    if was_taken:
        assert take(record, action, actor, "why") is record
    elif status in FROM.get(action, ()) and not (action is A.PROCEED and record.candidate_fingerprint is None):
        if action is A.SERVE and lifecycle.approval(record) is None:
            pytest.fail("nothing that may serve is without an approval")
        after = take(record, action, actor, "why")
        assert (after.status, after.revision) == (lifecycle.leads_to(record, action), record.revision + 1)
    else:
        with pytest.raises(TransitionError):
            take(record, action, actor, "why")


@pytest.mark.parametrize("action", sorted(PERSONS_ONLY))
def test_what_persons_decide_is_refused_to_programs(action: FineTuneAction) -> None:
    with pytest.raises(TransitionError, match="only a person"):
        take(in_status(FROM[action][0]), action, MACHINE, "because")


def test_a_person_without_a_name_or_a_reason_decides_nothing() -> None:
    record = in_status(S.PENDING_REVIEW)
    with pytest.raises(TransitionError, match="the reason is empty"):
        take(record, A.APPROVE, ANN, " \n")
    with pytest.raises(TransitionError, match="nobody is named"):
        take(record, A.APPROVE, Actor(" ", 1, is_person=True), "why")


def test_deciding_twice_is_deciding_once_whoever_comes_second() -> None:
    approved = take(in_status(S.PENDING_REVIEW), A.APPROVE, ANN, "good")
    assert take(approved, A.APPROVE, Actor("bob", 9, is_person=True), "good too") is approved
    approval = lifecycle.approval(approved)
    assert approval is not None
    assert approval.by == "ann"
    with pytest.raises(TransitionError, match="it is approved"):
        take(approved, A.REJECT, ANN, "changed my mind")


def test_a_decision_on_what_is_no_longer_there_is_refused() -> None:
    record = in_status(S.PENDING_REVIEW)
    with pytest.raises(TransitionError, match=r"revision 5 \(pending_review\), and 4 was looked at"):
        take(record, A.APPROVE, ANN, "good", revision=4)
    approved = take(record, A.APPROVE, ANN, "good", revision=5)
    assert take(approved, A.APPROVE, ANN, "good", revision=5) is approved  # the answer to the first had got lost
    with pytest.raises(TransitionError):
        take(approved, A.APPROVE, ANN, "good", revision=3)


def test_a_halt_says_which_gates_and_keeps_their_rows() -> None:
    record = in_status(S.HALTED)
    assert record.gates == (PASSED, LOST)
    assert record.steps[-1].why == LOST.sentence
    assert record.steps[-1].numbers == {"recall": 0.3, "exact_match": 0.4}


def test_no_verdict_is_no_pass() -> None:
    with pytest.raises(TransitionError, match="no gate has judged it"):
        lifecycle.judged(in_status(S.GATED), MACHINE, ())


def test_a_rerun_goes_back_to_the_step_that_failed_and_keeps_what_was_done() -> None:
    record = in_status(S.FAILED)
    assert record.problem == "the disk is full"
    again = take(record, A.RERUN, ANN, "there is room now")
    assert (again.status, again.attempt, again.problem) == (S.TRAINING, 1, None)
    assert again.sample_checksum == "samples"


def test_a_rerun_after_a_gate_begins_anew_as_another_attempt() -> None:
    again = take(in_status(S.HALTED), A.RERUN, MACHINE, "newer samples")
    assert (again.status, again.attempt, again.gates) == (S.FLAGGED, 2, ())
    assert (again.base_fingerprint, again.sample_checksum, again.candidate_fingerprint) == (None, None, None)


def test_a_person_may_proceed_after_a_gate() -> None:
    assert take(in_status(S.HALTED), A.PROCEED, ANN, "rows were checked by hand").status is S.PENDING_REVIEW


def test_without_a_candidate_there_is_nothing_to_proceed_with() -> None:
    with pytest.raises(TransitionError, match="it failed while training, so there is no candidate to proceed with"):
        take(in_status(S.FAILED), A.PROCEED, ANN, "why not")


def test_proceeding_after_a_fault_leads_to_the_gates_and_never_past_them() -> None:
    broken_gate = lifecycle.failed(in_status(S.GATED), MACHINE, "a gate broke")
    on = take(broken_gate, A.PROCEED, ANN, "it is mended")
    assert (on.status, on.problem, on.attempt, on.candidate_fingerprint) == (S.GATED, None, 1, "candidate")
    assert (on.steps[-1].by, on.steps[-1].is_person) == ("ann", True)
    assert lifecycle.judged(on, MACHINE, (PASSED, LOST)).status is S.HALTED
    assert lifecycle.judged(on, MACHINE, (PASSED,)).status is S.PENDING_REVIEW


def test_what_no_gate_has_judged_is_not_approved_however_it_came_to_its_review() -> None:
    unjudged = msgspec.structs.replace(in_status(S.PENDING_REVIEW), gates=())
    with pytest.raises(TransitionError, match="no gate has judged its candidate"):
        take(unjudged, A.APPROVE, ANN, "looks good")
    torn = msgspec.structs.replace(LOST, gate="files", found=None)
    with pytest.raises(TransitionError, match="nobody may override files"):
        take(msgspec.structs.replace(unjudged, gates=(PASSED, torn)), A.APPROVE, ANN, "looks good")


def test_a_retired_one_may_serve_again_and_a_rejected_one_never() -> None:
    assert take(in_status(S.RETIRED), A.SERVE, ANN, "rolled back").status is S.SERVING
    put_away = take(in_status(S.REJECTED), A.RETIRE, ANN, "tidy")
    with pytest.raises(TransitionError, match="no person has approved it"):
        take(put_away, A.SERVE, ANN, "try it")


def test_numbers_that_are_none_are_left_out() -> None:
    record = take(in_status(S.FLAGGED), A.BEGIN, MACHINE, "", numbers={"a": math.nan, "b": math.inf, "c": 1})
    assert record.steps[-1].numbers == {"c": 1.0}


def test_findings_of_a_step_that_was_taken_already_are_those_of_then() -> None:
    record = in_status(S.TRAINING)
    assert lifecycle.curated(record, MACHINE, base_fingerprint="x", sample_checksum="y", numbers={}) is record
    failed = in_status(S.FAILED)
    assert lifecycle.failed(failed, MACHINE, "something else") is failed


class Lifecycle(RuleBasedStateMachine):
    """Anybody tries anything at any time."""

    @initialize()
    def raise_flag(self) -> None:
        self.record = lifecycle.flagged(flag(), "run", 0)
        self.now_ms = 0

    def _try(self, change: Callable[[], FineTune]) -> None:
        self.now_ms += 1
        before = self.record
        try:
            self.record = change()
        except TransitionError:
            assert self.record is before
        if self.record is not before:
            assert self.record.revision == before.revision + 1
            assert self.record.steps[:-1] == before.steps
            assert self.record.steps[-1].from_status is before.status

    @rule(
        action=st.sampled_from(sorted(A)),
        name=st.sampled_from(["ann", "bob", "", " "]),
        is_person=st.booleans(),
        why=st.sampled_from(["because", "", "\t"]),
        looked_at=st.none() | st.integers(1, 12),
    )
    def act(self, action: FineTuneAction, name: str, is_person: bool, why: str, looked_at: int | None) -> None:
        actor = Actor(name, self.now_ms, is_person=is_person)
        self._try(lambda: take(self.record, action, actor, why, revision=looked_at))

    @rule()
    def curate(self) -> None:
        self._try(
            lambda: lifecycle.curated(self.record, MACHINE, base_fingerprint=None, sample_checksum="s", numbers={})
        )

    @rule()
    def train(self) -> None:
        self._try(lambda: lifecycle.trained(self.record, MACHINE, candidate_fingerprint="c", numbers={}))

    @rule(verdicts=st.lists(st.sampled_from([PASSED, LOST, TORN]), max_size=2))
    def judge(self, verdicts: list[GateVerdict]) -> None:
        self._try(lambda: lifecycle.judged(self.record, MACHINE, tuple(verdicts)))

    @rule()
    def fail(self) -> None:
        self._try(lambda: lifecycle.failed(self.record, MACHINE, "a fault"))

    @invariant()
    def steps_lead_from_one_to_the_next(self) -> None:
        steps = self.record.steps
        assert steps[-1].to_status is self.record.status
        assert [step.to_status for step in steps[:-1]] == [step.from_status for step in steps[1:]]

    @invariant()
    def nothing_is_approved_or_serves_without_a_recorded_person(self) -> None:
        if self.record.status in (S.APPROVED, S.SERVING):
            approval = lifecycle.approval(self.record)
            assert approval is not None
            assert approval.is_person
            assert approval.by.strip()
            assert approval.why.strip()
            assert approval.from_status is S.PENDING_REVIEW

    @invariant()
    def nothing_is_reviewed_that_gates_or_a_person_have_not_let_through(self) -> None:
        if self.record.status is S.PENDING_REVIEW:
            last = self.record.steps[-1]
            assert last.action in (A.PASS, A.PROCEED)
            assert last.action is A.PASS or (last.is_person and last.why)
            assert last.from_status in (S.GATED, S.HALTED)

    @invariant()
    def nothing_is_reviewed_approved_or_serves_that_gates_have_not_judged(self) -> None:
        if self.record.status in (S.PENDING_REVIEW, S.APPROVED, S.SERVING):
            assert self.record.candidate_fingerprint is not None
            assert self.record.gates
            assert not not_overridable(self.record.gates)
            actions = [step.action for step in self.record.steps]
            begun = max(at for at, action in enumerate(actions) if action is A.BEGIN)
            assert {A.PASS, A.HALT} & set(actions[begun:])  # by those of this attempt

    @invariant()
    def whoever_is_answered_or_needs_a_person_is_no_longer_worked_on(self) -> None:
        assert not lifecycle.WORKING & (ANSWERED | NEEDS_PERSON)


Lifecycle.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestLifecycle = Lifecycle.TestCase
