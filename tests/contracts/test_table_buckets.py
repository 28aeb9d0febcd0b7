"""Places that many machines publish to and copy from: what is published at once, half, or away for a while."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from refresh.lookup import Lookup
from tests.table_places import Bucket
from tests.tables import OTHER, crash, publish, small_table
from tidegate.clock import ManualClock
from tidegate.errors import TableError, TableUnavailableError, TidegateError


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def test_of_two_machines_that_publish_at_once_one_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = bucket.store("one"), bucket.store("two")
    publish(one, small_table())
    point_to = one._point_to

    def other_first(*args: object) -> None:
        publish(two, small_table(OTHER), window_end_ms=2_000)
        point_to(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(one, "_point_to", other_first)
        with pytest.raises(TableError, match="another publisher has moved the pointer meanwhile"):
            publish(one, small_table({}), window_end_ms=3_000)
    assert one.current() == two.current() == 3
    assert publish(one, small_table({}), window_end_ms=3_000) == one.current() == 4
    assert one.manifest(4).parent == 3


def test_two_machines_never_write_under_one_number(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = bucket.store("one"), bucket.store("two")
    monkeypatch.setattr(one.shelf, "_objects", dict)  # a listing from before the other's claim
    assert (two.shelf.claim(1), one.shelf.claim(1)) == (1, 2)


def test_an_answer_that_got_lost_is_no_refusal(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    store = bucket.store()
    pipe_file = bucket.files.pipe_file

    def twice(path: str, content: bytes, mode: str = "overwrite") -> None:
        pipe_file(path, content, mode=mode)
        if mode == "create":
            pipe_file(path, content, mode=mode)  # as a driver tries again that saw no answer

    monkeypatch.setattr(bucket.files, "pipe_file", twice)
    assert publish(store, small_table()) == store.current() == 1


def test_a_version_that_was_never_finished_is_removed_by_a_later_publish(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bucket.store()
    with monkeypatch.context() as patch:
        patch.setattr(bucket.files, "put_file", crash)
        with pytest.raises(KeyboardInterrupt):
            publish(store, small_table())
    assert publish(store, small_table()) == 2
    assert bucket.files.exists(bucket.path("v00000001", "claim.json"))  # its writer may be alive
    publish(store, small_table({}), window_end_ms=2_000)
    assert not bucket.files.exists(bucket.path("v00000001", "claim.json"))
    assert not list(store.root.glob(".tmp-*"))


def test_a_rollback_to_a_version_that_is_deleted_meanwhile_is_said(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = bucket.store("one"), bucket.store("two")
    publish(one, small_table())
    publish(one, small_table({}), window_end_ms=2_000)
    point_to = one._point_to

    def after_deletion(*args: object) -> None:
        two.retain(1)
        point_to(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(one, "_point_to", after_deletion)
    with pytest.raises(TableError, match="version 1 was deleted while the pointer moved to it"):
        one.rollback(why="x")


def test_a_copy_that_went_bad_is_fetched_again(bucket: Bucket) -> None:
    publish(bucket.store(), small_table())
    reader = bucket.store("two")
    reader.load()
    for path in reader.root.glob("v*/*.npy"):
        path.write_bytes(path.read_bytes()[:-1])
    assert reader.load().content_checksum() == small_table().content_checksum()


def test_a_fetch_that_was_killed_on_the_way_is_begun_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(bucket.store(), small_table())
    reader = bucket.store("two")
    with monkeypatch.context() as patch:
        patch.setattr(bucket.files, "get_file", crash)
        with pytest.raises(KeyboardInterrupt):
            reader.load()
    assert list(reader.root.glob(".fetched-*"))
    assert reader.load().content_checksum() == small_table().content_checksum()
    assert not list(reader.root.glob(".fetched-*"))


def test_moves_that_cannot_be_read_are_left_out_of_the_history(bucket: Bucket) -> None:
    publish(bucket.store(), small_table())
    bucket.break_pointer()
    bucket.store().rollback(1, why="mended")
    assert [move.why for move in bucket.store().history()] == ["policy", "mended"]


def test_only_the_last_thousand_moves_are_kept(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refresh.table_bucket._KEPT_MOVES", 2)
    for number in range(4):
        publish(bucket.store(), small_table({(0, 1): (2 + number % 2,)}), window_end_ms=number)
    assert [move.to_version for move in bucket.store().history()] == [2, 3, 4]  # the next publish drops another one


def test_a_copy_of_another_store_at_the_same_url_is_not_taken_for_it(bucket: Bucket) -> None:
    reader = bucket.store("two")
    publish(bucket.store(), small_table())
    reader.load()
    bucket.files.rm(bucket.path(), recursive=True)
    publish(bucket.store("three"), small_table(OTHER))
    assert reader.load().n_rows == 4


def test_processes_of_a_machine_share_copies_and_few_are_kept(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, one = bucket.store("writer"), bucket.store("two")
    for number in range(6):
        publish(writer, small_table({(0, 1): (2 + number % 2,)}), window_end_ms=number)
        one.load()
    copies = {path.name for path in one.root.glob("v*")}
    assert copies == {f"v{version:08d}" for version in (3, 4, 5, 6)}
    monkeypatch.setattr(bucket.files, "get_file", crash)
    assert bucket.store("two").load().n_rows == 1


def test_a_place_that_is_away_serves_on_is_said_once_and_is_tried_again(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bucket.store(), small_table())
    rejected: list[TidegateError] = []
    lookup = Lookup(bucket.store("two"), clock=ManualClock(), on_rejected=rejected.append)
    publish(bucket.store(), small_table({}), window_end_ms=2_000)

    def away(*_: object, **__: object) -> None:
        raise RuntimeError("503 slow down")

    for method in ("find", "get_file"):
        with monkeypatch.context() as patch:
            patch.setattr(bucket.files, method, away)
            for _ in range(3):
                assert not lookup.poll()
            assert "RuntimeError: 503 slow down" in str(lookup.rejected)
            assert isinstance(lookup.rejected, TableUnavailableError)
    assert (lookup.version, len(rejected)) == (1, 1)
    assert lookup.poll()
    assert (lookup.version, lookup.rejected) == (2, None)
    with monkeypatch.context() as patch:
        patch.setattr(bucket.files, "pipe_file", away)
        with pytest.raises(TableUnavailableError, match="does not answer as it should"):
            publish(bucket.store(), small_table(OTHER), window_end_ms=3_000)
    assert bucket.store().current() == 2


def test_a_full_disk_under_the_cache_leaves_the_version_before_it(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bucket.store(), small_table())
    lookup = Lookup(bucket.store("two"), clock=ManualClock())
    publish(bucket.store(), small_table({}), window_end_ms=2_000)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("refresh.table_bucket.shutil.copytree", full)
        assert not lookup.poll()
    assert "No space left on device" in str(lookup.rejected)
    assert lookup.poll()
    assert np.array_equal(lookup.snapshot().table.pairs, small_table({}).pairs)
