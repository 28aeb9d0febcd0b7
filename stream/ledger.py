"""What became of closed panes: report, decision, result, record. Each is written once, by whoever is first.

The roles that answer panes talk through topics, but nothing rests on a message: what is to be done next follows from
what is written here, so a role may crash at any point, and two of a kind may run.
"""

from __future__ import annotations

from sqlalchemy import Table, func, select

from stream.database import add_rows
from stream.fine_tune_book import add_flagged
from stream.run_reader import RunReader
from stream.schema import pane_decisions, pane_records, pane_reports, pane_results
from tidegate.contracts import FineTune

REPORTS, DECISIONS, RESULTS, RECORDS = pane_reports, pane_decisions, pane_results, pane_records


class Ledger(RunReader):
    """Reads and writes the answers to a run's panes."""

    def put(self, table: Table, pane: int, body: bytes, flagged: FineTune | None = None) -> bool:
        """Write an answer unless there is one, with the fine-tune that it flags; returns whether this one stands."""
        with self.database.writing() as connection:
            stands = add_rows(connection, table, [{"run_id": self.run_id, "pane": pane, "body": body}]) == 1
            if stands and flagged is not None:
                add_flagged(connection, flagged)
        return stands

    def get(self, table: Table, pane: int) -> bytes | None:
        """Read an answer; None where there is none yet."""
        rows = self._rows(table, table.c.pane, table.c.pane == pane)
        return rows[0].body if rows else None

    def last_pane(self, table: Table) -> int | None:
        """Find the last pane that has such an answer."""
        with self.database.reading() as connection:
            pane = connection.scalar(select(func.max(table.c.pane)).where(table.c.run_id == self.run_id))
        return None if pane is None else int(pane)

    def first_pane_of(self, table: Table) -> int | None:
        """Find the first pane that has such an answer."""
        with self.database.reading() as connection:
            pane = connection.scalar(select(func.min(table.c.pane)).where(table.c.run_id == self.run_id))
        return None if pane is None else int(pane)
