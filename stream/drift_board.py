"""Who measures which part of a window: evaluators take parts on, and leave what they found for all to see.

Nothing rests on who took what: a part that is measured twice is the same twice, and the first one stands. Taking is
only there so that evaluators do not all measure the same.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, func, select, update

from stream.database import Database, add_rows
from stream.schema import drift_parts

TAKEN_FOR_SECONDS = 60.0
"""A part that was taken on so long ago and is not there yet is anybody's again: its evaluator may be gone."""


class DriftBoard:
    """The parts of a run's windows, by the pane that ends each.

    Parameters
    ----------
    database, run_id
    owner : str     this evaluator
    """

    def __init__(self, database: Database, run_id: str, owner: str) -> None:
        self._database, self._run_id, self._owner = database, run_id, owner

    def take(self, pane: int, n_parts: int, now_ms: int) -> int | None:
        """Take on a part that nobody measures; None where there is none.

        Parameters
        ----------
        now_ms : the clock of this machine; where clocks disagree, a part may be measured twice
        """
        stale_ms = now_ms - round(TAKEN_FOR_SECONDS * 1_000)
        columns = (drift_parts.c.part, drift_parts.c.taken_ms)
        with self._database.writing() as connection:
            of_pane = select(*columns, drift_parts.c.body.is_not(None).label("is_done")).where(*self._of(pane))
            known = {row.part: row for row in connection.execute(of_pane)}
            for part in range(n_parts):
                row = known.get(part)
                mine = {"owner": self._owner, "taken_ms": now_ms}
                if row is None:
                    if add_rows(
                        connection, drift_parts, [{"run_id": self._run_id, "pane": pane, "part": part, **mine}]
                    ):
                        return part
                elif not row.is_done and row.taken_ms <= stale_ms:
                    is_as_seen = drift_parts.c.part == part, drift_parts.c.taken_ms == row.taken_ms
                    if connection.execute(
                        update(drift_parts).where(*self._of(pane), *is_as_seen).values(mine)
                    ).rowcount:
                        return part
        return None

    def put(self, pane: int, part: int, body: bytes) -> None:
        """Leave what a part showed, unless it is there already or the window was reported meanwhile."""
        is_open = drift_parts.c.part == part, drift_parts.c.body.is_(None)
        with self._database.writing() as connection:
            connection.execute(update(drift_parts).where(*self._of(pane), *is_open).values(body=body))

    def parts(self, pane: int, n_parts: int) -> list[bytes] | None:
        """Return all parts of a window, in their order; None while one is missing."""
        is_done = drift_parts.c.part < n_parts, drift_parts.c.body.is_not(None)
        of_pane = *self._of(pane), *is_done
        with self._database.reading() as connection:
            # Asked again and again while others measure: bodies are read once all are there.
            if connection.scalar(select(func.count()).select_from(drift_parts).where(*of_pane)) != n_parts:
                return None
            return list(connection.scalars(select(drift_parts.c.body).where(*of_pane).order_by(drift_parts.c.part)))

    def clear(self, pane: int) -> None:
        """Drop the parts of a window that is reported, and of all before it."""
        with self._database.writing() as connection:
            old = drift_parts.c.run_id == self._run_id, drift_parts.c.pane <= pane
            connection.execute(delete(drift_parts).where(*old))

    def _of(self, pane: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
        return drift_parts.c.run_id == self._run_id, drift_parts.c.pane == pane
