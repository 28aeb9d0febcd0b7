"""Decisions of the policy at the ends of panes, with what they rest on."""

from __future__ import annotations

import msgspec

from tidegate.contracts.fine_tunes import FineTuneFlag
from tidegate.contracts.orders import RefreshOrder


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy decided at one pane's end, with the inputs it looked at."""

    run_id: str
    window_end_ms: int
    policy: str
    inputs: dict[str, float | int | bool | None]
    order: RefreshOrder | None
    flag: FineTuneFlag | None
    explanation: str
