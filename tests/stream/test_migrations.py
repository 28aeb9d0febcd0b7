"""Stores of older versions go on where they stopped."""

from __future__ import annotations

import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from stream.closing import PaneClosing
from stream.database import Database
from stream.predictions import Predictions, no_predictions
from stream.schema import SCHEMA_VERSION
from stream.sequences import SequenceOptions
from stream.shard import ShardOptions
from stream.store import RunStore
from stream.worker import StreamWorker
from tests.fakes import FakeEvent, FakeSource
from tidegate.counts import BucketedCounts
from tidegate.errors import StoreError

OPTIONS = ShardOptions(SequenceOptions(pane_ms=100, window_ms=200, n_buckets=4), lateness_ms=30)
LOG = {
    0: [FakeEvent(f"user {n % 5}", "abcdefg"[n * n % 7], 10 * n - 25 * (n % 3 == 2)) for n in range(60)],
    1: [FakeEvent(f"user {5 + n % 3}", "abcdefg"[(n + n // 7) % 7], 13 * n) for n in range(40)],
}

VERSION_1 = """
CREATE TABLE store_info (schema_version INTEGER PRIMARY KEY);
INSERT INTO store_info VALUES (1);
CREATE TABLE runs (run_id VARCHAR(32) PRIMARY KEY, source TEXT NOT NULL, flags TEXT NOT NULL,
    is_finished INTEGER NOT NULL, epoch BIGINT NOT NULL, commit_number BIGINT NOT NULL, progress BLOB NOT NULL);
CREATE TABLE offsets (run_id VARCHAR(32), "partition" INTEGER, next_offset BIGINT NOT NULL, latest_ms BIGINT NOT NULL,
    PRIMARY KEY (run_id, "partition"));
CREATE TABLE clusters (run_id VARCHAR(32), cluster_id INTEGER, name TEXT NOT NULL, PRIMARY KEY (run_id, cluster_id));
CREATE TABLE sequence_segments (run_id VARCHAR(32), commit_number BIGINT, body BLOB NOT NULL,
    PRIMARY KEY (run_id, commit_number));
CREATE TABLE pane_counts (run_id VARCHAR(32), pane BIGINT, commit_number BIGINT, keys BLOB NOT NULL,
    counts BLOB NOT NULL, PRIMARY KEY (run_id, pane, commit_number));
CREATE TABLE pane_stats (run_id VARCHAR(32), pane BIGINT, figures BLOB NOT NULL, PRIMARY KEY (run_id, pane));
CREATE TABLE pane_records (run_id VARCHAR(32), pane BIGINT, body BLOB NOT NULL, PRIMARY KEY (run_id, pane));
"""


def _read_on(path: Path, stop_after: int = 10_000) -> bool:
    store, calls = RunStore(path, "log", "{}"), count(1)
    worker = StreamWorker(FakeSource(LOG, [(0, 4), (1, 9)] * 9, batch_records=7), store, OPTIONS, checkpoint_records=9)

    def on_pane(closed: PaneClosing) -> Predictions:
        store.record_pane(closed.pane, b"record")
        return no_predictions()

    has_ended = worker.run(on_pane, no_predictions(), should_stop=lambda: next(calls) >= stop_after)
    store.close()
    return has_ended


def _result(path: Path) -> dict[str, Any]:
    store = RunStore(path, "log", "{}")
    counts = {pane: _as_dict(store.counts(pane, pane)) for pane in range(7)}
    stats = {pane: figures.tolist() for pane, figures in store.stats().items()}
    result = [store.cluster_names(), counts, stats, store.records(), store.progress(), store.offsets()]
    store.close()
    return dict(enumerate(result))


def _as_dict(counts: BucketedCounts) -> dict[int, int]:
    return dict(zip(counts.keys.tolist(), counts.counts.tolist(), strict=True))


def _as_version_1(new_path: Path, path: Path) -> int:
    """Write what an interrupted run left as version 1 had it; returns how many events wait."""
    store = RunStore(new_path, "log", "{}")
    progress, waiting = msgspec.to_builtins(store.progress()), list(store.waiting())
    counted_ms = progress.pop("counted_ms")
    names = sorted({name for each in waiting for name in each.names})
    events = [
        (int(user), names.index(each.names[cluster]), int(time_ms))
        for each in waiting
        for user, cluster, time_ms in zip(each.users, each.clusters, each.times_ms, strict=True)
        if time_ms >= counted_ms
    ]
    progress["waiting_names"] = names
    for key, column, dtype in (("users", 0, np.uint64), ("clusters", 1, np.int32), ("times_ms", 2, np.int64)):
        progress[f"waiting_{key}"] = np.array([event[column] for event in events], dtype).tobytes()
    store.close()
    with sqlite3.connect(path) as old:
        old.executescript(VERSION_1)
        old.execute("ATTACH ? AS new", (str(new_path),))
        old.execute(
            "INSERT INTO runs SELECT run_id, source, flags, r.is_finished, epoch, commit_number, ? "
            "FROM new.runs r JOIN new.shards USING (run_id)",
            (msgspec.msgpack.encode(progress),),
        )
        for statement in (
            'INSERT INTO offsets SELECT run_id, "partition", next_offset, latest_ms FROM new.offsets',
            "INSERT INTO clusters SELECT run_id, code, name FROM new.clusters",
            "INSERT INTO sequence_segments SELECT run_id, commit_number, body FROM new.sequence_segments",
            "INSERT INTO pane_counts SELECT run_id, pane, -1, keys, counts FROM new.pane_counts",
            "INSERT INTO pane_counts SELECT run_id, pane, commit_number, keys, counts FROM new.pane_parts",
            "INSERT INTO pane_stats SELECT run_id, pane, figures FROM new.pane_stats",
            "INSERT INTO pane_records SELECT run_id, pane, body FROM new.pane_records",
        ):
            old.execute(statement)
    old.close()
    return len(events)


@pytest.mark.parametrize("stop_after", [1, 2, 5, 8, 11])
def test_a_store_of_version_1_is_migrated_and_its_run_ends_as_an_undisturbed_one_does(
    tmp_path: Path, stop_after: int
) -> None:
    assert _read_on(tmp_path / "undisturbed.db")
    assert not _read_on(tmp_path / "interrupted.db", stop_after)
    assert _as_version_1(tmp_path / "interrupted.db", tmp_path / "old.db") > 0
    assert _read_on(tmp_path / "old.db")
    assert _result(tmp_path / "old.db") == _result(tmp_path / "undisturbed.db")
    with sqlite3.connect(tmp_path / "old.db") as migrated:
        tables = {name for (name,) in migrated.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert migrated.execute("SELECT schema_version FROM store_info").fetchall() == [(SCHEMA_VERSION,)]
    migrated.close()
    assert not {name for name in tables if name.endswith("_1")}


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
def test_a_store_of_a_version_that_is_not_known_is_refused(tmp_path: Path, version: int) -> None:
    Database(tmp_path / "store.db").close()
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute("UPDATE store_info SET schema_version = ?", (version,))
    database.close()
    with pytest.raises(StoreError, match=rf"schema version {version} where this program knows {SCHEMA_VERSION}"):
        Database(tmp_path / "store.db")
