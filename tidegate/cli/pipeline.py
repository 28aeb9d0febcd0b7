"""One process, one pane after the other: measure → decide → refresh → publish → record.

The stream worker calls `Pipeline.on_pane` when a pane is closed and committed. Everything here is deterministic
in what the store holds, so a crash anywhere before the record is answered by doing the pane again:

1. Measure the window against its reference (`tidegate.cli.measuring`).
2. Let the policy plan (`tidegate.cli.deciding`).
3. Carry the plan out; publish the table if it changed and passes the gates: publishing twice is publishing once
   (`tidegate.cli.refreshing`).
4. Judge the weights; flag a fine-tune.
5. Record report, decision, result, the serving version and a flagged fine-tune in the store. Only now the next pane is
   counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stream.closing import PaneClosing
from stream.predictions import Predictions
from stream.store import RunStore
from stream.worker import StreamWorker
from tidegate.cli.deciding import Deciding
from tidegate.cli.flagging import fine_tune_of
from tidegate.cli.records import PaneRecord
from tidegate.cli.refreshing import Refreshing
from tidegate.cli.scoring import Scoring
from tidegate.contracts import encode


@dataclass(frozen=True, slots=True)
class PipelineParts:
    """What the pipeline is made of; `tidegate.cli.assembly` puts it together."""

    store: RunStore
    worker: StreamWorker
    deciding: Deciding
    refreshing: Refreshing
    scoring: Scoring


class Pipeline:
    """Answers closed panes. One pipeline a run.

    Parameters
    ----------
    parts
    last : the record of the pane that an earlier, interrupted process has answered last, if any
    on_record : called with each pane's record, once it is stored
    on_rows : called with the rows that a refresh has had answered so far, and the rows that it asked for
    amended : gives a record as it stands after the alerts that were answered since
    """

    def __init__(
        self,
        parts: PipelineParts,
        last: PaneRecord | None,
        on_record: Callable[[PaneRecord], None] = lambda _: None,
        on_rows: Callable[[int, int], None] | None = None,
        amended: Callable[[PaneRecord | None], PaneRecord | None] = lambda last: last,
    ) -> None:
        self._parts = parts
        self._on_record, self._on_rows, self._amended = on_record, on_rows, amended
        self._last = last

    def resume(self) -> Predictions:
        """Answer the pane that a crash left unanswered, if any; returns what serves now."""
        closed = self._parts.worker.unanswered_pane
        if closed is not None and (self._last is None or self._last.pane < closed.pane):
            return self.on_pane(closed)
        return self.serving()

    def serving(self) -> Predictions:
        """Give what serves now."""
        closed = self._parts.worker.unanswered_pane
        return self._parts.scoring.predictions(self._amended(self._last), closed.first_pane if closed else None)

    def on_pane(self, closed: PaneClosing) -> Predictions:
        """Answer one closed pane; the module's docstring numbers the steps."""
        deciding, refreshing = self._parts.deciding, self._parts.refreshing
        last = self._amended(self._last)
        report = deciding.measuring.report(closed.pane, closed.first_pane)  # 1
        record = deciding.begin(closed, last)
        record, planned = deciding.decide(closed, record, report, last)  # 2
        result = None
        if planned is not None and planned.asks_for_refresh:
            result = refreshing.execute(record, planned, self._on_rows)  # 3
        record = deciding.conclude(record, result, last)  # 4
        now_ms = refreshing.clock.now_ms()
        self._parts.store.record_pane(closed.pane, encode(record), fine_tune_of(record, now_ms))  # 5
        self._last = record
        self._on_record(record)
        return self._parts.scoring.predictions(record, closed.first_pane)
