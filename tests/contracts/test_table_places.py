"""One suite for every place that tables are published to: whole or not there, and believed only to the byte."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from refresh.lookup import Lookup
from refresh.table_manifest import MANIFEST, MANIFEST_SUM
from refresh.table_store import TableStore
from tests.table_places import PLACES, Bucket, Place
from tests.tables import NAMES, OTHER, crash, publish, small_table
from tidegate.clock import ManualClock
from tidegate.contracts import Trigger
from tidegate.errors import ConfigError, CorruptTableError, RequestError, TableError, TidegateError

FILES = [*(f"{name}.npy" for name in small_table().arrays()), "cluster_names.json", MANIFEST, MANIFEST_SUM]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path)


@pytest.fixture
def store(place: Place) -> TableStore:
    return place.store()


@pytest.fixture
def two(store: TableStore) -> TableStore:
    """A store of two versions, the second current."""
    publish(store, small_table(), window_end_ms=1_000)
    publish(store, small_table(OTHER), window_end_ms=2_000)
    return store


def flip(place: Place, version: int, name: str, at: int = -2) -> None:
    content = bytearray(place.read(version, name))
    content[at] ^= 1
    place.write(version, name, bytes(content))


def test_what_one_machine_publishes_another_maps(place: Place, store: TableStore) -> None:
    assert (store.current(), store.numbers(), store.pointer_state(), store.history()) == (None, [], None, [])
    assert publish(store, small_table()) == store.current() == 1
    loaded = place.store("two").load()
    assert loaded.content_checksum() == small_table().content_checksum()
    assert loaded.cluster_names == NAMES
    assert not loaded.clusters.flags.writeable


def test_the_manifest_keeps_parent_and_reasons(two: TableStore) -> None:
    first, second = two.versions()
    assert (first.parent, first.rows_changed, second.parent, second.rows_changed) == (None, 5, 1, 1)
    assert (second.created_ms, second.reasons, second.engine_name) == (5_000, {"drift": 4}, "frequency")


def test_the_pointer_state_moves_with_the_pointer_only(two: TableStore) -> None:
    before = two.pointer_state()
    two.load(1)
    assert two.pointer_state() == before
    two.rollback(why="x")
    assert two.pointer_state() != before


def test_the_same_content_for_the_same_window_is_published_once(two: TableStore) -> None:
    assert publish(two, small_table(OTHER), window_end_ms=2_000) == 2
    assert publish(two, small_table(OTHER), window_end_ms=3_000) == 3
    assert two.numbers() == [1, 2, 3]


def test_a_crash_before_the_pointer_is_mended_by_publishing_again(
    two: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(two, "_point_to", crash)
        with pytest.raises(KeyboardInterrupt):
            publish(two, small_table({}), window_end_ms=3_000)
    assert (two.current(), two.numbers()) == (2, [1, 2, 3])
    assert publish(two, small_table({}), window_end_ms=3_000) == two.current() == 3
    assert two.numbers() == [1, 2, 3]


def test_a_crash_while_writing_leaves_no_version(two: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("refresh.table_store.write_manifest", crash)
        with pytest.raises(KeyboardInterrupt):
            publish(two, small_table({}), window_end_ms=3_000)
    assert (two.current(), two.numbers()) == (2, [1, 2])
    published = publish(two, small_table({}), window_end_ms=3_000)
    assert two.load().n_rows == 0
    assert two.numbers() == [1, 2, published]


def test_a_full_disk_leaves_what_serves_and_nothing_behind(two: TableStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("refresh.table_manifest.np.save", full)
        with pytest.raises(OSError, match="No space left on device"):
            publish(two, small_table({}), window_end_ms=3_000)
    assert (two.current(), two.numbers(), list(two.root.glob(".tmp-*"))) == (2, [1, 2], [])
    publish(two, small_table({}), window_end_ms=3_000)
    assert two.load().n_rows == 0


def test_what_a_person_publishes_says_so_and_replaces_only_what_the_person_looked_at(two: TableStore) -> None:
    def by_hand(on_top_of: int) -> int:
        return two.publish(
            small_table({}),
            window_end_ms=3_000,
            trigger=Trigger.OPERATOR,
            reasons={},
            engine_name="frequency",
            engine_fingerprint="abc",
            action="override",
            why="checked by hand",
            on_top_of=on_top_of,
        )

    with pytest.raises(RequestError, match="version 2 serves, and the table was made to replace version 1"):
        by_hand(1)
    assert by_hand(2) == two.current() == 3
    assert by_hand(2) == 3  # said twice, done once
    assert (two.history()[-1].action, two.history()[-1].why) == ("override", "checked by hand")


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_or_cut_or_missing_file_is_never_loaded(place: Place, two: TableStore, name: str) -> None:
    content = place.read(2, name)
    flip(place, 2, name)
    for machine in ("one", "two"):
        if machine == "one" and isinstance(place, Bucket) and not name.startswith(MANIFEST):
            continue  # it has a sound copy of the very version
        with pytest.raises(CorruptTableError, match="rollback --to 1"):
            place.store(machine).load(2)
    place.write(2, name, content[:-1])
    with pytest.raises(CorruptTableError):
        place.store("three").load(2)
    place.delete(2, name)
    with pytest.raises((CorruptTableError, RequestError)):  # a bucket has no version without its last file
        place.store("four").load(2)
    assert place.store("five").load(1).n_rows == 3


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ('"tidegate-table"', '"parquet"', "the format is 'parquet'"),
        ('"format_version": 1', '"format_version": 2', "format version 2 is newer than 1"),
        ('"version": 2,', '"version": 7,', "the manifest is of version 7, required is 2"),
        ('"pairs.npy"', '"../pairs.npy"', "pairs.npy"),
    ],
)
def test_a_foreign_version_is_never_loaded(place: Place, two: TableStore, old: str, new: str, found: str) -> None:
    content = place.read(2, MANIFEST).decode().replace(old, new).encode()
    place.write(2, MANIFEST, content)
    place.write(2, MANIFEST_SUM, f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode())
    with pytest.raises(CorruptTableError, match=found):
        place.store("two").load(2)


def test_a_broken_pointer_is_refused_and_mended_by_a_rollback(place: Place, two: TableStore) -> None:
    place.break_pointer()
    with pytest.raises(CorruptTableError, match="rollback --to 2"):
        two.current()
    assert two.rollback(2, why="the pointer was overwritten") == two.current() == 2


def test_rollbacks_are_recorded_and_refuse_what_is_corrupt(place: Place, two: TableStore) -> None:
    assert two.rollback(why="hit rate fell", who="ann") == two.current() == 1
    publish(two, small_table({}), window_end_ms=3_000)
    assert two.manifest(3).parent == 1
    moves = [(move.action, move.from_version, move.to_version, move.why) for move in two.history()]
    assert moves[2:] == [("rollback", 2, 1, "hit rate fell"), ("publish", 1, 3, "policy")]
    flip(place, 2, MANIFEST)
    with pytest.raises(CorruptTableError):
        two.rollback(2, why="x")
    assert two.current() == 3


def test_retaining_deletes_the_oldest_and_never_the_serving_one(place: Place, two: TableStore) -> None:
    publish(two, small_table({}), window_end_ms=3_000)
    two.rollback(1, why="x")
    mapped = two.load(2)
    assert two.retain(1) == [2]
    assert (two.numbers(), two.current(), mapped.n_rows) == ([1, 3], 1, 4)
    with pytest.raises(RequestError, match=r"there is no version 2\. Name one of those on disk: 1, 3"):
        place.store("two").load(2)
    assert publish(two, small_table(OTHER), window_end_ms=4_000) == 4


def test_a_lookup_follows_and_goes_on_where_the_next_version_is_corrupt(place: Place, store: TableStore) -> None:
    rejected: list[TidegateError] = []
    publish(store, small_table())
    lookup = Lookup(place.store("two"), clock=ManualClock(), on_rejected=rejected.append)
    publish(store, small_table({}), window_end_ms=2_000)
    flip(place, 2, "cluster_names.json")
    for _ in range(3):
        assert not lookup.poll()
    assert (lookup.version, lookup.n_rejected, len(rejected)) == (1, 1, 1)
    assert lookup.one(0, 1).clusters == (2,)
    publish(store, small_table(OTHER), window_end_ms=3_000)
    assert lookup.poll()
    assert (lookup.version, lookup.rejected) == (3, None)


def test_a_second_publisher_of_the_machine_is_refused(place: Place, two: TableStore) -> None:
    with place.store().shelf.locked():
        for attempt in (lambda: publish(two, small_table({})), lambda: two.rollback(why="x"), lambda: two.retain(1)):
            with pytest.raises(TableError, match="another publish, rollback or deletion is at work"):
                attempt()
    assert publish(two, small_table({})) == 3


# What only buckets can be: shared by machines, away, and copied badly.


def test_a_place_that_nobody_can_open_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--tables nosuch://: this place cannot be opened"):
        open_place(tmp_path, "nosuch://bucket")
    assert open_place(tmp_path, f"file://{tmp_path}/x").root == tmp_path / "x"
    assert open_place(tmp_path, str(tmp_path / "y")).root == tmp_path / "y"


def open_place(home: Path, url: str) -> TableStore:
    from refresh.table_place import open_tables

    return open_tables(home, url)
