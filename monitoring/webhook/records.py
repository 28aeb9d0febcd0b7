"""What the service answers."""

from __future__ import annotations

import msgspec

MAX_BODY_BYTES = 1 << 20
PATH = "/alerts"


class AlertsTaken(msgspec.Struct, frozen=True):
    """Body of a 202: alerts of the delivery by what became of them.

    ``open`` ones ask for a refresh each; ``suppressed`` ones came within the cooldown of one before; ``unneeded`` ones
    came after the run's end; ``repeated`` ones are known from an earlier delivery; ``resolved`` ones have ended;
    ``truncated`` ones Alertmanager left out.
    """

    open: int = 0
    suppressed: int = 0
    unneeded: int = 0
    repeated: int = 0
    resolved: int = 0
    truncated: int = 0


class AlertRefusal(msgspec.Struct, frozen=True):
    """Body of every other answer: what was found, and what to do."""

    error: str
    mend: str
