"""Versions on disk: whole or not there, believed only when every byte is what the manifest says."""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import mmap
from pathlib import Path

import numpy as np
import pytest

from refresh.table import TransitionTable
from refresh.table_manifest import MANIFEST, MANIFEST_SUM
from refresh.table_store import TableStore
from tests.tables import NAMES, OTHER, publish, small_table
from tidegate.clock import ManualClock
from tidegate.errors import CorruptTableError, RequestError, TableError


@pytest.fixture
def store(tmp_path: Path) -> TableStore:
    return TableStore(tmp_path / "tables", ManualClock(now_ms=5_000))


@pytest.fixture
def two(store: TableStore) -> TableStore:
    """A store of two versions, the second current."""
    publish(store, small_table(), window_end_ms=1_000)
    publish(store, small_table(OTHER), window_end_ms=2_000)
    return store


def test_what_is_published_is_what_is_loaded_memory_mapped(store: TableStore) -> None:
    table = small_table()
    assert (store.current(), store.numbers(), store.versions()) == (None, [], [])
    assert publish(store, table) == store.current() == 1
    loaded = store.load()
    assert loaded.cluster_names == NAMES
    for name, array in table.arrays().items():
        found = loaded.arrays()[name]
        assert np.array_equal(found, array)
        assert not found.flags.writeable
        assert isinstance(found.base.base, mmap.mmap), name
    assert loaded.content_checksum() == table.content_checksum()


def test_an_empty_table_can_be_published(store: TableStore) -> None:
    publish(store, TransitionTable.empty(NAMES))
    assert store.load().n_rows == 0


