"""A closed pane's counts as one row, merged from the parts that its shards have committed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, select

from stream.checkpoint import bytes_of_counts, counts_of_bytes
from stream.database import put_rows
from stream.schema import pane_counts, pane_parts
from tidegate.counts import BucketedCounts, bucket_of_key, pack_transitions, pair_of_key, successor_of_key, unpack_pairs


def merge_parts(connection: Connection, run_id: str, pane: int) -> None:
    """Replace a pane's parts by one row of all of them, in the parts' own codes; again, it changes nothing."""
    put_merged(connection, run_id, pane, parts_of(connection, run_id, pane))


def parts_of(connection: Connection, run_id: str, pane: int) -> BucketedCounts:
    """Read the parts of a pane, merged. `O(t log p)`."""
    of_pane = pane_parts.c.run_id == run_id, pane_parts.c.pane == pane
    rows = connection.execute(select(pane_parts.c["keys"], pane_parts.c.counts).where(*of_pane))
    return BucketedCounts.merge([counts_of_bytes(*row) for row in rows])


def put_merged(connection: Connection, run_id: str, pane: int, merged: BucketedCounts) -> None:
    """Write a pane's counts in the place of its parts, added to what is there already."""
    known = pane_counts.c.run_id == run_id, pane_counts.c.pane == pane
    row = connection.execute(select(pane_counts.c["keys"], pane_counts.c.counts).where(*known)).one_or_none()
    if row is not None:
        merged = BucketedCounts.merge([counts_of_bytes(*row), merged])
    if merged.keys.size:
        put_rows(connection, pane_counts, [{"run_id": run_id, "pane": pane, **bytes_of_counts(merged)}])
    connection.execute(delete(pane_parts).where(pane_parts.c.run_id == run_id, pane_parts.c.pane == pane))


def recode(counts: BucketedCounts, id_of_code: NDArray[np.int64] | None) -> BucketedCounts:
    """Translate the clusters of packed transitions. `O(t log t)`, `O(1)` where every code is its own id.

    Examples
    --------
    >>> counts = BucketedCounts(pack_transitions(*np.array([[0], [1], [2], [5]])), np.array([4]))
    >>> hex(recode(counts, np.array([2, 0, 1])).keys[0])
    '0x20000000105'
    """
    if id_of_code is None or np.array_equal(id_of_code, np.arange(id_of_code.shape[0])):
        return counts
    c1, c2 = unpack_pairs(pair_of_key(counts.keys))
    c_next = successor_of_key(counts.keys)
    keys = pack_transitions(id_of_code[c1], id_of_code[c2], id_of_code[c_next], bucket_of_key(counts.keys))
    order = np.argsort(keys)
    return BucketedCounts(keys[order], counts.counts[order])
