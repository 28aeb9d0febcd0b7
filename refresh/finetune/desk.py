"""Where persons decide on fine-tunes, whichever way they come: the command line and HTTP ask the same desk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from refresh.finetune.book import FineTuneBook, changed, known
from refresh.finetune.lifecycle import Actor, take
from tidegate.clock import Clock, SystemClock
from tidegate.contracts import FineTune, FineTuneAction, FineTuneStatus

DECISIONS = (
    FineTuneAction.APPROVE,
    FineTuneAction.REJECT,
    FineTuneAction.PROCEED,
    FineTuneAction.RERUN,
    FineTuneAction.RETIRE,
)
"""What a person may decide."""
_NEEDS_CANDIDATE = (FineTuneAction.APPROVE, FineTuneAction.PROCEED)


@dataclass(frozen=True, slots=True)
class Desk:
    """Shows fine-tunes and takes decisions on them.

    Attributes
    ----------
    check_candidate : called before one is approved or proceeds; raises where its bytes are not those that were judged
    carry_out : called with what was decided, again if the decision is repeated: puts what is approved into service;
        gives back what is recorded then
    """

    book: FineTuneBook
    clock: Clock = field(default_factory=SystemClock)
    check_candidate: Callable[[FineTune], None] = lambda _: None
    carry_out: Callable[[FineTune, Actor], FineTune] = lambda record, _: record

    def list(self, run_id: str | None = None, status: FineTuneStatus | None = None) -> list[FineTune]:
        """Return the fine-tunes, the latest flag first.

        Parameters
        ----------
        run_id, status : those of this run, in this status; default: all
        """
        return [each for each in self.book.list(run_id) if status is None or each.status is status]

    def show(self, fine_tune_id: str) -> FineTune:
        """Return one.

        Raises
        ------
        UnknownFineTuneError
            If there is no such fine-tune.
        """
        return known(self.book, fine_tune_id)

    def decide(
        self, fine_tune_id: str, action: FineTuneAction, *, by: str, reason: str, revision: int | None = None
    ) -> FineTune:
        """Take a person's decision; deciding the same twice changes nothing.

        1. Check the candidate, where the decision is for it.
        2. Record who decided what, when and why: from here on it is decided.
        3. Carry it out. A crash between the two is answered by deciding the same again.

        Parameters
        ----------
        revision : what the person looked at; another one that is there by now is refused. Default: whatever is there

        Raises
        ------
        UnknownFineTuneError
            If there is no such fine-tune.
        TransitionError
            If it is not where that can be decided, or name or reason are empty.
        TidegateError
            If the candidate is not what was judged, or the decision could not be carried out: it stands all the same.
        """
        actor = Actor(by, self.clock.now_ms(), is_person=True)
        before = known(self.book, fine_tune_id)
        if action in _NEEDS_CANDIDATE and take(before, action, actor, reason, revision=revision) is not before:
            self.check_candidate(before)  # 1
        after = changed(  # 2
            self.book, fine_tune_id, lambda record: take(record, action, actor, reason, revision=revision)
        )
        return self.carry_out(after, actor)  # 3
