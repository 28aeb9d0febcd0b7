"""Planning for alerts: orders between two panes, on the newest counts.

An alert's order rests on the record of the pane that was answered last, on what alerts before it have changed since
(`AnsweredPanes`), and on the counts of open panes as they were when it was decided. These are kept with it: so the
refresher plans the same order again, and so does whoever replays it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from refresh.policies import Policy
from stream.alert_book import AlertBook, AlertRequest
from stream.closing import PaneClosing
from stream.ledger import RECORDS, Ledger
from stream.newest_counts import NewestReader
from tidegate.cli.deciding import Deciding, Planned
from tidegate.cli.history import History
from tidegate.cli.measuring import Measuring
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.contracts import Decision, RefreshResult
from tidegate.counts import BucketedCounts

PolicyOfAlert = Callable[[int, str], Policy]
"""Makes the policy that plans for a request, by its number and the alert's name."""


class AlertDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided on an alert.

    ``record`` is that of the pane that was answered last with what serves now and the decision, but without the pane's
    reports, which are in its own record.
    """

    run_id: str
    number: int
    alert: str
    policy: str
    pane: int
    first_pane: int
    decided_ms: int
    record: PaneRecord

    @property
    def closing(self) -> PaneClosing:
        """The pane that was answered last."""
        return PaneClosing(self.pane, self.first_pane, is_last=False)


def decision_of(request: AlertRequest) -> AlertDecision:
    """Read the decision on a request that has one."""
    assert request.decision is not None
    return msgspec.json.decode(request.decision, type=AlertDecision)


def result_of(request: AlertRequest) -> RefreshResult:
    """Read what became of a request's order, where that is known."""
    assert request.result is not None
    return msgspec.json.decode(request.result, type=RefreshResult)


def with_alert(record: PaneRecord, result: RefreshResult) -> PaneRecord:
    """Give a pane's record as it stands after an alert's order: what serves now, and the calls that were spent."""
    state = record.policy_state
    if state is not None and result.llm_calls:
        state = msgspec.structs.replace(state, calls=(*state.calls, (record.pane, result.llm_calls)))
    version = result.table_version or record.table_version
    return msgspec.structs.replace(record, table_version=version, policy_state=state)


@dataclass(frozen=True, slots=True)
class AnsweredPanes:
    """Records of panes, as they stand after the alerts that were answered since."""

    book: AlertBook

    def amended(self, record: PaneRecord | None) -> PaneRecord | None:
        """Fold in what alerts have changed after the record's pane and before the next one."""
        for request in [] if record is None else self.book.answered(record.pane):
            assert record is not None
            record = with_alert(record, result_of(request))
        return record

    def n_answered(self, pane: int) -> int:
        """How many alerts were answered after `pane` and before the next one."""
        return len(self.book.answered(pane))


@dataclass(frozen=True, slots=True)
class AlertPlanning:
    """Plans for alerts, and plans the same again.

    Attributes
    ----------
    ledger, book       of the run
    deciding           of the run: everything but policy and counts is taken from it
    policy_of          what plans
    """

    ledger: Ledger
    book: AlertBook
    deciding: Deciding
    policy_of: PolicyOfAlert

    def plan(self, decision: AlertDecision, newest: BucketedCounts) -> Planned:
        """Plan on what `decision` rests on.

        Raises
        ------
        RequestError
            If there is no such policy.
        TableError
            If the table that served then cannot be read.
        """
        measuring = self.measuring(decision.pane, newest)
        deciding = replace(
            self.deciding,
            measuring=measuring,
            history=History(measuring.reader, measuring.window_panes),
            policy=self.policy_of(decision.number, decision.alert),
        )
        record = self.begun(decision)
        return deciding.plan(decision.closing, record, self._before(record))

    def measuring(self, pane: int, newest: BucketedCounts) -> Measuring:
        """Measure windows that end with `pane` and what is newer."""
        reader = self.deciding.measuring.reader
        return replace(self.deciding.measuring, reader=NewestReader(reader.database, reader.run_id, pane, newest))

    def begun(self, decision: AlertDecision) -> PaneRecord:
        """Give the decision's record with the reports of its pane."""
        of_pane = self.record(decision.pane)
        if of_pane is None:
            return decision.record
        return msgspec.structs.replace(decision.record, report=of_pane.report, since_fine_tune=of_pane.since_fine_tune)

    def record(self, pane: int) -> PaneRecord | None:
        """Read the record of a pane."""
        body = self.ledger.get(RECORDS, pane)
        return None if body is None else decode_record(body)

    @property
    def first_pane(self) -> int:
        """The run's first pane. A run of one process does not say so, but keeps the records of all its panes.

        Only for a run that has answered a pane.
        """
        first_pane = self.ledger.state().first_pane
        first_pane = self.ledger.first_pane_of(RECORDS) if first_pane is None else first_pane
        assert first_pane is not None
        return first_pane

    def _before(self, record: PaneRecord) -> PaneRecord:
        """Give what the plan goes on from: evidence up to the pane before, the policy's state after this one.

        What earlier orders brought is judged by whole panes: the run itself has done so at this pane's end, so there is
        no order to be judged here.
        """
        pane_ms = self.deciding.measuring.pane_ms
        known = self.record(record.pane - 1)
        before = known or PaneRecord(pane=record.pane - 1, window_end_ms=record.window_end_ms - pane_ms)
        return msgspec.structs.replace(before, policy_state=record.policy_state, decision=None, result=None)


def decided(decision: AlertDecision, planned: Planned, newest: BucketedCounts) -> AlertDecision:
    """Write a plan, and what it rests on, into the decision that it was made for."""
    begun = decision.record
    record = msgspec.structs.replace(
        begun,
        decision=Decision(
            run_id=decision.run_id,
            window_end_ms=begun.window_end_ms,
            policy=decision.policy,
            inputs={
                **planned.plan.inputs,
                "table_version": begun.table_version,
                "open_transitions": newest.total,
            },
            order=planned.plan.order,
            flag=None,
            explanation=planned.plan.explanation,
        ),
    )
    return msgspec.structs.replace(decision, record=record)
