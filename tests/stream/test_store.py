"""The run store: all of a commit or nothing, one owner at a time, and clear errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stream import store as store_module
from stream.checkpoint import Checkpoint, Progress, StoredIssue
from stream.database import put_rows
from stream.schema import sequence_segments
from stream.sequences import UserSegment
from stream.store import RunStore
from tidegate.counts import BucketedCounts
from tidegate.errors import FencedError, StoreError


def _counts(**of_key: int) -> BucketedCounts:
    keys = sorted(int(key[1:]) for key in of_key)
    return BucketedCounts(np.array(keys, np.int64), np.array([of_key[f"k{key}"] for key in keys], np.int64))


def _segment(user: int, *clusters: int) -> UserSegment:
    n = len(clusters)
    return UserSegment(
        users=np.array([user], np.uint64),
        last_ms=np.array([10 * n], np.int64),
        lengths=np.array([n], np.int32),
        clusters=np.array(clusters, np.int32),
        times_ms=10 * np.arange(1, n + 1, dtype=np.int64),
        predictions=np.full(n, -1, np.int32),
    )


def _checkpoint(number: int, **changes: Any) -> Checkpoint:
    parts: dict[str, Any] = {
        "progress": Progress(closed_pane=number, outcomes={"counted": number}),
        "offsets": {0: (10 * number, 100 * number), 1: (number, -5)},
        "new_clusters": {number - 1: f"cluster {number}"},
        "segment": _segment(2**64 - number, *range(number)),
        "counts": {5: _counts(k256=number, k512=1), 6: _counts(k256=1)},
        "stats": {5: np.full(7, number, np.int64)},
    }
    return Checkpoint(**(parts | changes))


def _content(store: RunStore) -> dict[str, Any]:
    counts = {pane: store.counts(pane, pane) for pane in (4, 5, 6)}
    return {
        "progress": store.progress(),
        "offsets": store.offsets(),
        "names": store.cluster_names(),
        "segments": [segment.users.tolist() + segment.clusters.tolist() for segment in store.segments()],
        "counts": {pane: dict(zip(c.keys.tolist(), c.counts.tolist(), strict=True)) for pane, c in counts.items()},
        "stats": {pane: figures.tolist() for pane, figures in store.stats().items()},
        "records": store.records(),
    }


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Callable[..., RunStore]]:
    opened: list[RunStore] = []

    def open_one(source: str = "log", flags: str = "{}", path: Path | None = None) -> RunStore:
        opened.append(RunStore(path or tmp_path / "new" / "folder" / "store.db", source, flags))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def test_a_commit_is_read_back_whole_by_the_next_owner(open_store: Callable[..., RunStore]) -> None:
    store = open_store()
    progress = Progress(
        earliest_ms=-3,
        latest_ms=7,
        first_pane=-1,
        stream_ms=-(2**62),
        counted_ms=-(2**62),
        issues=(StoredIssue("malformed", "log:2", "no time", "Add one"),),
    )
    store.commit(_checkpoint(1, progress=progress))
    again = open_store()
    assert again.resumed
    assert again.progress() == progress
    assert _content(again) == _content(store)
    assert _content(again) == {
        "progress": progress,
        "offsets": {0: (10, 100), 1: (1, -5)},
        "names": ["cluster 1"],
        "segments": [[2**64 - 1, 0]],
        "counts": {4: {}, 5: {256: 1, 512: 1}, 6: {256: 1}},
        "stats": {5: [1] * 7},
        "records": {},
    }


def test_commits_add_counts_and_segments_and_replace_the_rest(open_store: Callable[..., RunStore]) -> None:
    store = open_store()
    store.commit(_checkpoint(1))
    store.commit(_checkpoint(2, stats={}))
    content = _content(store)
    assert content["counts"] == {4: {}, 5: {256: 3, 512: 2}, 6: {256: 2}}
    assert content["segments"] == [[2**64 - 1, 0], [2**64 - 2, 0, 1]]
    assert content["names"] == ["cluster 1", "cluster 2"]
    assert content["offsets"] == {0: (20, 200), 1: (2, -5)}
    assert content["stats"] == {5: [1] * 7}
    assert store.n_rows(sequence_segments) == 2
    assert dict(zip(*(a.tolist() for a in (store.counts(5, 6).keys, store.counts(5, 6).counts)), strict=True)) == {
        256: 5,
        512: 2,
    }


def test_replacing_segments_leaves_the_new_one_only(open_store: Callable[..., RunStore]) -> None:
    store = open_store()
    store.commit(_checkpoint(1))
    store.commit(_checkpoint(2))
    store.commit(_checkpoint(3, replaces_segments=True))
    assert _content(store)["segments"] == [[2**64 - 3, 0, 1, 2]]
    store.commit(_checkpoint(4, segment=None))
    assert store.n_rows(sequence_segments) == 1


@pytest.mark.parametrize("table", ["pane_parts", "sequence_segments", "offsets", "clusters", "pane_stats"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_fails_at_any_step_changes_nothing(
    open_store: Callable[..., RunStore], monkeypatch: pytest.MonkeyPatch, table: str, when: str
) -> None:
    store = open_store()
    store.commit(_checkpoint(1))
    before, put_all = _content(store), store._put_all

    def fail_at(connection: Any, target: Any, rows: Any) -> None:
        if target.name != table or when == "after":
            put_all(connection, target, rows)
        if target.name == table:
            raise RuntimeError("killed")

    monkeypatch.setattr(store, "_put_all", fail_at)
    with pytest.raises(RuntimeError, match="killed"):
        store.commit(_checkpoint(2, replaces_segments=True))
    monkeypatch.undo()
    assert _content(store) == before
    store.commit(_checkpoint(2))  # it is still the owner, and nothing of the failed attempt is in the way
    assert _content(store)["counts"][5] == {256: 3, 512: 2}


def test_a_pane_is_recorded_with_all_its_counts_or_not_at_all(
    open_store: Callable[..., RunStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    store.commit(_checkpoint(1))
    before = _content(store)

    def fail_at(connection: Any, target: Any, rows: Any) -> None:
        if target.name == "pane_records":
            raise RuntimeError("killed")
        put_rows(connection, target, rows)

    monkeypatch.setattr(store_module, "put_rows", fail_at)
    with pytest.raises(RuntimeError, match="killed"):
        store.record_pane(5, b"decision")
    assert _content(store) == before


def test_recording_a_pane_merges_its_deltas_into_one_row(open_store: Callable[..., RunStore], tmp_path: Path) -> None:
    store = open_store(path=tmp_path / "store.db")
    for number in (1, 2, 3):
        store.commit(_checkpoint(number))
    counts = _content(store)["counts"]
    store.record_pane(5, b"decision")
    store.record_pane(4, b"nothing was seen")
    assert _content(store)["counts"] == counts
    assert _content(store)["records"] == {4: b"nothing was seen", 5: b"decision"}
    with sqlite3.connect(tmp_path / "store.db") as database:
        closed = database.execute("SELECT pane, count(*) FROM pane_counts GROUP BY pane ORDER BY pane").fetchall()
        still_open = database.execute("SELECT pane, count(*) FROM pane_parts GROUP BY pane ORDER BY pane").fetchall()
    database.close()
    assert closed == [(5, 1)]
    assert still_open == [(6, 3)]
    store.commit(_checkpoint(4))
    assert _content(store)["counts"][5] == {256: 10, 512: 4}


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.commit(_checkpoint(2)),
        lambda store: store.record_pane(5, b"decision"),
        lambda store: store.finish(),
    ],
    ids=["commit", "record_pane", "finish"],
)
def test_an_owner_that_was_replaced_can_change_nothing(
    open_store: Callable[..., RunStore], act: Callable[[RunStore], None]
) -> None:
    zombie = open_store()
    zombie.commit(_checkpoint(1))
    owner = open_store()
    before = _content(owner)
    with pytest.raises(FencedError, match="taken over by another process") as fenced:
        act(zombie)
    assert fenced.value.place is not None
    assert fenced.value.place.endswith("store.db")
    assert _content(owner) == before
    owner.commit(_checkpoint(2))
    with pytest.raises(FencedError):
        act(zombie)
    assert open_store().resumed  # nobody finished it


def test_a_zombie_is_fenced_even_after_the_run_was_finished_and_begun_anew(
    open_store: Callable[..., RunStore],
) -> None:
    zombie = open_store()
    zombie.commit(_checkpoint(1))
    open_store().finish()
    fresh = open_store()
    fresh.commit(_checkpoint(1))  # as many commits as the zombie has seen
    with pytest.raises(FencedError):
        zombie.commit(_checkpoint(2))


def test_a_finished_run_starts_over_and_an_unfinished_one_resumes(open_store: Callable[..., RunStore]) -> None:
    first = open_store()
    assert not first.resumed
    first.commit(_checkpoint(1))
    first.record_pane(5, b"decision")
    second = open_store()
    assert second.resumed
    assert second.records() == {5: b"decision"}
    second.commit(_checkpoint(2))
    second.finish()
    third = open_store()
    assert not third.resumed
    assert third.run_id == first.run_id
    assert third.progress() == Progress()
    assert _content(third) | {"progress": None} == {
        "progress": None,
        "offsets": {},
        "names": [],
        "segments": [],
        "counts": {4: {}, 5: {}, 6: {}},
        "stats": {},
        "records": {},
    }


def test_runs_of_other_sources_or_flags_are_separate(open_store: Callable[..., RunStore]) -> None:
    store = open_store("log", '{"pane":"1d"}')
    store.commit(_checkpoint(1))
    for other in (open_store("log", '{"pane":"2d"}'), open_store("other", '{"pane":"1d"}'), open_store("log{", "")):
        assert not other.resumed
        assert other.run_id != store.run_id
        assert other.counts(0, 10).total == 0
        other.commit(_checkpoint(3))
        other.finish()
    store.commit(_checkpoint(2))
    assert _content(store)["counts"][5] == {256: 3, 512: 2}


def test_a_store_of_another_schema_is_left_alone(open_store: Callable[..., RunStore], tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_store(path=path).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE store_info SET schema_version = 99")
    database.close()
    with pytest.raises(StoreError, match=r"schema version 99 where this program knows \d+") as refused:
        open_store(path=path)
    assert refused.value.place == str(path)


def test_a_file_that_is_no_database_is_refused(open_store: Callable[..., RunStore], tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("these are my notes, not a database\n" * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_store(path=path)
    assert path.read_text().startswith("these are my notes")


def test_a_folder_in_the_stores_place_is_refused(open_store: Callable[..., RunStore], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open database file"):
        open_store(path=tmp_path)


def test_a_file_in_the_folders_place_is_refused(open_store: Callable[..., RunStore], tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(StoreError, match="the folder cannot be made"):
        open_store(path=tmp_path / "home" / "deeper" / "store.db")


def test_a_full_disk_fails_the_commit_and_leaves_what_was_there(open_store: Callable[..., RunStore]) -> None:
    store = open_store()
    store.commit(_checkpoint(1))
    before = _content(store)
    with store.database.writing() as connection:  # the nearest thing to a full disk
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    large = BucketedCounts(np.arange(1, 500_001), np.ones(500_000, np.int64))
    with pytest.raises(StoreError, match="full"):
        store.commit(_checkpoint(2, counts={5: large}))
    assert _content(store) == before
    with store.database.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    store.commit(_checkpoint(2))
    assert _content(store)["counts"][5] == {256: 3, 512: 2}
