"""Alerts of a run in one process: answered between its batches, by a thread that takes turns with the reading.

A topic that is followed may yield nothing for hours, so the thread that reads cannot look. What was read so far is
committed first: the order is planned on the newest counts. Reading waits meanwhile, as it does at a pane's end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tidegate.cli.alert_answering import AlertController, AlertRefresher
from tidegate.cli.alert_assembly import alert_planning_of
from tidegate.cli.alert_planning import AlertDecision, AnsweredPanes
from tidegate.cli.pipeline import Pipeline, PipelineParts
from tidegate.cli.records import PaneRecord
from tidegate.clock import Clock
from tidegate.config import RunSettings
from tidegate.contracts import AlertStatus, RefreshResult
from tidegate.errors import StoreUnavailableError

_LOG = logging.getLogger("tidegate.alerts")
_LOOK_SECONDS = 0.5
OnAnswer = Callable[[AlertDecision, RefreshResult], None]


class RunAlerts:
    """Answers the alerts of a run.

    Parameters
    ----------
    settings, parts, clock : of the run
    on_answer : told what became of each
    on_rows : called with the rows that a refresh has had answered so far, and the rows that it asked for
    """

    def __init__(
        self,
        settings: RunSettings,
        parts: PipelineParts,
        clock: Clock,
        on_answer: OnAnswer = lambda _decision, _result: None,
        on_rows: Callable[[int, int], None] | None = None,
    ) -> None:
        self._worker = parts.worker
        planning = alert_planning_of(settings, parts.deciding)
        self.book = planning.book
        self._panes = AnsweredPanes(self.book)
        self._controller = AlertController(planning, clock)
        self._refresher = AlertRefresher(planning, parts.refreshing, clock, on_result=on_answer, on_rows=on_rows)

    def amended(self, record: PaneRecord | None) -> PaneRecord | None:
        """Give a pane's record as it stands after the alerts that were answered since."""
        return self._panes.amended(record)

    def all_amended(self, records: Sequence[PaneRecord]) -> list[PaneRecord]:
        """Give the records of all panes, the last one as it stands after the alerts that were answered since."""
        last = self.amended(records[-1]) if records else None
        return [*records[:-1], *([] if last is None else [last])]

    def finish_order(self) -> None:
        """Carry the order out that a crash has left open, if any: before the next pane is answered."""
        request = self.book.next()
        if request is not None and request.status is AlertStatus.ORDERED:
            self._refresher.advance()

    def look(self, pipeline: Pipeline) -> None:
        """Answer all requests that there are.

        Raises
        ------
        TidegateError
            Whatever kept one from being answered. The worker has failed with it then, but where only nobody could look.
        """
        if self.book.next() is None:
            return
        with self._worker.turn:
            try:
                self._worker.checkpoint()
                while self._controller.advance() or self._refresher.advance():
                    pass
                self._worker.score_with(pipeline.serving())
            except BaseException as error:
                self._worker.fail(error)
                raise

    @contextmanager
    def answering(self, pipeline: Pipeline, on_failure: Callable[[], None]) -> Iterator[None]:
        """Look again and again while the block lasts.

        Parameters
        ----------
        on_failure : called when an answer failed for good: the worker raises it once it has a turn, or its source ends
        """
        stop = threading.Event()

        def look_until_stopped() -> None:
            while not stop.wait(_LOOK_SECONDS):
                try:
                    self.look(pipeline)
                except BaseException as error:
                    if isinstance(error, StoreUnavailableError) and not self._worker.has_failed:
                        _LOG.warning("the store is away: %s", error)
                        continue
                    on_failure()
                    return

        thread = threading.Thread(target=look_until_stopped, name="tidegate-alerts", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
