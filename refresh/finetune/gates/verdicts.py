"""Verdicts, and how a gate comes to one whatever happens in it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from refresh.finetune.gates.rows import quoted
from tidegate.contracts import GateVerdict
from tidegate.errors import TidegateError

_ERROR_CHARACTERS = 400


def blocked(gate: str, sentence: str) -> GateVerdict:
    """Refuse for what is not a number: it cannot be judged, or is not what it says."""
    return GateVerdict(gate=gate, found=None, required=None, is_passed=False, sentence=sentence)


def whole(gate: str, sentence: str) -> GateVerdict:
    """Say that nothing is wrong where there is no number to it."""
    return GateVerdict(gate=gate, found=None, required=None, is_passed=True, sentence=sentence)


def at_least(gate: str, found: float, required: float, sentence: str) -> GateVerdict:
    """Pass what is not below the bound; what is not a number does not pass."""
    return GateVerdict(gate=gate, found=found, required=required, is_passed=bool(found >= required), sentence=sentence)


def at_most(gate: str, found: float, required: float, sentence: str) -> GateVerdict:
    """Pass what is not above the bound; what is not a number does not pass."""
    return GateVerdict(gate=gate, found=found, required=required, is_passed=bool(found <= required), sentence=sentence)


def verdict_of(gate: str, judge: Callable[[], GateVerdict], limit_seconds: float) -> GateVerdict:
    """Ask a gate. One that raises, takes too long or says nothing sensible is a block, never a pass.

    The gate goes on a thread of its own, so that one that hangs can be left behind: the process ends without it.
    """
    said: list[object] = []

    def run() -> None:
        try:
            said.append(judge())
        except BaseException as error:  # whatever it is, SystemExit among them: it must not pass
            said.append(error)

    thread = threading.Thread(target=run, name=f"gate {gate}", daemon=True)
    thread.start()
    thread.join(limit_seconds)
    if not said:
        return blocked(gate, f"the gate came to no verdict within {limit_seconds:g} seconds")
    return _sound(gate, said[0])


def _sound(gate: str, said: object) -> GateVerdict:
    if isinstance(said, TidegateError):
        return blocked(gate, quoted_error(said))
    if isinstance(said, BaseException):
        return blocked(gate, f"the gate itself failed: {type(said).__name__}: {quoted_error(said)}")
    if not isinstance(said, GateVerdict) or said.gate != gate or not isinstance(said.is_passed, bool):
        return blocked(gate, f"the gate returned {quoted(repr(said))}, not a verdict of its own")
    if said.is_passed and said.found is not None and not math.isfinite(said.found):
        return blocked(gate, f"the gate let {said.found} pass, which is no number")
    return said


def quoted_error(error: BaseException) -> str:
    """Write an error's message on one line, cut short: it may hold whatever a model or a file says."""
    plain = "".join(each for each in " ".join(str(error).split()) if each.isprintable())
    return plain[:_ERROR_CHARACTERS] or "no message"
