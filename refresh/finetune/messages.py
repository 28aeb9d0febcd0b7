"""What is sent and answered over HTTP on fine-tunes, and under which path."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tidegate.contracts import FineTune

PREFIX = "/v1/finetunes"


class DecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a decision: who takes it, and why. ``revision`` is what was looked at: another one is refused."""

    by: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=4_000, pattern=r"\S")]
    revision: Annotated[int, msgspec.Meta(ge=1)] | None = None


class FineTuneList(msgspec.Struct, frozen=True):
    """All fine-tunes, or those that were asked for: the latest flag first."""

    fine_tunes: list[FineTune]


class FineTuneRefusal(msgspec.Struct, frozen=True):
    """Body of every answer that is not a 2xx: what was found, what to do, and which part of the request it is about."""

    error: str
    mend: str
    place: str | None = None
