"""Fine-tunes: the flag that asks for new weights, and every step from it to their end."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tidegate.contracts.results import GateVerdict


class FineTuneReason(StrEnum):
    """Why new weights are asked for (design: deciding what is worth it)."""

    HIT_RATE = "hit_rate_below_level"
    DRIFT = "drift_since_fine_tune"
    AGE = "weights_too_old"


class FineTuneFlag(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded, reasoned request for new weights, that a person approves or rejects."""

    flag_id: str
    window_end_ms: int
    reason: FineTuneReason
    numbers: dict[str, float]


class FineTuneStatus(StrEnum):
    """How far a fine-tune has come (docs/finetunes.md)."""

    FLAGGED = "flagged"  # asked for, by drift or the hit rate; nothing is done yet
    CURATING = "curating"  # samples are being taken from the latest windows
    TRAINING = "training"
    GATED = "gated"  # trained; the gates are judging the candidate
    PENDING_REVIEW = "pending_review"  # a person decides
    APPROVED = "approved"
    REJECTED = "rejected"
    SERVING = "serving"
    RETIRED = "retired"
    HALTED = "halted"  # a gate was not passed
    FAILED = "failed"  # a fault, on the way to the review


class FineTuneAction(StrEnum):
    """What moves a fine-tune on."""

    FLAG = "flag"
    BEGIN = "begin"
    CURATED = "curated"
    TRAINED = "trained"
    PASS = "pass"
    HALT = "halt"
    FAIL = "fail"
    RERUN = "rerun"
    PROCEED = "proceed"  # a person goes on in spite of a gate
    APPROVE = "approve"
    REJECT = "reject"
    SERVE = "serve"
    RETIRE = "retire"


class FineTuneStep(msgspec.Struct, frozen=True, kw_only=True, rename={"from_status": "from", "to_status": "to"}):
    """One step of a fine-tune: who took it, when, why, and the numbers that it rests on."""

    action: FineTuneAction
    from_status: FineTuneStatus | None
    """None for the first step."""
    to_status: FineTuneStatus
    by: str
    is_person: bool
    at_ms: int
    why: str
    numbers: dict[str, float] = {}


class FineTune(msgspec.Struct, frozen=True, kw_only=True):
    """One fine-tune from its flag to its end.

    Changed by compare-and-set on ``revision``. Fingerprints and checksums are None until there is what they are of;
    ``gates`` are those of the candidate, empty before it was judged.
    """

    fine_tune_id: str
    run_id: str
    status: FineTuneStatus
    flag: FineTuneFlag
    steps: tuple[FineTuneStep, ...]
    revision: int = 1
    attempt: int = 1
    """Counts up when it is begun anew after a gate; what the attempt before made is kept aside."""
    base_fingerprint: str | None = None
    """Weights that the training starts from."""
    sample_checksum: str | None = None
    candidate_fingerprint: str | None = None
    gates: tuple[GateVerdict, ...] = ()
    problem: str | None = None
    """What went wrong, where it failed."""
    n_told_steps: int = 0
    """Steps that persons were told of by the webhook."""
