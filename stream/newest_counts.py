"""Counts that are newer than the last answered pane: what of the panes after it is committed already.

Between two panes' ends the newest transitions lie in open panes, in parts and in the shards' codes. Whoever must not
wait for the pane's end takes them as they are now, as a part of the last answered pane; what it rests on it keeps, for
the parts change with each commit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, select

from stream.checkpoint import counts_of_bytes
from stream.database import Database
from stream.pane_merge import recode
from stream.run_reader import RunReader
from stream.schema import clusters, pane_counts, pane_parts
from tidegate.counts import BucketedCounts, pair_of_key, successor_of_key, unpack_pairs


def newest_counts(database: Database, run_id: str, after_pane: int) -> BucketedCounts:
    """Read the committed transitions of all panes after `after_pane`, in cluster ids. `O(t log p)`.

    Those of a cluster that has no id yet, since no closed pane has it, are left out.

    Raises
    ------
    StoreError
        If the database refuses.
    """
    with database.reading() as connection:
        # Closed panes first: one that is closed between the two reads is missed then, not counted twice.
        closed = _read(connection, pane_counts, run_id, after_pane)
        parts = _read(connection, pane_parts, run_id, after_pane)
        rows = connection.execute(
            select(clusters.c.code, clusters.c.cluster_id).where(clusters.c.run_id == run_id).order_by(clusters.c.code)
        ).all()
    id_of_code = np.full(len(rows), -1, np.int64)
    for row in rows:
        id_of_code[row.code] = -1 if row.cluster_id is None else row.cluster_id
    return BucketedCounts.merge([closed, recode(_with_ids(parts, id_of_code), id_of_code)])


def _read(connection: Connection, table: Table, run_id: str, after_pane: int) -> BucketedCounts:
    rows = connection.execute(
        select(table.c["keys"], table.c.counts).where(table.c.run_id == run_id, table.c.pane > after_pane)
    )
    return BucketedCounts.merge([counts_of_bytes(*row) for row in rows])


def _with_ids(counts: BucketedCounts, id_of_code: NDArray[np.int64]) -> BucketedCounts:
    """Keep the transitions whose three clusters have an id."""
    if not counts.keys.size:
        return counts
    c1, c2 = unpack_pairs(pair_of_key(counts.keys))
    has_id = id_of_code >= 0
    is_known = has_id[c1] & has_id[c2] & has_id[successor_of_key(counts.keys)]
    return counts if is_known.all() else BucketedCounts(counts.keys[is_known], counts.counts[is_known])


class NewestReader(RunReader):
    """Reads a run as if what came after a pane belonged to it.

    Parameters
    ----------
    database, run_id
    pane : int                  the last answered pane
    newest : BucketedCounts     of the panes after it, see `newest_counts`
    """

    def __init__(self, database: Database, run_id: str, pane: int, newest: BucketedCounts) -> None:
        super().__init__(database, run_id)
        self._pane, self._newest = pane, newest

    def counts(self, first_pane: int, last_pane: int) -> BucketedCounts:
        """Transitions of the closed panes `first_pane` … `last_pane`, with what is newer where the last one ends."""
        closed = super().counts(first_pane, last_pane)
        return BucketedCounts.merge([closed, self._newest]) if first_pane <= self._pane <= last_pane else closed
