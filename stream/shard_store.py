"""A shard's part of the store: counts, sequences, waiting events and offsets, made true together.

A commit is one transaction with a compare-and-set on (epoch, commit number): whoever takes a shard over takes a new
epoch, so an owner that was thought dead and comes back (a zombie) finds its commits refused, and nothing is counted
twice or lost ("Storing Offsets Outside Kafka", Kafka consumer documentation).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Delete,
    Table,
    bindparam,
    case,
    delete,
    insert,
    select,
    update,
)

from stream.checkpoint import (
    Checkpoint,
    EventIds,
    Marks,
    Progress,
    WaitingEvents,
    bytes_of_counts,
    counts_of_bytes,
    decode_event_ids,
    decode_segment,
    decode_waiting,
    encode_columns,
)
from stream.database import Database, add_rows, put_rows
from stream.part_levels import PartLevels
from stream.run_reader import RunReader
from stream.schema import (
    OF_A_RUN,
    clusters,
    event_id_segments,
    offsets,
    pane_parts,
    pane_stats,
    runs,
    sequence_segments,
    shards,
    waiting_segments,
)
from stream.sequences import UserSegment
from tidegate.counts import BucketedCounts
from tidegate.errors import FencedError


def _of_shard(table: Table) -> tuple[ColumnElement[bool], ...]:
    return table.c.run_id == bindparam("of_run"), table.c.shard == bindparam("of_shard")


def _drop_old(table: Table) -> Delete:
    return delete(table).where(*_of_shard(table), table.c.latest_ms < bindparam("before_ms"))


# What every commit runs, written once: to build these statements takes longer than to run them.
_ADVANCE = update(shards).where(
    *_of_shard(shards), shards.c.epoch == bindparam("at_epoch"), shards.c.commit_number == bindparam("after_commit")
)
_DROP_WAITING, _DROP_EVENT_IDS = _drop_old(waiting_segments), _drop_old(event_id_segments)
_DROP_SEGMENTS = delete(sequence_segments).where(*_of_shard(sequence_segments))

USERS_A_PIECE = 100_000
"""Users of one row of sequence state."""


class ShardStore(RunReader):
    """One shard of a run, owned by this process until another one takes it over.

    Attributes
    ----------
    shard : int        its partition, or `stream.schema.WHOLE_RUN`

    Raises
    ------
    StoreError
        If the database refuses.
    """

    def __init__(self, database: Database, run_id: str, shard: int, *, owner: str = "") -> None:
        super().__init__(database, run_id)
        self.shard = shard
        with database.writing() as connection:
            self._take_over(connection, owner)

    def _take_over(self, connection: Connection, owner: str) -> None:
        taken = connection.execute(
            update(shards).where(*self._mine(shards)).values(epoch=shards.c.epoch + 1, owner=owner)
        )
        if not taken.rowcount:
            connection.execute(
                insert(shards).values(
                    run_id=self.run_id,
                    shard=self.shard,
                    owner=owner,
                    epoch=1,
                    commit_number=0,
                    progress=msgspec.msgpack.encode(Progress()),
                    **Marks()._asdict(),
                )
            )
        row = connection.execute(select(shards.c.epoch, shards.c.commit_number).where(*self._mine(shards))).one()
        self._epoch, self._commit_number = int(row.epoch), int(row.commit_number)
        self._levels = PartLevels(self._part_numbers(connection))

    def _part_numbers(self, connection: Connection) -> dict[int, list[int]]:
        key = pane_parts.c.pane, pane_parts.c.commit_number
        numbers: dict[int, list[int]] = {}
        for row in connection.execute(select(*key).where(*self._mine(pane_parts)).order_by(*key)):
            numbers.setdefault(row.pane, []).append(row.commit_number)
        return numbers

    def progress(self) -> Progress:
        """How far the shard has come."""
        with self.database.reading() as connection:
            body = connection.execute(select(shards.c.progress).where(*self._mine(shards))).scalar_one()
        return msgspec.msgpack.decode(body, type=Progress)

    def offsets(self) -> dict[int, tuple[int, int]]:
        """Next offset and latest event time (ms) by partition."""
        rows = self._rows(offsets, offsets.c.partition, offsets.c.shard == self.shard)
        return {row.partition: (row.next_offset, row.latest_ms) for row in rows}

    def segments(self) -> Iterator[UserSegment]:
        """Sequence state, oldest segment first, in pieces."""
        for row in self._segment_rows(sequence_segments, sequence_segments.c.piece):
            yield decode_segment(row.body)

    def waiting(self) -> Iterator[WaitingEvents]:
        """Read waiting events, oldest segment first; those before the shard's `counted_ms` wait no longer."""
        for row in self._segment_rows(waiting_segments):
            yield decode_waiting(row.body)

    def event_ids(self) -> Iterator[EventIds]:
        """Ids of events that were seen, oldest segment first."""
        for row in self._segment_rows(event_id_segments):
            yield decode_event_ids(row.body)

    def shard_stats(self) -> dict[int, Any]:
        """Figures of this shard by pane, ascending: bytes of int64[7] each."""
        rows = self._rows(pane_stats, pane_stats.c.pane, pane_stats.c.shard == self.shard)
        return {row.pane: row.figures for row in rows}

    def _segment_rows(self, table: Table, *more: Column[Any]) -> Iterator[Any]:
        """Read segments one by one: together they may be as large as the state that is built from them."""
        key = (table.c.commit_number, *more)
        with self.database.reading() as connection:
            found = connection.execute(select(*key).where(*self._mine(table)).order_by(*key)).all()
        for values in found:
            is_it = [column == value for column, value in zip(key, values, strict=True)]
            with self.database.reading() as connection:
                yield from connection.execute(select(table).where(*self._mine(table), *is_it)).all()

    def _mine(self, table: Table) -> tuple[ColumnElement[bool], ...]:
        return table.c.run_id == self.run_id, table.c.shard == self.shard

    @property
    def _me(self) -> dict[str, Any]:
        """Values for the statements of `_of_shard`."""
        return {"of_run": self.run_id, "of_shard": self.shard}

    def commit(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint true, or nothing of it. May be repeated when its outcome is unknown.

        1. Compare and set: the shard must still be at this owner's epoch and commit.
        2. Append the counts since the last commit, pane by pane, merged with some of before where those are many.
        3. Append the state of the users that changed (or replace all of it).
        4. Append the events that wait and the event ids, drop those that are done with.
        5. Put offsets, clusters and pane figures.

        Raises
        ------
        FencedError
            If another owner has taken the shard over.
        StoreUnavailableError
            If the database refuses for now (down, locked, disk full).
        StoreError
            If it refuses for good; nothing was changed.
        """
        number = self._commit_number + 1
        joined = self._joined_parts(checkpoint)
        with self.database.writing() as connection:
            if self._advance(connection, number, checkpoint):  # 1
                self._write(connection, number, checkpoint, joined)
        self._commit_number = number
        self._levels.settle(joined, number, checkpoint.progress.closed_pane)

    def _joined_parts(self, checkpoint: Checkpoint) -> dict[int, list[int]]:
        """Choose the parts of before that this commit's are merged with, by pane.

        None of a pane that this commit closes: once it is closed its parts are the evaluator's.
        """
        closed_pane = checkpoint.progress.closed_pane
        return {
            pane: self._levels.joined_by(pane) if closed_pane is None or pane > closed_pane else []
            for pane, counts in checkpoint.counts.items()
            if counts.keys.size
        }

    def _put_parts(
        self, connection: Connection, number: int, checkpoint: Checkpoint, joined: dict[int, list[int]]
    ) -> None:
        rows = []
        for pane, numbers in joined.items():
            counts = checkpoint.counts[pane]
            if numbers:
                others = (*self._mine(pane_parts), pane_parts.c.pane == pane, pane_parts.c.commit_number.in_(numbers))
                stored = connection.execute(select(pane_parts.c["keys"], pane_parts.c.counts).where(*others)).all()
                counts = BucketedCounts.merge([counts, *(counts_of_bytes(*row) for row in stored)])
                connection.execute(delete(pane_parts).where(*others))
            rows.append({"pane": pane, "commit_number": number, **bytes_of_counts(counts)})
        self._put_all(connection, pane_parts, rows)

    def _write(self, connection: Connection, number: int, checkpoint: Checkpoint, joined: dict[int, list[int]]) -> None:
        self._put_parts(connection, number, checkpoint, joined)  # 2
        if checkpoint.replaces_segments:  # 3
            connection.execute(_DROP_SEGMENTS, self._me)
        for piece, users in enumerate(checkpoint.segment.pieces(USERS_A_PIECE) if checkpoint.segment else ()):
            row = {"commit_number": number, "piece": piece, "body": encode_columns(users)}
            self._put_all(connection, sequence_segments, [row])
        self._put_times(connection, waiting_segments, number, checkpoint.waiting)  # 4
        self._put_times(connection, event_id_segments, number, checkpoint.event_ids)
        connection.execute(_DROP_WAITING, self._me | {"before_ms": checkpoint.progress.counted_ms})
        connection.execute(_DROP_EVENT_IDS, self._me | {"before_ms": checkpoint.forget_ids_before_ms})
        self._put_all(connection, offsets, _offset_rows(checkpoint))  # 5
        self._put_clusters(connection, checkpoint)
        stats = [{"pane": pane, "figures": figures.tobytes()} for pane, figures in checkpoint.stats.items()]
        self._put_all(connection, pane_stats, stats)

    def _advance(self, connection: Connection, number: int, checkpoint: Checkpoint | None = None) -> bool:
        """Move on to commit `number`; False where that has happened already, in a commit whose answer got lost."""
        values: dict[str, Any] = {"commit_number": number}
        if checkpoint is not None:
            values |= {"progress": msgspec.msgpack.encode(checkpoint.progress)} | checkpoint.marks._asdict()
        expected = {"at_epoch": self._epoch, "after_commit": number - 1}
        if connection.execute(_ADVANCE, self._me | expected | values).rowcount == 1:
            return True
        found = connection.execute(
            select(shards.c.epoch, shards.c.commit_number, shards.c.owner).where(*self._mine(shards))
        ).one_or_none()
        if found is not None and (found.epoch, found.commit_number) == (self._epoch, number):
            return False
        who = f" ({found.owner})" if found is not None and found.owner else ""
        raise FencedError(
            f"run {self.run_id} was taken over by another process{who}",
            "Stop one of the two: a run has one owner at a time",
            place=self.database.place,
        )

    def _put_all(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Insert rows of this shard, replacing those of the same key."""
        mine = {"run_id": self.run_id} | ({"shard": self.shard} if "shard" in table.c else {})
        put_rows(connection, table, [mine | row for row in rows])

    def _put_times(
        self, connection: Connection, table: Table, number: int, columns: WaitingEvents | EventIds | None
    ) -> None:
        if columns is not None and columns.times_ms.size:
            row = {"commit_number": number, "latest_ms": int(columns.times_ms.max()), "body": encode_columns(columns)}
            self._put_all(connection, table, [row])

    def _put_clusters(self, connection: Connection, checkpoint: Checkpoint) -> None:
        new = [{"code": code, "name": name, "cluster_id": code} for code, name in checkpoint.new_clusters.items()]
        self._put_all(connection, clusters, new)
        if checkpoint.first_seen:
            first_ms = bindparam("seen_ms", type_=BigInteger)
            earliest = case((clusters.c.first_ms < first_ms, clusters.c.first_ms), else_=first_ms)
            is_it = (clusters.c.run_id == self.run_id) & (clusters.c.code == bindparam("of_code"))
            # In one order, so that owners cannot deadlock.
            seen = [{"of_code": code, "seen_ms": ms} for code, ms in sorted(checkpoint.first_seen.items())]
            connection.execute(update(clusters).where(is_it).values(first_ms=earliest), seen)


def open_run(database: Database, run_id: str, source: str, flags: str) -> bool:
    """Find or make a run of one process; returns whether an unfinished one was found. A finished one starts over."""
    with database.writing() as connection:
        row = connection.execute(select(runs).where(runs.c.run_id == run_id).with_for_update()).one_or_none()
        if row is None:
            connection.execute(insert(runs).values(_new_run(run_id, source, flags)))
            return False
        if row.is_finished:
            _clear(connection, run_id)
        return not row.is_finished


def join_run(database: Database, run_id: str, source: str, flags: str, n_partitions: int) -> None:
    """Find or make a run that workers share; its partitions may become more."""
    with database.writing() as connection:
        add_rows(connection, runs, [_new_run(run_id, source, flags)])
        is_fewer = runs.c.n_partitions.is_(None) | (runs.c.n_partitions < n_partitions)
        connection.execute(update(runs).where(runs.c.run_id == run_id, is_fewer).values(n_partitions=n_partitions))


def _new_run(run_id: str, source: str, flags: str) -> dict[str, Any]:
    return {"run_id": run_id, "source": source, "flags": flags, "is_finished": False, "has_ended": False}


def _clear(connection: Connection, run_id: str) -> None:
    """Begin a run anew; its shards keep their epochs, so that owners from before stay fenced."""
    for table in OF_A_RUN:
        if table is not shards:
            connection.execute(delete(table).where(table.c.run_id == run_id))
    fresh = {"commit_number": 0, "progress": msgspec.msgpack.encode(Progress())} | Marks()._asdict()
    connection.execute(update(shards).where(shards.c.run_id == run_id).values(epoch=shards.c.epoch + 1, **fresh))
    blank = dict.fromkeys(("stream_ms", "first_pane", "closed_pane"))
    connection.execute(update(runs).where(runs.c.run_id == run_id).values(is_finished=False, has_ended=False, **blank))


def _offset_rows(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    return [
        {"partition": partition, "next_offset": next_offset, "latest_ms": latest_ms}
        for partition, (next_offset, latest_ms) in checkpoint.offsets.items()
    ]
