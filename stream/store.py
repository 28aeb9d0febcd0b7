"""The run store: counts, sequence state and source position, made true together.

A commit is one transaction with a compare-and-set on (epoch, commit number): whoever opens a run takes a new epoch,
so a process that was thought dead and comes back (a zombie) finds its commits refused, and nothing is counted twice
or lost ("Storing Offsets Outside Kafka", Kafka consumer documentation).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from stream.checkpoint import Checkpoint, Progress, encode_segment
from stream.run_reader import RunReader, run_id_of
from stream.schema import (
    SCHEMA_VERSION,
    clusters,
    metadata,
    offsets,
    pane_counts,
    pane_records,
    pane_stats,
    runs,
    sequence_segments,
    store_info,
)
from tidegate.errors import FencedError, StoreError

_OF_A_RUN = (offsets, clusters, sequence_segments, pane_counts, pane_stats, pane_records)


class RunStore(RunReader):
    """One run's part of the store, owned by this process until another one opens the same run.

    Attributes
    ----------
    run_id : str       hash of source and flags: what a run is known by
    resumed : bool     an unfinished run of the same source and flags was found

    Raises
    ------
    StoreError
        If the file cannot be opened, is no store or has a newer schema.
    """

    def __init__(self, path: Path, source: str, flags: str) -> None:
        _make_folder(path.parent)
        super().__init__(path, run_id_of(source, flags))
        with self._transaction() as connection:
            self._check_schema(connection)
            self.resumed = self._open_run(connection, source, flags)

    def _check_schema(self, connection: Connection) -> None:
        metadata.create_all(connection)
        version = connection.scalar(select(store_info.c.schema_version))
        if version is None:
            connection.execute(insert(store_info).values(schema_version=SCHEMA_VERSION))
        elif version != SCHEMA_VERSION:
            raise StoreError(
                f"schema version {version} where this program knows {SCHEMA_VERSION}",
                "Run the version that wrote it, or choose another --home",
                place=str(self._path),
            )

    def _open_run(self, connection: Connection, source: str, flags: str) -> bool:
        row = connection.execute(select(runs).where(runs.c.run_id == self.run_id)).one_or_none()
        resumed = row is not None and not row.is_finished
        self._epoch = 1 if row is None else row.epoch + 1
        self._commit_number = row.commit_number if row is not None and resumed else 0
        if resumed:
            connection.execute(update(runs).where(runs.c.run_id == self.run_id).values(epoch=self._epoch))
            return True
        for table in (*_OF_A_RUN, runs):  # a finished run of the same name starts over
            connection.execute(delete(table).where(table.c.run_id == self.run_id))
        connection.execute(
            insert(runs).values(
                run_id=self.run_id,
                source=source,
                flags=flags,
                is_finished=0,
                epoch=self._epoch,
                commit_number=0,
                progress=msgspec.msgpack.encode(Progress()),
            )
        )
        return False

    def commit(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint true, or nothing of it.

        1. Compare and set: the run must still be at this owner's epoch and commit.
        2. Append the counts since the last commit, pane by pane.
        3. Append the state of the users that changed (or replace all of it).
        4. Put offsets, cluster names and pane figures.

        Raises
        ------
        FencedError
            If another process has taken the run over.
        StoreError
            If the database refuses (disk full, locked, damaged); nothing was changed.
        """
        number = self._commit_number + 1
        with self._transaction() as connection:
            self._advance(connection, number, msgspec.msgpack.encode(checkpoint.progress))  # 1
            self._put_all(connection, pane_counts, self._count_rows(checkpoint, number))  # 2
            if checkpoint.replaces_segments:  # 3
                connection.execute(delete(sequence_segments).where(sequence_segments.c.run_id == self.run_id))
            if checkpoint.segment is not None:
                body = encode_segment(checkpoint.segment)
                self._put_all(connection, sequence_segments, [{"commit_number": number, "body": body}])
            self._put_all(connection, offsets, _offset_rows(checkpoint))  # 4
            self._put_all(
                connection, clusters, [{"cluster_id": i, "name": n} for i, n in checkpoint.new_clusters.items()]
            )
            stats = [{"pane": pane, "figures": figures.tobytes()} for pane, figures in checkpoint.stats.items()]
            self._put_all(connection, pane_stats, stats)
        self._commit_number = number

    def _advance(self, connection: Connection, number: int, progress: bytes | None) -> None:
        values: dict[str, Any] = {"commit_number": number} | ({"progress": progress} if progress is not None else {})
        advanced = connection.execute(
            update(runs)
            .where(
                runs.c.run_id == self.run_id,
                runs.c.epoch == self._epoch,
                runs.c.commit_number == self._commit_number,
            )
            .values(values)
        )
        if advanced.rowcount != 1:
            raise FencedError(
                f"run {self.run_id} was taken over by another process",
                "Stop one of the two: a run has one owner at a time",
                place=str(self._path),
            )

    def _put_all(self, connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
        """Insert rows, replacing those of the same key."""
        if rows:
            statement = insert(table).prefix_with("OR REPLACE")
            connection.execute(statement, [{"run_id": self.run_id, **row} for row in rows])

    def _count_rows(self, checkpoint: Checkpoint, number: int) -> list[dict[str, Any]]:
        return [
            {"pane": pane, "commit_number": number, "keys": part.keys.tobytes(), "counts": part.counts.tobytes()}
            for pane, part in checkpoint.counts.items()
        ]

    def record_pane(self, pane: int, body: bytes) -> None:
        """Keep what was decided at the end of `pane`, and merge the pane's counts into one row."""
        number = self._commit_number + 1
        with self._transaction() as connection:
            self._advance(connection, number, None)
            merged = self._counts(connection, pane, pane)
            mine = (pane_counts.c.run_id == self.run_id) & (pane_counts.c.pane == pane)
            connection.execute(delete(pane_counts).where(mine))
            self._put_all(
                connection,
                pane_counts,
                [
                    {
                        "pane": pane,
                        "commit_number": number,
                        "keys": merged.keys.tobytes(),
                        "counts": merged.counts.tobytes(),
                    }
                ],
            )
            self._put_all(connection, pane_records, [{"pane": pane, "body": body}])
        self._commit_number = number

    def finish(self) -> None:
        """Mark the run as finished: the next one of the same name starts over."""
        number = self._commit_number + 1
        with self._transaction() as connection:
            self._advance(connection, number, None)
            connection.execute(update(runs).where(runs.c.run_id == self.run_id).values(is_finished=1))
        self._commit_number = number


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder cannot be made: {error.strerror}", "Choose another --home", place=str(folder)
        ) from error


def _offset_rows(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    return [
        {"partition": partition, "next_offset": next_offset, "latest_ms": latest_ms}
        for partition, (next_offset, latest_ms) in checkpoint.offsets.items()
    ]
