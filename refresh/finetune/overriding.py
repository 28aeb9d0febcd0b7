"""Which gates of a candidate a person may override: those that came to a number that speaks for itself."""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.contracts import GateVerdict

INTEGRITY = ("files", "manifest", "base", "tokenizer", "codebook", "weights", "samples", "held_out", "unchanged")
"""Gates that nobody may override: what they refuse is not what was made, or says nothing about it."""


def not_overridable(verdicts: Iterable[GateVerdict]) -> tuple[str, ...]:
    """Name what failed and no person can let pass: integrity, and gates that came to no number.

    A person may weigh a number against a reason. There is nothing to weigh in what could not be measured, or is not
    what was measured: that is mended, and run again.

    Examples
    --------
    >>> low = GateVerdict(gate="recall", found=0.01, required=0.015, is_passed=False, sentence="")
    >>> torn = GateVerdict(gate="files", found=None, required=None, is_passed=False, sentence="")
    >>> not_overridable([low]), not_overridable([low, torn])
    ((), ('files',))
    """
    return tuple(
        verdict.gate
        for verdict in verdicts
        if not verdict.is_passed and (verdict.gate in INTEGRITY or verdict.found is None)
    )
