"""What persons decide is checked, recorded, and carried out, in that order."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from refresh.finetune.book import changed
from refresh.finetune.desk import Desk
from refresh.finetune.lifecycle import Actor, take
from tests.fine_tunes import MACHINE, MemoryBook, in_status
from tidegate.clock import ManualClock
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus
from tidegate.errors import ConflictError, EngineError, TransitionError, UnknownFineTuneError

S, A = FineTuneStatus, FineTuneAction


@dataclass
class Hands:
    """Checks candidates and carries decisions out, or fails to."""

    book: MemoryBook
    error: Exception | None = None
    checked: list[str] = field(default_factory=list)
    carried_out: list[tuple[FineTuneStatus, str]] = field(default_factory=list)

    def check(self, record: FineTune) -> None:
        self.checked.append(record.status)

    def carry_out(self, record: FineTune, actor: Actor) -> FineTune:
        self.carried_out.append((record.status, actor.name))
        if self.error is not None:
            raise self.error
        if record.status is not S.APPROVED:
            return record
        return changed(self.book, record.fine_tune_id, lambda now: take(now, A.SERVE, MACHINE, "weights 2"))

    def desk(self) -> Desk:
        return Desk(self.book, ManualClock(9), self.check, self.carry_out)


def hands(status: FineTuneStatus) -> Hands:
    return Hands(MemoryBook(in_status(status)))


def approve(with_hands: Hands, by: str = "ann") -> FineTune:
    return with_hands.desk().decide("run-1", A.APPROVE, by=by, reason="good")


def test_what_is_approved_is_checked_first_and_serves_then() -> None:
    given = hands(S.PENDING_REVIEW)
    record = approve(given)
    assert record.status is S.SERVING
    assert (given.checked, given.carried_out) == (["pending_review"], [(S.APPROVED, "ann")])
    assert [(step.action, step.by, step.at_ms) for step in record.steps[-2:-1]] == [(A.APPROVE, "ann", 9)]


def test_approving_again_is_told_who_did_and_is_not_checked_again() -> None:
    given = hands(S.PENDING_REVIEW)
    first = approve(given)
    assert approve(given, "bob") == first
    assert given.checked == ["pending_review"]


def test_an_approval_that_could_not_be_carried_out_stands_and_is_carried_out_when_it_is_repeated() -> None:
    given = hands(S.PENDING_REVIEW)
    given.error = EngineError("the disk is full", "Free space")
    with pytest.raises(EngineError):
        approve(given)
    assert given.desk().show("run-1").status is S.APPROVED
    given.error = None
    assert approve(given).status is S.SERVING


@pytest.mark.parametrize(("action", "status"), [(A.APPROVE, S.PENDING_REVIEW), (A.PROCEED, S.HALTED)])
def test_a_candidate_that_is_not_what_was_judged_is_neither_approved_nor_let_proceed(
    action: FineTuneAction, status: FineTuneStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = hands(status)

    def refuse(_: FineTune) -> None:
        raise EngineError("a file was changed", "Run it again")

    monkeypatch.setattr(given, "check", refuse)
    with pytest.raises(EngineError, match="a file was changed"):
        given.desk().decide("run-1", action, by="ann", reason="good")
    assert given.desk().show("run-1").status is status


@pytest.mark.parametrize("action", [A.REJECT, A.RERUN])
def test_what_needs_no_candidate_is_decided_without_one(action: FineTuneAction) -> None:
    given = hands(S.HALTED)
    given.desk().decide("run-1", action, by="ann", reason="why")
    assert given.checked == []


def test_an_impossible_decision_is_refused_before_anything_is_looked_at() -> None:
    given = hands(S.FLAGGED)
    with pytest.raises(TransitionError, match="it is flagged"):
        approve(given)
    with pytest.raises(UnknownFineTuneError):
        given.desk().decide("run-9", A.REJECT, by="ann", reason="why")
    assert (given.checked, given.carried_out) == ([], [])


def test_lists_are_by_run_and_status() -> None:
    book = MemoryBook(in_status(S.FLAGGED, 1), in_status(S.HALTED, 2), in_status(S.HALTED, 3, "other"))
    desk = Desk(book)
    assert [each.fine_tune_id for each in desk.list()] == ["other-3", "run-2", "run-1"]
    assert [each.fine_tune_id for each in desk.list("run")] == ["run-2", "run-1"]
    assert [each.fine_tune_id for each in desk.list("run", S.HALTED)] == ["run-2"]


def test_a_decision_is_taken_on_what_is_there_when_others_change_it_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    given = hands(S.HALTED)
    put, n_tries = given.book.put, []

    def overtaken(record: FineTune) -> bool:
        n_tries.append(record.revision)
        if len(n_tries) == 1:
            put(take(in_status(S.HALTED), A.RERUN, MACHINE, "newer samples"))
        return put(record)

    monkeypatch.setattr(given.book, "put", overtaken)
    record = given.desk().decide("run-1", A.REJECT, by="ann", reason="no")
    assert [step.action for step in record.steps[-2:]] == [A.RERUN, A.REJECT]
    monkeypatch.setattr(given.book, "put", lambda _: False)
    with pytest.raises(ConflictError, match="it is changed all the time"):
        given.desk().decide("run-1", A.RETIRE, by="ann", reason="no")
