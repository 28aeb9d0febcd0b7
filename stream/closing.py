"""Closing panes of a run that many shards count: when a pane is complete, and who may say so.

A pane is complete when every shard has counted and committed all events before its end. Shards that wait for records
go along with the watermark of the others, so they hold nobody back; a shard without an owner does, until it has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, func, select, update

from stream.checkpoint import Marks
from stream.database import Database
from stream.pane_merge import parts_of, put_merged, recode
from stream.reorder import BEGINNING_OF_TIME_MS, END_OF_TIME_MS
from stream.run_reader import RunReader, RunState
from stream.schema import (
    alert_requests,
    clusters,
    pane_counts,
    pane_decisions,
    pane_records,
    pane_reports,
    pane_results,
    pane_stats,
    runs,
)


def stream_watermark(marks: Mapping[int, Marks], lateness_ms: int) -> int:
    """Event time that no shard will go behind any more; those that wait for records do not count.

    Examples
    --------
    >>> stream_watermark({0: Marks(watermark_ms=40), 1: Marks(watermark_ms=90), 2: Marks(is_idle=True)}, 10)
    40
    """
    waiting = [m.watermark_ms for m in marks.values() if not m.is_idle and not m.is_finished]
    if waiting:
        return min(waiting)
    if all(m.is_finished for m in marks.values()):
        return END_OF_TIME_MS
    # Everyone idles: nothing is coming that could be compared, so time stands at the furthest seen.
    return max(m.watermark_ms for m in marks.values() if not m.is_finished)


@dataclass(frozen=True, slots=True)
class PaneClosing:
    """A pane that was closed.

    Attributes
    ----------
    pane, first_pane : int
    is_last : bool       nothing follows: all partitions have ended
    """

    pane: int
    first_pane: int
    is_last: bool


class PaneCloser:
    """Moves a run's `closed_pane` on. Any number may try; each pane is closed once.

    Parameters
    ----------
    database, run_id
    pane_ms, lateness_ms : int
    """

    def __init__(self, database: Database, run_id: str, pane_ms: int, lateness_ms: int) -> None:
        self._database, self._run_id = database, run_id
        self._pane_ms, self._lateness_ms = pane_ms, lateness_ms
        self._reader = RunReader(database, run_id)

    def close_next(self) -> PaneClosing | None:
        """Close the pane after the last closed one if it is complete.

        1. Look at the shards' marks: all must be there, and have counted past the pane's end. So its parts are all
           there, and are merged while workers go on writing.
        2. In one transaction: move `closed_pane` on, if it still is where it was; give ids to clusters that are new;
           put the counts in the place of the parts.

        Returns
        -------
        PaneClosing or None
            None where the next pane is not complete, or another evaluator was faster.
        """
        state, marks = self._reader.state(), self._reader.marks()
        if state.has_ended or state.n_partitions is None or len(marks) < state.n_partitions:
            return None
        first_pane = self._advance_stream(state, marks)
        if first_pane is None:
            return None
        pane = first_pane if state.closed_pane is None else state.closed_pane + 1
        counted_ms = min(m.counted_ms for m in marks.values())
        if counted_ms < (pane + 1) * self._pane_ms:  # 1
            return None
        last_ms = max(m.latest_ms for m in marks.values() if m.latest_ms is not None)
        is_last = all(m.is_finished for m in marks.values()) and pane >= last_ms // self._pane_ms
        with self._database.reading() as connection:
            merged = parts_of(connection, self._run_id, pane)
        with self._database.writing() as connection:  # 2
            if not self._move_on(connection, state, pane, is_last):
                return None
            id_of_code = self._assign_ids(connection, (pane + 1) * self._pane_ms)
            put_merged(connection, self._run_id, pane, recode(merged, id_of_code))
        return PaneClosing(pane, first_pane, is_last)

    def _advance_stream(self, state: RunState, marks: Mapping[int, Marks]) -> int | None:
        """Publish how far the stream has come, and in which pane it began once that is sure; returns that pane.

        A run that is read to its end without an event that could be counted has no pane, and ends here.
        """
        stream_ms = max(stream_watermark(marks, self._lateness_ms), state.stream_ms or BEGINNING_OF_TIME_MS)
        first_pane = state.first_pane
        earliest = [m.earliest_ms for m in marks.values() if m.earliest_ms is not None]
        # Also those that wait for records must have gone along: then no earlier event can come in time.
        if first_pane is None and earliest and min(m.watermark_ms for m in marks.values()) >= min(earliest):
            first_pane = min(earliest) // self._pane_ms
        has_nothing = not earliest and all(m.is_finished for m in marks.values())
        if has_nothing or (stream_ms, first_pane) != (state.stream_ms, state.first_pane):
            with self._database.writing() as connection:
                connection.execute(
                    update(runs)
                    .where(runs.c.run_id == self._run_id)
                    .where((runs.c.stream_ms.is_(None)) | (runs.c.stream_ms <= stream_ms))
                    .values(
                        stream_ms=stream_ms,
                        first_pane=func.coalesce(runs.c.first_pane, first_pane),
                        has_ended=has_nothing,
                    )
                )
        return first_pane

    def _move_on(self, connection: Connection, state: RunState, pane: int, is_last: bool) -> bool:
        """Compare and set: only one evaluator finds the run where it was."""
        before = runs.c.closed_pane.is_(None) if state.closed_pane is None else runs.c.closed_pane == state.closed_pane
        moved = connection.execute(
            update(runs).where(runs.c.run_id == self._run_id, before).values(closed_pane=pane, has_ended=is_last)
        )
        return moved.rowcount == 1

    def _assign_ids(self, connection: Connection, before_ms: int) -> NDArray[np.int64]:
        """Give ids to the clusters first seen before `before_ms`, by first event time and then name: int64[codes].

        All shards have counted past it, so no earlier sight can turn up, and ids that were given never change.
        """
        mine = clusters.c.run_id == self._run_id
        columns = (clusters.c.code, clusters.c.name, clusters.c.first_ms, clusters.c.cluster_id)
        rows = connection.execute(select(*columns).where(mine).order_by(clusters.c.code)).all()
        id_of_code = np.full(len(rows), -1, np.int64)
        for row in rows:
            id_of_code[row.code] = -1 if row.cluster_id is None else row.cluster_id
        fresh = [
            row for row in rows if row.cluster_id is None and row.first_ms is not None and row.first_ms < before_ms
        ]
        fresh.sort(key=lambda row: (row.first_ms, row.name))
        for cluster_id, row in enumerate(fresh, start=int((id_of_code >= 0).sum())):
            id_of_code[row.code] = cluster_id
            connection.execute(update(clusters).where(mine, clusters.c.code == row.code).values(cluster_id=cluster_id))
        return id_of_code


def expire_panes(database: Database, run_id: str, before_pane: int, kept: frozenset[int] = frozenset()) -> int:
    """Drop counts, figures, reports and decisions of panes before `before_pane`, but those `kept`; returns how many.

    Parameters
    ----------
    kept : panes that something still rests on (the first window, that of the last fine-tune)
    """
    n_dropped = 0
    with database.writing() as connection:
        for table in (pane_counts, pane_stats, pane_reports, pane_decisions, pane_results, pane_records):
            is_old = (table.c.run_id == run_id) & (table.c.pane < before_pane) & table.c.pane.not_in(sorted(kept))
            dropped = connection.execute(delete(table).where(is_old)).rowcount
            n_dropped = max(n_dropped, dropped)
        # What alerts asked for stays, so that an episode is known for as long as it is delivered; its counts go.
        was_asked = (alert_requests.c.run_id == run_id) & (alert_requests.c.pane < before_pane)
        connection.execute(update(alert_requests).where(was_asked).values(keys=None, counts=None))
    return n_dropped