def test_the_manifest_says_what_the_version_is_and_where_it_comes_from(two: TableStore) -> None:
    first, second = two.versions()
    assert (first.parent, first.rows_changed, second.parent, second.rows_changed) == (None, 5, 1, 1)
    assert (second.rows, second.backoff_rows, second.clusters, second.top_n) == (4, 2, 5, 3)
    assert (second.created_ms, second.window_end_ms, second.reasons) == (5_000, 2_000, {"drift": 4})
    assert (second.engine_name, second.engine_fingerprint) == ("frequency", "abc")
    folder = two.root / "v00000002"
    for name, entry in second.files.items():
        content = (folder / name).read_bytes()
        assert (entry.size, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    listed = {*second.files, MANIFEST, MANIFEST_SUM}
    assert listed == {path.name for path in folder.iterdir()}


def test_the_same_content_for_the_same_window_is_published_once(two: TableStore) -> None:
    assert publish(two, small_table(OTHER), window_end_ms=2_000) == 2
    assert publish(two, small_table(OTHER), window_end_ms=3_000) == 3
    assert two.numbers() == [1, 2, 3]
    assert two.manifest(3).rows_changed == 0


def test_a_crash_between_rename_and_pointer_is_mended_by_publishing_again(
    store: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, small_table())

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_point_to", crash)
        with pytest.raises(KeyboardInterrupt):
            publish(store, small_table(OTHER), window_end_ms=2_000)
    assert (store.current(), store.numbers()) == (1, [1, 2])
    assert publish(store, small_table(OTHER), window_end_ms=2_000) == store.current() == 2
    assert store.numbers() == [1, 2]


def test_a_crash_in_the_middle_leaves_no_version_and_its_leftover_is_removed(
    two: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("refresh.table_store.write_manifest", crash)
        with pytest.raises(KeyboardInterrupt):
            publish(two, small_table({}), window_end_ms=3_000)
    assert (two.current(), two.numbers()) == (2, [1, 2])
    assert list(two.root.glob(".tmp-*"))
    assert publish(two, small_table({}), window_end_ms=3_000) == 3
    assert not list(two.root.glob(".tmp-*"))


def test_a_corrupt_copy_of_the_same_content_is_not_published_again_but_anew(two: TableStore) -> None:
    _flip(two.root / "v00000002" / "clusters.npy")
    assert publish(two, small_table(OTHER), window_end_ms=2_000) == 3
    assert two.verify(3).rows_changed == 6  # nothing sound to compare with: all rows count


def test_a_second_publisher_is_refused_while_one_is_at_work(two: TableStore) -> None:
    with (two.root / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for attempt in (lambda: publish(two, small_table({})), lambda: two.rollback(why="x"), lambda: two.retain(1)):
            with pytest.raises(TableError, match=r"another publish, rollback or deletion is at work"):
                attempt()
    assert publish(two, small_table({})) == 3


def _flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [*(f"{name}.npy" for name in small_table().arrays()), "cluster_names.json"])
def test_one_flipped_byte_is_found_and_named_with_both_checksums(two: TableStore, name: str) -> None:
    path = two.root / "v00000002" / name
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    _flip(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(CorruptTableError) as caught:
        two.load()
    for part in (str(path), expected, found, "tidegate table rollback --to 1"):
        assert part in str(caught.value)


def test_every_byte_of_the_manifest_and_its_checksum_counts(two: TableStore) -> None:
    for name in (MANIFEST, MANIFEST_SUM):
        path = two.root / "v00000002" / name
        content = path.read_bytes()
        for at in range(0, len(content), 29):
            _flip(path, at)
            with pytest.raises(CorruptTableError, match="rollback --to 1"):
                two.load()
            path.write_bytes(content)
    two.load()


def test_a_truncated_file_is_found_even_without_verifying(two: TableStore) -> None:
    path = two.root / "v00000002" / "pairs.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptTableError, match=r"pairs\.npy: found 159 bytes with SHA-256 .*, expected 160 bytes"):
        two.load(verify=False)


def test_a_missing_file_is_named(two: TableStore) -> None:
    (two.root / "v00000002" / "contexts.npy").unlink()
    with pytest.raises(CorruptTableError, match=r"contexts\.npy: the file is missing, expected are \d+ bytes"):
        two.load()
    (two.root / "v00000001" / MANIFEST).unlink()
    with pytest.raises(CorruptTableError, match=r"manifest\.json: the file cannot be read .* publish a new one"):
        two.load(1)


def _rewrite_manifest(folder: Path, old: str, new: str) -> None:
    """Alter a manifest so that its checksum holds."""
    content = (folder / MANIFEST).read_text().replace(old, new).encode()
    (folder / MANIFEST).write_bytes(content)
    (folder / MANIFEST_SUM).write_text(f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n")


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('"tidegate-table"', '"parquet"', "the format is 'parquet', required is 'tidegate-table'"),
        ('"format_version": 1', '"format_version": 2', "format version 2 is newer than 1.* Upgrade Tidegate, or"),
        ('"version": 2,', '"version": 7,', "the manifest is of version 7, required is 2"),
        ('"pairs.npy"', '"pears.npy"', r"manifest\.json does not list pairs\.npy"),
        ('"rows": 4', '"rows": "four"', "the content is not what belongs there"),
    ],
)
def test_a_manifest_that_means_something_else_is_refused(two: TableStore, old: str, new: str, found: str) -> None:
    _rewrite_manifest(two.root / "v00000002", old, new)
    with pytest.raises(CorruptTableError, match=found):
        two.load()


def test_arrays_that_do_not_fit_together_are_refused_though_their_checksums_hold(two: TableStore) -> None:
    folder = two.root / "v00000002"
    entry = two.manifest(2).files["contexts.npy"]
    np.save(folder / "contexts.npy", np.zeros(4, dtype=np.int16))
    content = (folder / "contexts.npy").read_bytes()
    _rewrite_manifest(folder, entry.sha256, hashlib.sha256(content).hexdigest())
    _rewrite_manifest(
        folder,
        f'"size": {entry.size},\n      "sha256": "{hashlib.sha256(content).hexdigest()}',
        f'"size": {len(content)},\n      "sha256": "{hashlib.sha256(content).hexdigest()}',
    )
    with pytest.raises(CorruptTableError, match="contexts is int16"):
        two.load()


def test_content_that_is_not_what_was_published_is_found_by_verify(two: TableStore) -> None:
    _rewrite_manifest(two.root / "v00000002", two.manifest(2).content_checksum, "0" * 64)
    two.load()
    with pytest.raises(CorruptTableError, match="the content's checksum is"):
        two.verify(2)


def test_a_pointer_that_names_no_version_is_refused_and_mended_by_a_rollback(two: TableStore) -> None:
    (two.root / "CURRENT").write_text("latest")
    with pytest.raises(CorruptTableError, match=r"found 'latest'.* rollback --to 2"):
        two.current()
    with pytest.raises(RequestError, match="the pointer names no version"):
        two.rollback(why="x")
    assert two.rollback(2, why="the pointer was overwritten") == two.current() == 2


def test_a_rollback_goes_to_the_parent_and_is_recorded(two: TableStore) -> None:
    assert two.rollback(why="hit rate fell", who="ann") == two.current() == 1
    publish(two, small_table({}), window_end_ms=3_000)
    assert (two.manifest(3).parent, two.current()) == (1, 3)
    moves = [(move.action, move.from_version, move.to_version, move.who, move.why) for move in two.history()]
    me = getpass.getuser()
    assert moves == [
        ("publish", None, 1, me, "policy"),
        ("publish", 1, 2, me, "policy"),
        ("rollback", 2, 1, "ann", "hit rate fell"),
        ("publish", 1, 3, me, "policy"),
    ]


def test_a_rollback_to_the_serving_version_moves_nothing(two: TableStore) -> None:
    assert two.rollback(2, why="x") == 2
    assert len(two.history()) == 2


def test_a_rollback_refuses_a_corrupt_target_and_leaves_the_pointer(two: TableStore) -> None:
    _flip(two.root / "v00000001" / "pairs.npy")
    with pytest.raises(CorruptTableError):
        two.rollback(why="x")
    assert two.current() == 2


def test_a_rollback_works_although_the_serving_manifest_is_unreadable(two: TableStore) -> None:
    _flip(two.root / "v00000002" / MANIFEST)
    assert two.rollback(why="it is corrupt") == two.current() == 1


def test_a_rollback_without_a_target_is_refused(store: TableStore) -> None:
    with pytest.raises(RequestError, match="no version is current"):
        store.rollback(why="x")
    publish(store, small_table())
    with pytest.raises(RequestError, match="version 1 has no parent on disk"):
        store.rollback(why="x")
    with pytest.raises(RequestError, match=r"there is no version 9\. Name one of those on disk: 1"):
        store.rollback(9, why="x")


def test_a_history_line_that_a_crash_cut_short_is_left_out(two: TableStore) -> None:
    with (two.root / "history.jsonl").open("ab") as file:
        file.write(b'{"time_ms": 12')
    two.rollback(why="x")
    assert [move.to_version for move in two.history()] == [1, 2, 1]


def test_an_unknown_user_is_recorded_by_number(two: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise OSError

    monkeypatch.setattr(getpass, "getuser", nobody)
    two.rollback(why="x")
    assert two.history()[-1].who.startswith("uid ")


def test_retaining_deletes_the_oldest_and_never_the_serving_one(two: TableStore) -> None:
    publish(two, small_table({}), window_end_ms=3_000)
    two.rollback(1, why="x")
    mapped = two.load(2)
    assert two.retain(1) == [2]
    assert (two.numbers(), two.current()) == ([1, 3], 1)
    assert mapped.n_rows == 4  # a reader keeps what it has mapped
    assert publish(two, small_table(OTHER), window_end_ms=4_000) == 4
    assert two.retain(5) == []


def test_retaining_none_is_refused_and_an_empty_store_has_nothing_to_delete(store: TableStore) -> None:
    with pytest.raises(RequestError, match="0 versions cannot be retained"):
        store.retain(0)
    assert store.retain(1) == []


def test_loading_from_an_empty_store_says_what_to_do(store: TableStore) -> None:
    with pytest.raises(RequestError, match="Publish a table first"):
        store.load()
