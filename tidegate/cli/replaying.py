"""Decisions made again from their records: the same panes, the same table, the same state, the same decision.

What a decision rested on is in the store: the panes' counts, the report, what evidence and policy had learned up to the
pane before, the version of the table that served, the rows that were known. Replaying takes these and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import msgspec

from stream.alert_book import AlertBook, AlertRequest
from stream.closing import PaneClosing
from stream.run_reader import RunReader
from tidegate.cli.alert_planning import AlertPlanning, AnsweredPanes, decided, decision_of
from tidegate.cli.deciding import Deciding, taken_on
from tidegate.cli.history import reach_panes
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.contracts import encode


class Outcome(StrEnum):
    """What became of a replay."""

    SAME = "same"
    DIFFERENT = "different"
    IMPOSSIBLE = "impossible"  # something that the decision rested on is gone


@dataclass(frozen=True, slots=True)
class Replay:
    """One pane's decision, made again."""

    record: PaneRecord
    outcome: Outcome
    detail: str


@dataclass(frozen=True, slots=True)
class Replaying:
    """Replays the decisions of one run.

    Attributes
    ----------
    reader : RunReader
    deciding : Deciding     put together from the run's own flags
    alerts : AlertPlanning | None     likewise; None leaves alerts out
    """

    reader: RunReader
    deciding: Deciding
    alerts: AlertPlanning | None = None

    def replay(self, only_pane: int | None = None) -> Iterator[Replay]:
        """Make every recorded decision again, or those of one pane: its own, then those on alerts after it."""
        bodies, first_pane = self.reader.records(), self.reader.state().first_pane
        book = AlertBook(self.reader.database, self.reader.run_id)
        for pane in bodies if only_pane is None else [only_pane]:
            record = decode_record(bodies[pane])
            # A run of one process drops no pane, so its first record is of its first pane.
            first = min(bodies) if first_pane is None else first_pane
            if record.decision is not None:
                before = decode_record(bodies[pane - 1]) if pane - 1 in bodies else None
                yield self._replay(record, AnsweredPanes(book).amended(before), first, bodies.keys())
            for request in book.answered(pane):
                yield from self._replay_alert(request, first, bodies.keys())

    def _replay_alert(self, request: AlertRequest, first_pane: int, recorded: Collection[int]) -> Iterator[Replay]:
        """Make the decision on an alert again, on the counts of open panes that it was made on."""
        if self.alerts is None:
            return
        decision, newest = decision_of(request), self.alerts.book.newest(request.number)
        missing = self._missing(decision.record, first_pane, recorded)
        if newest is None or missing is not None:
            gone = "counts that it looked at were dropped from the store; keep them longer with --retention"
            yield Replay(decision.record, Outcome.IMPOSSIBLE, missing or gone)
            return
        again = decided(decision, self.alerts.plan(decision, newest), newest)
        is_same = encode(again) == encode(decision)
        detail = again.record.decision.explanation if again.record.decision else ""
        yield Replay(decision.record, Outcome.SAME if is_same else Outcome.DIFFERENT, detail)

    def _replay(
        self, record: PaneRecord, before: PaneRecord | None, first_pane: int, recorded: Collection[int]
    ) -> Replay:
        missing = self._missing(record, first_pane, recorded)
        if missing is not None:
            return Replay(record, Outcome.IMPOSSIBLE, missing)
        closing = PaneClosing(record.pane, first_pane, is_last=False)
        deciding = replace(self.deciding, flag_answer=lambda _: record.flag_answer)  # not one that was given later
        begun = msgspec.structs.replace(
            deciding.begin(closing, before), table_version=_base_version(record), n_clusters=record.n_clusters
        )
        if record.weights is not None and record.weights != begun.weights:
            tuned_ms = record.fine_tune.tuned_window_end_ms if record.fine_tune else record.window_end_ms
            begun = taken_on(begun, record.weights, record.model or "", tuned_ms)
        decided, _ = deciding.decide(closing, begun, record.report, before)
        again = deciding.conclude(decided, record.result, before)
        different = [name for name in PaneRecord.__struct_fields__ if _bytes(again, name) != _bytes(record, name)]
        if different:
            return Replay(record, Outcome.DIFFERENT, f"another {', another '.join(different)}")
        return Replay(record, Outcome.SAME, record.decision.explanation if record.decision else "")

    def _missing(self, record: PaneRecord, first_pane: int, recorded: Collection[int]) -> str | None:
        """Say what is gone of that which the decision rested on."""
        version = _base_version(record)
        first = max(first_pane, record.pane - reach_panes(self.deciding.measuring.window_panes) + 1)
        if not all(pane in recorded for pane in range(first, record.pane)):  # counts and record of a pane go together
            return "panes that it looked at were dropped from the store; keep them longer with --retention"
        if version is not None and version not in self.deciding.tables.numbers():
            return f"table version {version} was removed; keep more of them with --keep-versions"
        return None


def _base_version(record: PaneRecord) -> int | None:
    """Version of the table that served when the pane's decision was made."""
    version = record.decision.inputs.get("table_version") if record.decision else None
    return None if version is None else int(version)


def _bytes(record: PaneRecord, name: str) -> bytes:
    value = getattr(record, name)
    return encode(value) if isinstance(value, msgspec.Struct) else repr(value).encode()
