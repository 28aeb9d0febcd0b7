"""Bringing a store to the schema that this version knows, one version after the other, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from sqlalchemy import Connection, insert, inspect, select, text, update

from stream.checkpoint import WaitingEvents, counts_of_bytes, encode_columns
from stream.reorder import BEGINNING_OF_TIME_MS
from stream.schema import SCHEMA_VERSION, WHOLE_RUN, metadata, pane_counts, store_info, waiting_segments
from tidegate.counts import BucketedCounts
from tidegate.errors import StoreError


def check_schema(connection: Connection, place: str) -> None:
    """Create what is missing, or migrate what is old.

    Raises
    ------
    StoreError
        If the store is of a version that this program does not know.
    """
    if connection.dialect.name == "postgresql":  # processes that start together must not create tables together
        connection.execute(text("SELECT pg_advisory_xact_lock(84620011)"))
    found = _version(connection)
    if found is None:
        metadata.create_all(connection)
        connection.execute(insert(store_info).values(schema_version=SCHEMA_VERSION))
        return
    if not 1 <= found <= SCHEMA_VERSION:
        raise StoreError(
            f"schema version {found} where this program knows {SCHEMA_VERSION}",
            "Run the version that wrote it, or choose another --home",
            place=place,
        )
    for version in range(found, SCHEMA_VERSION):
        MIGRATIONS[version](connection)
        connection.execute(update(store_info).values(schema_version=version + 1))


def _version(connection: Connection) -> int | None:
    if not inspect(connection).has_table(store_info.name):
        return None
    return connection.scalar(select(store_info.c.schema_version))


def _from_1(connection: Connection) -> None:
    """Version 1 knew runs of one process only: each becomes a run with one shard of all partitions.

    Marks that others look at are renewed by the next commit. Waiting events lay in the progress, panes in pieces.
    """
    old = ("runs", "offsets", "clusters", "sequence_segments", "pane_counts", "pane_stats", "pane_records")
    for table in old:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO {table}_1"))
    metadata.create_all(connection)
    for statement in _COPY_1:
        connection.execute(text(statement), {"shard": WHOLE_RUN, "none": BEGINNING_OF_TIME_MS, "no": False})
    for run_id, number, progress in connection.execute(
        text("SELECT run_id, commit_number, progress FROM runs_1")
    ).all():
        _copy_waiting_1(connection, run_id, number, msgspec.msgpack.decode(progress))
        _copy_counts_1(connection, run_id)
    for table in old:
        connection.execute(text(f"DROP TABLE {table}_1"))


_COPY_1 = (
    "INSERT INTO runs (run_id, source, flags, is_finished, has_ended) "
    "SELECT run_id, source, flags, is_finished, is_finished FROM runs_1",
    "INSERT INTO shards (run_id, shard, owner, epoch, commit_number, progress, watermark_ms, counted_ms, is_idle, "
    "is_finished) "
    "SELECT run_id, :shard, '', epoch, commit_number, progress, :none, :none, :no, is_finished FROM runs_1",
    "INSERT INTO offsets (run_id, partition, shard, next_offset, latest_ms) "
    "SELECT run_id, partition, :shard, next_offset, latest_ms FROM offsets_1",
    "INSERT INTO clusters (run_id, code, name, cluster_id) SELECT run_id, cluster_id, name, cluster_id FROM clusters_1",
    "INSERT INTO sequence_segments (run_id, shard, commit_number, piece, body) "
    "SELECT run_id, :shard, commit_number, 0, body FROM sequence_segments_1",
    "INSERT INTO pane_stats (run_id, shard, pane, figures) SELECT run_id, :shard, pane, figures FROM pane_stats_1",
    "INSERT INTO pane_records (run_id, pane, body) SELECT run_id, pane, body FROM pane_records_1",
)


def _copy_waiting_1(connection: Connection, run_id: str, number: int, progress: dict[str, Any]) -> None:
    times_ms = np.frombuffer(progress.get("waiting_times_ms", b""), np.int64)
    if not times_ms.size:
        return
    waiting = WaitingEvents(
        tuple(progress["waiting_names"]),
        np.frombuffer(progress["waiting_users"], np.uint64),
        np.frombuffer(progress["waiting_clusters"], np.int32),
        times_ms,
    )
    row = {"commit_number": number, "latest_ms": int(times_ms.max()), "body": encode_columns(waiting)}
    connection.execute(insert(waiting_segments).values(run_id=run_id, shard=WHOLE_RUN, **row))


def _copy_counts_1(connection: Connection, run_id: str) -> None:
    rows = connection.execute(
        text("SELECT pane, keys, counts FROM pane_counts_1 WHERE run_id = :run_id ORDER BY pane"), {"run_id": run_id}
    )
    parts: dict[int, list[BucketedCounts]] = {}
    for pane, keys, counts in rows.all():
        parts.setdefault(pane, []).append(counts_of_bytes(keys, counts))
    for pane, of_pane in parts.items():
        merged = BucketedCounts.merge(of_pane)
        connection.execute(
            insert(pane_counts).values(
                run_id=run_id, pane=pane, keys=merged.keys.tobytes(), counts=merged.counts.tobytes()
            )
        )


def _from_2(connection: Connection) -> None:
    """Version 2 had no fine-tunes. A flag that is open gets its record when its run goes on."""
    metadata.create_all(connection)


def _from_3(connection: Connection) -> None:
    """Version 3 had no requests of alerts."""
    metadata.create_all(connection)


MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _from_1, 2: _from_2, 3: _from_3}
