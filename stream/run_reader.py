"""Reading a run's part of the store, without owning it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy.exc import DatabaseError

from stream.checkpoint import Progress, decode_segment
from stream.schema import clusters, offsets, pane_counts, pane_records, pane_stats, runs, sequence_segments
from stream.sequences import UserSegment
from tidegate.counts import BucketedCounts
from tidegate.errors import StoreError
from tidegate.hashing import hash_text


def run_id_of(source: str, flags: str) -> str:
    """Name a run: a hash of its source and flags."""
    return f"{hash_text(source + chr(0) + flags):016x}"


class RunReader:
    """Reads one run. Its owner may go on writing meanwhile.

    Parameters
    ----------
    path : Path      of an existing store
    run_id : str

    Raises
    ------
    StoreError
        On use, if the file cannot be read or is no store.
    """

    def __init__(self, path: Path, run_id: str) -> None:
        self._path, self.run_id = path, run_id
        self._engine = sqlite_engine(path)

    def progress(self) -> Progress:
        """How far the run has come."""
        with self._transaction() as connection:
            row = connection.execute(select(runs.c.progress).where(runs.c.run_id == self.run_id)).one()
        return msgspec.msgpack.decode(row.progress, type=Progress)

    def offsets(self) -> dict[int, tuple[int, int]]:
        """Next offset and latest event time (ms) by partition."""
        return {row.partition: (row.next_offset, row.latest_ms) for row in self._rows(offsets, offsets.c.partition)}

    def cluster_names(self) -> list[str]:
        """Names by cluster id."""
        return [row.name for row in self._rows(clusters, clusters.c.cluster_id)]

    def segments(self) -> Iterator[UserSegment]:
        """Sequence state, oldest segment first."""
        for row in self._rows(sequence_segments, sequence_segments.c.commit_number):
            yield decode_segment(row.body)

    def stats(self) -> dict[int, NDArray[np.int64]]:
        """Figures by pane, ascending: int64[7] each."""
        return {row.pane: np.frombuffer(row.figures, np.int64) for row in self._rows(pane_stats, pane_stats.c.pane)}

    def records(self) -> dict[int, bytes]:
        """Return what was decided, by pane, ascending."""
        return {row.pane: row.body for row in self._rows(pane_records, pane_records.c.pane)}

    def counts(self, first_pane: int, last_pane: int) -> BucketedCounts:
        """Transitions of the panes `first_pane` … `last_pane`, both included."""
        with self._transaction() as connection:
            return self._counts(connection, first_pane, last_pane)

    def _counts(self, connection: Connection, first_pane: int, last_pane: int) -> BucketedCounts:
        rows = connection.execute(
            select(pane_counts.c["keys"], pane_counts.c.counts).where(
                pane_counts.c.run_id == self.run_id, pane_counts.c.pane.between(first_pane, last_pane)
            )
        )
        return BucketedCounts.merge(
            [BucketedCounts(np.frombuffer(keys, np.int64), np.frombuffer(counts, np.int64)) for keys, counts in rows]
        )

    def n_segments(self) -> int:
        """Count the stored segments, to know when replacing them all is worth it."""
        with self._transaction() as connection:
            count = select(func.count()).where(sequence_segments.c.run_id == self.run_id)
            return int(connection.scalar(count) or 0)

    def _rows(self, table: Any, order: Any) -> list[Any]:
        with self._transaction() as connection:
            return list(connection.execute(select(table).where(table.c.run_id == self.run_id).order_by(order)))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            raise StoreError(
                f"the database refused: {error.orig}",
                "Check free space and permissions, and that the file is a Tidegate store",
                place=str(self._path),
            ) from error

    def close(self) -> None:
        """Release the database."""
        self._engine.dispose()


def sqlite_engine(path: Path) -> Engine:
    """Open a SQLite file so that transactions are whole, and readers do not wait for the writer."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: it would do so late, after the first read.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        # In WAL mode NORMAL survives a killed process whole; a power cut may take the last commits, offsets included.
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
