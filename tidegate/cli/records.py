"""What a run keeps of each closed pane, beside its counts."""

from __future__ import annotations

import msgspec

from refresh.evidence import Memory
from refresh.fine_tune_flag import FineTuneState, FlagAnswer
from refresh.policies import PolicyState
from stream.closing import PaneClosing
from stream.drift.course import CourseState
from tidegate.contracts import Decision, DriftReport, RefreshResult


class PaneRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Report, decision and result of one pane's end, and what serves after it.

    ``table_version`` is None before the first table, ``model`` None where the engine has no weights of this run.
    ``n_clusters`` had a name when the pane was decided on; ``memory`` and ``policy_state`` are what the evidence and
    the policy go on with at the next pane. ``weights`` is the version that answers (`refresh.weights`), None for those
    that the run began with; it has since ``weights_since_pane``. ``asks_anew`` says that rows which older weights
    answered still serve.
    """

    pane: int
    window_end_ms: int
    report: DriftReport | None = None
    since_fine_tune: DriftReport | None = None
    decision: Decision | None = None
    result: RefreshResult | None = None
    table_version: int | None = None
    model: str | None = None
    weights: int | None = None
    weights_since_pane: int | None = None
    asks_anew: bool = False
    fine_tune: FineTuneState | None = None
    flag_answer: FlagAnswer | None = None
    """What a person had answered to the open flag, where that was seen at this pane."""
    course: CourseState | None = None
    """What the detector remembers after this pane; what it said of it is in the report."""
    n_clusters: int = 0
    memory: Memory | None = None
    policy_state: PolicyState | None = None

    @property
    def weights_version(self) -> int | None:
        """Version of the weights that answer, 0 for those that the run began with; None where it has none."""
        return None if self.model is None else self.weights or 0

    @property
    def weights_since_ms(self) -> int | None:
        """End of the pane from which on the weights answer; None for those that the run began with."""
        if self.weights_since_pane is None:
            return None
        pane_ms = self.window_end_ms // (self.pane + 1)  # panes align to the epoch
        return (self.weights_since_pane + 1) * pane_ms


class PaneReport(msgspec.Struct, frozen=True, kw_only=True):
    """A closed pane as the evaluator found it; ``report`` is None where there is nothing to compare with yet."""

    pane: int
    first_pane: int
    is_last: bool
    report: DriftReport | None

    @property
    def closing(self) -> PaneClosing:
        """The pane without what was measured."""
        return PaneClosing(self.pane, self.first_pane, self.is_last)


class PaneDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A pane's record as far as the controller has it, and whether a refresher is asked for the rest."""

    record: PaneRecord
    asks_for_refresh: bool


def decode_record(body: bytes) -> PaneRecord:
    """Read what `tidegate.contracts.encode` wrote."""
    return msgspec.json.decode(body, type=PaneRecord)
