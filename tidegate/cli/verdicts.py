"""What the workers' gate knows of decisions: the records in the store, turned into what scores the next pane."""

from __future__ import annotations

from stream.alert_book import AlertBook
from stream.ledger import RECORDS, Ledger
from stream.predictions import Predictions, no_predictions
from stream.run_reader import RunState
from tidegate.cli.alert_planning import AnsweredPanes
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.cli.scoring import Scoring
from tidegate.clock import Clock

_FRESH_SECONDS = 0.2
_KEPT = 3  # panes that shards may stand at together, mostly one


class StoreVerdicts:
    """Looks into the store now and then; many shards ask at every poll."""

    def __init__(self, ledger: Ledger, scoring: Scoring, clock: Clock) -> None:
        self._ledger, self._scoring, self._clock = ledger, scoring, clock
        self._state: RunState | None = None
        self._looked_seconds = float("-inf")
        self._last_pane: int | None = None
        self._known: dict[int, Predictions] = {}
        self._panes, self._n_answered = AnsweredPanes(AlertBook(ledger.database, ledger.run_id)), 0

    def first_pane(self) -> int | None:
        """Pane in which the run begins, once that is sure."""
        return self._look().first_pane

    def stream_ms(self) -> int | None:
        """Watermark that all shards together have reached."""
        return self._look().stream_ms

    def after(self, pane: int) -> Predictions | None:
        """Give what serves after `pane`; None where that is not decided yet."""
        if pane in self._known:
            return self._known[pane]
        state = self._look()
        if self._last_pane is None or pane > self._last_pane:
            return None
        record = self._record(pane)
        predictions = self._scoring.predictions(record, state.first_pane, self._ledger.cluster_codes())
        self._known = {known: self._known[known] for known in sorted(self._known)[-_KEPT:]} | {pane: predictions}
        return predictions

    def latest(self) -> Predictions:
        """Give what serves as far as is known."""
        self._look()
        found = None if self._last_pane is None else self.after(self._last_pane)
        return no_predictions() if found is None else found

    def _record(self, pane: int) -> PaneRecord | None:
        body = self._ledger.get(RECORDS, pane)
        return None if body is None else self._panes.amended(decode_record(body))

    def _look(self) -> RunState:
        now_seconds = self._clock.monotonic_seconds()
        if self._state is None or now_seconds - self._looked_seconds >= _FRESH_SECONDS:
            self._state, self._last_pane = self._ledger.state(), self._ledger.last_pane(RECORDS)
            self._looked_seconds = now_seconds
            n_answered = 0 if self._last_pane is None else self._panes.n_answered(self._last_pane)
            if n_answered != self._n_answered:
                self._known.pop(self._last_pane or 0, None)  # an alert has put another table in its place
            self._n_answered = n_answered
        return self._state
