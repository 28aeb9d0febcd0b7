"""Reading a run's part of the store, without owning any of it."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Table, func, select

from stream.checkpoint import Marks, Progress, counts_of_bytes
from stream.database import Database
from stream.schema import clusters, pane_counts, pane_records, pane_reports, pane_stats, runs, shards
from stream.sequence_kernel import N_STATS
from tidegate.counts import BucketedCounts
from tidegate.hashing import hash_text


def run_id_of(source: str, flags: str) -> str:
    """Name a run: a hash of its source and flags."""
    return f"{hash_text(source + chr(0) + flags):016x}"


class RunState(NamedTuple):
    """What is true of all shards of a run together; None where nothing is known yet."""

    n_partitions: int | None
    stream_ms: int | None
    first_pane: int | None
    closed_pane: int | None
    has_ended: bool


class RunReader:
    """Reads one run. Its owners may go on writing meanwhile.

    Parameters
    ----------
    database : Database
    run_id : str

    Raises
    ------
    StoreError
        On use, if the database refuses.
    """

    def __init__(self, database: Database, run_id: str) -> None:
        self.database, self.run_id = database, run_id

    @staticmethod
    def known_runs(database: Database) -> dict[str, tuple[str, str]]:
        """Source and flags of all runs by name."""
        with database.reading() as connection:
            rows = connection.execute(select(runs.c.run_id, runs.c.source, runs.c.flags).order_by(runs.c.run_id))
            return {row.run_id: (row.source, row.flags) for row in rows}

    def state(self) -> RunState:
        """How far all shards together have come."""
        columns = (runs.c.n_partitions, runs.c.stream_ms, runs.c.first_pane, runs.c.closed_pane, runs.c.has_ended)
        with self.database.reading() as connection:
            row = connection.execute(select(*columns).where(runs.c.run_id == self.run_id)).one_or_none()
        return RunState(*row) if row is not None else RunState(None, None, None, None, False)

    def marks(self) -> dict[int, Marks]:
        """How far each shard has come."""
        return {
            row.shard: Marks(
                row.earliest_ms, row.latest_ms, row.watermark_ms, row.counted_ms, row.is_idle, row.is_finished
            )
            for row in self._rows(shards, shards.c.shard)
        }

    def owners(self) -> dict[int, str]:
        """Name the process that counts each shard, or counted it last."""
        return {row.shard: row.owner for row in self._rows(shards, shards.c.shard)}

    def outcomes(self) -> dict[str, int]:
        """Count the committed records over all shards by what became of them."""
        totals: Counter[str] = Counter()
        for row in self._rows(shards, shards.c.shard):
            totals.update(msgspec.msgpack.decode(row.progress, type=Progress).outcomes)
        return dict(totals)

    def cluster_names(self) -> list[str]:
        """Names by cluster id, of all clusters that occur in closed panes."""
        return [row.name for row in self._rows(clusters, clusters.c.cluster_id, clusters.c.cluster_id.is_not(None))]

    def cluster_codes(self) -> dict[str, int]:
        """Codes by name, of all clusters that any shard has seen."""
        return {row.name: row.code for row in self._rows(clusters, clusters.c.code)}

    def stats(self) -> dict[int, NDArray[np.int64]]:
        """Figures by pane over all shards, ascending: int64[7] each."""
        totals: dict[int, NDArray[np.int64]] = {}
        for row in self._rows(pane_stats, pane_stats.c.pane):
            totals[row.pane] = totals.get(row.pane, 0) + np.frombuffer(row.figures, np.int64)
        return totals

    def stats_of_pane(self, pane: int) -> NDArray[np.int64]:
        """Figures of one pane over all shards: int64[7]; zeros where nothing was seen."""
        rows = self._rows(pane_stats, pane_stats.c.shard, pane_stats.c.pane == pane)
        return sum((np.frombuffer(row.figures, np.int64) for row in rows), np.zeros(N_STATS, np.int64))

    def reports(self) -> dict[int, bytes]:
        """Return the drift reports by the pane that ends their window, ascending."""
        return {row.pane: row.body for row in self._rows(pane_reports, pane_reports.c.pane)}

    def records(self) -> dict[int, bytes]:
        """Return what was decided and done, by pane, ascending."""
        return {row.pane: row.body for row in self._rows(pane_records, pane_records.c.pane)}

    def counts(self, first_pane: int, last_pane: int) -> BucketedCounts:
        """Transitions of the closed panes `first_pane` … `last_pane`, both included, in cluster ids."""
        rows = self._rows(pane_counts, pane_counts.c.pane, pane_counts.c.pane.between(first_pane, last_pane))
        return BucketedCounts.merge([counts_of_bytes(row.keys, row.counts) for row in rows])

    def n_rows(self, table: Table) -> int:
        """Count the run's rows of a table."""
        with self.database.reading() as connection:
            count = select(func.count()).select_from(table).where(table.c.run_id == self.run_id)
            return int(connection.scalar(count) or 0)

    def _rows(self, table: Table, order: Any, *conditions: ColumnElement[bool]) -> list[Any]:
        with self.database.reading() as connection:
            statement = select(table).where(table.c.run_id == self.run_id, *conditions).order_by(order)
            return list(connection.execute(statement))

    def close(self) -> None:
        """Release the database."""
        self.database.close()
