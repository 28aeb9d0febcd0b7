"""What a run keeps of each closed pane, beside its counts."""

from __future__ import annotations

import msgspec

from refresh.fine_tune_flag import FineTuneState
from tidegate.contracts import Decision, DriftReport, RefreshResult


class PaneRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Report, decision and result of one pane's end, and what serves after it.

    ``table_version`` is None before the first table, ``model`` None where the engine has no weights of this run.
    """

    pane: int
    window_end_ms: int
    report: DriftReport | None = None
    since_fine_tune: DriftReport | None = None
    decision: Decision | None = None
    result: RefreshResult | None = None
    table_version: int | None = None
    model: str | None = None
    fine_tune: FineTuneState | None = None


def decode_record(body: bytes) -> PaneRecord:
    """Read what `tidegate.contracts.encode` wrote."""
    return msgspec.json.decode(body, type=PaneRecord)
