"""Fine-tunes for tests: a flag, a book in memory, records brought to any status."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from refresh.finetune import lifecycle
from refresh.finetune.book import FineTuneBook
from refresh.finetune.lifecycle import Actor
from tidegate.contracts import (
    FineTune,
    FineTuneAction,
    FineTuneFlag,
    FineTuneReason,
    FineTuneStatus,
    GateVerdict,
)

MACHINE = Actor("tidegate@host:1", 1_000)
ANN = Actor("ann", 2_000, is_person=True)
PASSED = GateVerdict(gate="recall", found=0.3, required=0.015, is_passed=True, sentence="recall 0.30, at least 0.015")
LOST = GateVerdict(
    gate="exact_match", found=0.4, required=0.9, is_passed=False, sentence="40 % of answers match, at least 90 %"
)


def flag(number: int = 1, run_id: str = "run") -> FineTuneFlag:
    """Give the flag of a window."""
    return FineTuneFlag(
        flag_id=f"{run_id}-{number}", window_end_ms=number, reason=FineTuneReason.HIT_RATE, numbers={"hit_rate": 0.2}
    )


_STEPS: tuple[Callable[[FineTune], FineTune], ...] = (
    lambda it: lifecycle.take(it, FineTuneAction.BEGIN, MACHINE, "attempt 1"),
    lambda it: lifecycle.curated(it, MACHINE, base_fingerprint="base", sample_checksum="samples", numbers={}),
    lambda it: lifecycle.trained(it, MACHINE, candidate_fingerprint="candidate", numbers={"recall": 0.3}),
    lambda it: lifecycle.judged(it, MACHINE, (PASSED,)),
    lambda it: lifecycle.take(it, FineTuneAction.APPROVE, ANN, "looks good"),
    lambda it: lifecycle.take(it, FineTuneAction.SERVE, MACHINE, "weights 2"),
    lambda it: lifecycle.take(it, FineTuneAction.RETIRE, MACHINE, "another one serves"),
)
_N_STEPS = {
    FineTuneStatus.FLAGGED: 0,
    FineTuneStatus.CURATING: 1,
    FineTuneStatus.TRAINING: 2,
    FineTuneStatus.GATED: 3,
    FineTuneStatus.PENDING_REVIEW: 4,
    FineTuneStatus.APPROVED: 5,
    FineTuneStatus.SERVING: 6,
    FineTuneStatus.RETIRED: 7,
}


def in_status(status: FineTuneStatus, number: int = 1, run_id: str = "run") -> FineTune:
    """Bring a fine-tune to a status, the usual way."""
    record = lifecycle.flagged(flag(number, run_id), run_id, 500)
    if status is FineTuneStatus.REJECTED:
        return lifecycle.take(record, FineTuneAction.REJECT, ANN, "not now")
    if status is FineTuneStatus.FAILED:
        return lifecycle.failed(in_status(FineTuneStatus.TRAINING, number, run_id), MACHINE, "the disk is full")
    if status is FineTuneStatus.HALTED:
        return lifecycle.judged(in_status(FineTuneStatus.GATED, number, run_id), MACHINE, (PASSED, LOST))
    for step in _STEPS[: _N_STEPS[status]]:
        record = step(record)
    return record


def keep(book: FineTuneBook, record: FineTune) -> None:
    """Put a record into a book that has not seen it on its way."""
    for revision in range(1, record.revision + 1):
        assert book.put(msgspec.structs.replace(record, revision=revision))


class MemoryBook:
    """A `FineTuneBook` without a store."""

    def __init__(self, *records: FineTune) -> None:
        self._records = {record.fine_tune_id: record for record in records}

    def list(self, run_id: str | None = None) -> list[FineTune]:
        """Return all, or those of a run."""
        found = [each for each in self._records.values() if run_id in (None, each.run_id)]
        return sorted(found, key=lambda each: (-each.flag.window_end_ms, each.fine_tune_id))

    def get(self, fine_tune_id: str) -> FineTune | None:
        """Read one."""
        return self._records.get(fine_tune_id)

    def put(self, record: FineTune) -> bool:
        """Write the next revision."""
        known = self._records.get(record.fine_tune_id)
        if record == known:
            return True
        if record.revision != (known.revision if known else 0) + 1:
            return False
        self._records[record.fine_tune_id] = record
        return True
