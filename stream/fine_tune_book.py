"""The fine-tunes of a store: a row each, changed by compare-and-set on its revision.

They outlive the run that flagged them. A run that is begun anew raises the same flags (the same events, the same ids),
and finds what persons have answered.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select, update

from stream.database import Database, add_rows
from stream.schema import fine_tunes
from tidegate.contracts import FineTune, encode


class StoredFineTunes:
    """Reads and writes fine-tunes; any process may.

    Parameters
    ----------
    database : Database

    Raises
    ------
    StoreError
        On use, if the database refuses.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def list(self, run_id: str | None = None) -> list[FineTune]:
        """Return all fine-tunes, or those of a run: the latest flag first."""
        statement = select(fine_tunes.c.body).order_by(fine_tunes.c.window_end_ms.desc(), fine_tunes.c.fine_tune_id)
        if run_id is not None:
            statement = statement.where(fine_tunes.c.run_id == run_id)
        with self.database.reading() as connection:
            return [_decoded(body) for body in connection.scalars(statement)]

    def get(self, fine_tune_id: str) -> FineTune | None:
        """Read one; None where there is no such."""
        with self.database.reading() as connection:
            body = connection.scalar(select(fine_tunes.c.body).where(fine_tunes.c.fine_tune_id == fine_tune_id))
        return None if body is None else _decoded(body)

    def put(self, record: FineTune) -> bool:
        """Write `record` if it is the next revision of what is there; returns whether it stands.

        What stands already may be put again: an answer that got lost is not a conflict.
        """
        body = encode(record)
        with self.database.writing() as connection:
            if record.revision == 1:
                is_put = add_flagged(connection, record)
            else:
                is_next = fine_tunes.c.revision == record.revision - 1
                statement = update(fine_tunes).where(fine_tunes.c.fine_tune_id == record.fine_tune_id, is_next)
                changed = connection.execute(statement.values(revision=record.revision, body=body))
                is_put = changed.rowcount == 1
            if is_put:
                return True
            found = connection.scalar(select(fine_tunes.c.body).where(fine_tunes.c.fine_tune_id == record.fine_tune_id))
        return found == body


def add_flagged(connection: Connection, record: FineTune) -> bool:
    """Add a fine-tune unless it is there, within the caller's transaction; returns whether it was added."""
    row = {
        "fine_tune_id": record.fine_tune_id,
        "run_id": record.run_id,
        "window_end_ms": record.flag.window_end_ms,
        "revision": record.revision,
        "body": encode(record),
    }
    return add_rows(connection, fine_tunes, [row]) == 1


def _decoded(body: bytes) -> FineTune:
    return msgspec.json.decode(body, type=FineTune)
