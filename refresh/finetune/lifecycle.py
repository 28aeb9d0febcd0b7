"""The way of a fine-tune, as pure transitions of its record.

::

    flagged ─► curating ─► training ─► gated ─► pending_review ─► approved ─► serving ─► retired
       ▲           └──────────┴─────────┬┘ │          ▲   │          └───────────────────▲ ▲
       │           rerun, proceed ◄─ failed │  proceed │   └► rejected ───────────────────┘ │
       └─ rerun ◄───────────────────── halted ─────────┘                    serving ◄───────┘ (rolled back to)

The machine goes as far as ``pending_review``, or to ``halted`` (a gate) or ``failed`` (a fault). From there: ``rerun``,
or a person with a reason lets it ``proceed``: past a gate to the review, and past a fault to the gates, once there is a
candidate that they can judge. Only a person approves or rejects; nothing is reviewed that gates have not judged, and
nothing serves that no person has approved. Taking a step that was taken already changes nothing; a step that does not
begin where the record is, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import msgspec

from refresh.finetune.overriding import not_overridable
from tidegate.contracts import (
    FineTune,
    FineTuneAction,
    FineTuneFlag,
    FineTuneStatus,
    FineTuneStep,
    GateVerdict,
)
from tidegate.errors import TransitionError

_S, _A = FineTuneStatus, FineTuneAction
_BEFORE_REVIEW = (_S.FLAGGED, _S.CURATING, _S.TRAINING, _S.GATED)
FROM: dict[FineTuneAction, tuple[FineTuneStatus, ...]] = {
    _A.BEGIN: (_S.FLAGGED,),
    _A.CURATED: (_S.CURATING,),
    _A.TRAINED: (_S.TRAINING,),
    _A.PASS: (_S.GATED,),
    _A.HALT: (_S.GATED,),
    _A.FAIL: (_S.CURATING, _S.TRAINING, _S.GATED),
    _A.RERUN: (_S.HALTED, _S.FAILED),
    _A.PROCEED: (_S.HALTED, _S.FAILED),
    _A.APPROVE: (_S.PENDING_REVIEW,),
    _A.REJECT: (*_BEFORE_REVIEW, _S.PENDING_REVIEW, _S.HALTED, _S.FAILED),
    _A.SERVE: (_S.APPROVED, _S.RETIRED),
    _A.RETIRE: (_S.APPROVED, _S.REJECTED, _S.SERVING),
}
"""Where each action may begin."""
TO: dict[FineTuneAction, FineTuneStatus] = {
    _A.FLAG: _S.FLAGGED,
    _A.BEGIN: _S.CURATING,
    _A.CURATED: _S.TRAINING,
    _A.TRAINED: _S.GATED,
    _A.PASS: _S.PENDING_REVIEW,
    _A.HALT: _S.HALTED,
    _A.FAIL: _S.FAILED,
    _A.PROCEED: _S.PENDING_REVIEW,
    _A.APPROVE: _S.APPROVED,
    _A.REJECT: _S.REJECTED,
    _A.SERVE: _S.SERVING,
    _A.RETIRE: _S.RETIRED,
}
"""Where each action leads; but ``rerun`` leads back to the step that failed, or to the beginning after a gate, and
``proceed`` after a fault to the gates."""
PERSONS_ONLY = frozenset({_A.PROCEED, _A.APPROVE, _A.REJECT})
NEEDS_PERSON = frozenset({_S.PENDING_REVIEW, _S.HALTED, _S.FAILED})
"""Where nothing goes on until a person has looked."""
ANSWERED = frozenset({_S.APPROVED, _S.REJECTED, _S.SERVING, _S.RETIRED})
"""Where a person has answered the flag."""
WORKING = frozenset({_S.CURATING, _S.TRAINING, _S.GATED})


@dataclass(frozen=True, slots=True)
class Actor:
    """Who takes a step, and when.

    Attributes
    ----------
    name : str         of a person, or of the process that does the work
    at_ms : int        wall clock, ms since the Unix epoch
    is_person : bool
    """

    name: str
    at_ms: int
    is_person: bool = False


def flagged(flag: FineTuneFlag, run_id: str, at_ms: int, *, by: str = "tidegate") -> FineTune:
    """Make the record of a flag that was just raised. The same flag is the same fine-tune.

    Examples
    --------
    >>> from tidegate.contracts import FineTuneReason
    >>> flag = FineTuneFlag(flag_id="r-1", window_end_ms=1, reason=FineTuneReason.AGE, numbers={"age_days": 40.0})
    >>> flagged(flag, "r", at_ms=2).status
    <FineTuneStatus.FLAGGED: 'flagged'>
    """
    step = FineTuneStep(
        action=_A.FLAG,
        from_status=None,
        to_status=_S.FLAGGED,
        by=by,
        is_person=False,
        at_ms=at_ms,
        why=flag.reason.value,
        numbers=_finite(flag.numbers),
    )
    return FineTune(fine_tune_id=flag.flag_id, run_id=run_id, status=_S.FLAGGED, flag=flag, steps=(step,))


def take(
    record: FineTune,
    action: FineTuneAction,
    actor: Actor,
    why: str,
    *,
    numbers: Mapping[str, float] | None = None,
    revision: int | None = None,
) -> FineTune:
    """Take one step; returns the record itself where it was taken already.

    Parameters
    ----------
    why : str               kept as it is; persons may not leave it out
    numbers : mapping, optional    what the step rests on; those that are not finite are left out
    revision : int, optional       what was looked at when this was decided; another one is refused

    Raises
    ------
    TransitionError
        If the step does not begin where the record is, or needs a person, a name or a reason; nothing changed.
    """
    if _was_taken(record, action, revision):
        return record
    _require_revision(record, action, revision)
    _require_actor(record, action, actor, why)
    _require_begin(record, action)
    to_status = leads_to(record, action)
    step = FineTuneStep(
        action=action,
        from_status=record.status,
        to_status=to_status,
        by=actor.name.strip(),
        is_person=actor.is_person,
        at_ms=actor.at_ms,
        why=why.strip(),
        numbers=_finite(numbers or {}),
    )
    return msgspec.structs.replace(
        record, status=to_status, steps=(*record.steps, step), revision=record.revision + 1, **_marks(record, action)
    )


def curated(
    record: FineTune,
    actor: Actor,
    *,
    base_fingerprint: str | None,
    sample_checksum: str,
    numbers: Mapping[str, float],
) -> FineTune:
    """Note that the samples are there, and which weights training starts from; raises as `take`."""
    why = f"samples {sample_checksum[:12]}"
    after = take(record, _A.CURATED, actor, why, numbers=numbers)
    return _noted(record, after, base_fingerprint=base_fingerprint, sample_checksum=sample_checksum)


def trained(record: FineTune, actor: Actor, *, candidate_fingerprint: str, numbers: Mapping[str, float]) -> FineTune:
    """Note that the candidate is there; raises as `take`."""
    after = take(record, _A.TRAINED, actor, f"candidate {candidate_fingerprint[:12]}", numbers=numbers)
    return _noted(record, after, candidate_fingerprint=candidate_fingerprint)


def judged(
    record: FineTune,
    actor: Actor,
    verdicts: tuple[GateVerdict, ...],
    *,
    bounds: Mapping[str, float] = MappingProxyType({}),
) -> FineTune:
    """Note what the gates say: on to a person's review, or a halt that names the gates; raises as `take`.

    No verdict at all is no pass.

    Parameters
    ----------
    bounds : mapping    those that gates were told to hold it against other than the defaults, by name: noted among the
                        step's numbers and in its words, since whoever reviews it has to know
    """
    if not verdicts:
        raise TransitionError("no gate has judged it", "Let the gates judge the candidate", place=record.fine_tune_id)
    lost = [verdict for verdict in verdicts if not verdict.is_passed]
    numbers = {verdict.gate: verdict.found for verdict in verdicts if verdict.found is not None}
    why = "; ".join(verdict.sentence for verdict in lost) or f"all {len(verdicts)} gates passed"
    if bounds:
        numbers |= {f"bound_{name}": bound for name, bound in bounds.items()}
        why += f" (with other bounds than the defaults: {', '.join(f'{name} {n:g}' for name, n in bounds.items())})"
    after = take(record, _A.HALT if lost else _A.PASS, actor, why, numbers=numbers)
    return _noted(record, after, gates=verdicts)


def failed(record: FineTune, actor: Actor, problem: str) -> FineTune:
    """Note a fault; raises as `take`."""
    return _noted(record, take(record, _A.FAIL, actor, problem), problem=problem)


def told(record: FineTune) -> FineTune:
    """Note that persons were told of all steps so far."""
    return msgspec.structs.replace(record, n_told_steps=len(record.steps), revision=record.revision + 1)


def leads_to(record: FineTune, action: FineTuneAction) -> FineTuneStatus:
    """Find where a step leads that may begin where the record is."""
    if action is _A.RERUN:
        return back_to(record)
    if action is _A.PROCEED and record.status is _S.FAILED:
        return _S.GATED  # a fault is no judgement: the gates have their say first
    return TO[action]


def back_to(record: FineTune) -> FineTuneStatus:
    """Find where a rerun goes on: at the step that failed, or at the beginning after a gate."""
    if record.status is _S.FAILED:
        return record.steps[-1].from_status or _S.FLAGGED
    return _S.FLAGGED


def approval(record: FineTune) -> FineTuneStep | None:
    """Find the step by which a person approved it; None where there is none."""
    steps = (step for step in record.steps if step.action is _A.APPROVE and step.is_person and step.by)
    return next(steps, None)


def _noted(before: FineTune, after: FineTune, **found: object) -> FineTune:
    """Add what a step has found; a step that was taken already found what it found then."""
    return before if after is before else msgspec.structs.replace(after, **found)


def _was_taken(record: FineTune, action: FineTuneAction, revision: int | None) -> bool:
    last = record.steps[-1].action
    if action is last:
        return revision in (None, record.revision, record.revision - 1)
    return action is _A.APPROVE and record.status is _S.SERVING and revision is None


def _require_revision(record: FineTune, action: FineTuneAction, revision: int | None) -> None:
    if revision is not None and revision != record.revision:
        raise TransitionError(
            f"it is at revision {record.revision} ({record.status}), and {revision} was looked at",
            "Look at it again, and decide on what it is now",
            place=f"{action} {record.fine_tune_id}",
        )


def _require_actor(record: FineTune, action: FineTuneAction, actor: Actor, why: str) -> None:
    place = f"{action} {record.fine_tune_id}"
    if not actor.name.strip():
        raise TransitionError("nobody is named", "Say who takes the step", place=place)
    if action in PERSONS_ONLY and not actor.is_person:
        raise TransitionError("only a person may do that", "Let a person decide", place=place)
    if actor.is_person and not why.strip():
        raise TransitionError("the reason is empty", "Say why, for those who look at it later", place=place)


def _require_begin(record: FineTune, action: FineTuneAction) -> None:
    place = f"{action} {record.fine_tune_id}"
    if record.status not in FROM.get(action, ()):
        wanted = ", ".join(FROM.get(action, ())) or "nothing"
        raise TransitionError(f"it is {record.status}", f"{action} begins where it is: {wanted}", place=place)
    if action is _A.PROCEED and record.candidate_fingerprint is None:
        found = record.steps[-1].from_status
        raise TransitionError(
            f"it failed while {found}, so there is no candidate to proceed with",
            "Mend the cause, then rerun it; or reject it",
            place=place,
        )
    if action is _A.APPROVE and not record.gates:
        raise TransitionError("no gate has judged its candidate", "Reject it: the next flag begins anew", place=place)
    if action in (_A.PROCEED, _A.APPROVE) and (closed := not_overridable(record.gates)):
        raise TransitionError(
            f"nobody may override {', '.join(closed)}: it is not what was made, or could not be measured",
            "Mend what the gate names, and let it run again: rerun",
            place=place,
        )
    if action is _A.SERVE and approval(record) is None:
        raise TransitionError("no person has approved it", "Approve it first", place=place)


def _marks(record: FineTune, action: FineTuneAction) -> dict[str, object]:
    if action not in (_A.RERUN, _A.PROCEED):
        return {}
    if record.status is _S.FAILED:
        return {"problem": None}
    if action is _A.PROCEED:
        return {}
    fresh = {"base_fingerprint": None, "sample_checksum": None, "candidate_fingerprint": None, "gates": ()}
    return {**fresh, "problem": None, "attempt": record.attempt + 1}


def _finite(numbers: Mapping[str, float]) -> dict[str, float]:
    """Leave out what JSON has no number for."""
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
