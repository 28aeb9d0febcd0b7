"""The role that closes panes and reports their windows: the first step of every answer (`tidegate.cli.answering`).

Any number of evaluators may run. A pane is closed by the first, and reported by the first; where a window is measured
in parts, each takes on parts until all are there, and whoever finds them complete writes the report.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from stream.closing import PaneCloser, expire_panes
from stream.drift.parts import DriftPart
from stream.drift_board import DriftBoard
from stream.ledger import RECORDS, REPORTS, Ledger
from stream.run_reader import RunState
from tidegate.cli.answering import Announce
from tidegate.cli.measuring import Measuring, OpenedWindow
from tidegate.cli.records import PaneReport, decode_record
from tidegate.clock import Clock
from tidegate.contracts import DriftReport, encode
from tidegate.errors import ConfigError


@dataclass(slots=True)
class Evaluator:
    """Closes panes and reports them.

    Attributes
    ----------
    board : DriftBoard
    n_parts : int                  in which a window is measured; 1 keeps it in this process
    retained_panes : int | None    closed panes that are kept besides those that something rests on; None: all
    """

    ledger: Ledger
    closer: PaneCloser
    measuring: Measuring
    board: DriftBoard
    clock: Clock
    announce: Announce
    n_parts: int = 1
    retained_panes: int | None = None
    _opened: OpenedWindow | None = field(default=None, init=False)

    def advance(self) -> bool:
        """Do what is next of: close a pane, measure a part of its window, report it. False where there is nothing.

        Raises
        ------
        ConfigError
            If evaluators measure a window in different numbers of parts.
        """
        state, last = self.ledger.state(), self.ledger.last_pane(REPORTS)
        if state.closed_pane is None or last == state.closed_pane:
            return self.closer.close_next() is not None
        assert state.first_pane is not None
        pane = state.first_pane if last is None else last + 1
        reference_pane = self.measuring.reference_of(pane, state.first_pane)
        if reference_pane is None:
            self._report(state, pane, None)
            return True
        if self.n_parts == 1:
            self._report(state, pane, self.measuring.compare(pane, reference_pane))
            return True
        return self._join(state, pane, reference_pane) or self._measure(pane, reference_pane)

    def _join(self, state: RunState, pane: int, reference_pane: int) -> bool:
        bodies = self.board.parts(pane, self.n_parts)
        if bodies is None:
            return False
        parts = [msgspec.msgpack.decode(body, type=DriftPart) for body in bodies]
        try:
            report = self.measuring.judge(self._open(pane, reference_pane), parts)
        except ConfigError:
            self.board.clear(pane)  # so that evaluators that agree find nothing of those that did not
            raise
        self._report(state, pane, report)
        return True

    def _measure(self, pane: int, reference_pane: int) -> bool:
        part = self.board.take(pane, self.n_parts, self.clock.now_ms())
        if part is None:
            return False  # others are at the rest
        measured = self._open(pane, reference_pane).matched.measure(part, self.n_parts)
        self.board.put(pane, part, msgspec.msgpack.encode(measured))
        return True

    def _open(self, pane: int, reference_pane: int) -> OpenedWindow:
        """Read a window once for all its parts: closed panes do not change."""
        if self._opened is None or self._opened.pane != pane:
            self._opened = self.measuring.open(pane, reference_pane)
        return self._opened

    def _report(self, state: RunState, pane: int, report: DriftReport | None) -> None:
        assert state.first_pane is not None
        is_last = state.has_ended and pane == state.closed_pane
        body = encode(PaneReport(pane=pane, first_pane=state.first_pane, is_last=is_last, report=report))
        self._opened = None
        if self.ledger.put(REPORTS, pane, body):
            self.announce("drift", body)
            self.board.clear(pane)
            self._expire(pane, state.first_pane)

    def _expire(self, pane: int, first_pane: int) -> None:
        if self.retained_panes is None:
            return
        kept = set(range(first_pane, first_pane + self.measuring.window_panes))  # what a hit's information rests on
        last = self.ledger.last_pane(RECORDS)
        body = None if last is None else self.ledger.get(RECORDS, last)
        tuned = decode_record(body).fine_tune if body is not None else None
        if last is not None and tuned is not None:
            tuned_pane = tuned.tuned_window_end_ms // self.measuring.pane_ms - 1
            kept |= set(range(tuned_pane - self.measuring.window_panes + 1, tuned_pane + 1))
        before = pane - self.retained_panes + 1
        before = before if last is None else min(before, last)  # nobody has answered the rest yet
        expire_panes(self.ledger.database, self.ledger.run_id, before, frozenset(kept))
