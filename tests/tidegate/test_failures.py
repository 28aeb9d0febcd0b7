"""What is corrupt, truncated or foreign stops a run with a message that helps, and never touches what serves."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from refresh.row_cache import RowCache
from refresh.table_store import TableStore
from tests.runs import SYNTHETIC, run_quietly, small_log
from tests.tables import publish, small_table
from tests.tidegate.test_answering import N_CLUSTERS, World
from tidegate.cli.answering import is_over
from tidegate.errors import CorruptTableError, EngineError, TableError, TidegateError


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "home", flags={"policy": "always+own"})
    yield made
    made.database.close()


def advance(world: World, until: Callable[[], bool] = lambda: False) -> None:
    """Start the roles anew and let them answer panes until nothing is left, or `until` holds."""
    roles = world.roles()
    while not is_over(roles[0].ledger) and not until():
        assert sum(role.advance() for role in roles)


def tables_of(world: World) -> TableStore:
    return TableStore(world.home / "tables", world.clock)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def foreign(path: Path) -> None:
    path.write_bytes(b'{"format": "somebody else\'s", "format_version": 1}')


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [truncated, flipped, foreign, removed])
@pytest.mark.parametrize("name", ["clusters.npy", "cluster_names.json", "manifest.json"])
def test_a_damaged_table_stops_the_run_and_says_how_to_go_on(
    world: World, name: str, damage: Callable[[Path], None]
) -> None:
    advance(world, lambda: tables_of(world).current() is not None and bool(world.records[1:]))
    tables = tables_of(world)
    serving, pointer = tables.current(), (world.home / "tables" / "CURRENT").read_bytes()
    assert serving is not None
    path = world.home / "tables" / f"v{serving:08d}" / name
    damage(path)
    with pytest.raises(CorruptTableError) as refused:
        advance(world)
    assert str(path) in str(refused.value.place)
    assert "Serve the version before it" in refused.value.mend or "publish a new one" in refused.value.mend
    assert (world.home / "tables" / "CURRENT").read_bytes() == pointer


@pytest.mark.parametrize("damage", [truncated, flipped, foreign, removed])
def test_damaged_rows_cost_their_calls_again_and_change_nothing(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    checksums = []
    for spoils in (False, True):
        world = World(tmp_path / f"{spoils}", flags={"policy": "always+own"})
        advance(world, lambda world=world: len(world.records) > 2)  # type: ignore[misc]
        (path,) = (world.home / "rows").glob("pane-*.npz")
        if spoils:
            damage(path)
        advance(world)
        checksums.append(tables_of(world).load().content_checksum())
        world.database.close()
    assert checksums[0] == checksums[1]


def test_rows_of_another_program_are_taken_for_damaged_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "pane-000000000003.npz", keys=np.zeros(3), clusters=np.zeros((3, 5), np.int32))
    assert len(RowCache(tmp_path, 5)) == 0


def test_a_table_of_another_catalogue_is_no_table_of_this_run(world: World) -> None:
    advance(world, lambda: len(world.records) > 2)
    tables = tables_of(world)
    names = ("c0", "c1", "renamed", "c3", "c4")
    foreign_version = publish(tables, small_table(names=names))
    serving = world.records[-1].table_version
    assert serving is not None
    tables.rollback(serving, why="back")
    tables.rollback(foreign_version, why="by mistake")
    with pytest.raises(TableError) as refused:
        advance(world)
    assert f"version {foreign_version} is of another catalogue: its cluster 2 is 'renamed'" in str(refused.value)
    assert "'c2'" in str(refused.value)
    assert f"--to {serving}" in refused.value.mend
    assert tables.current() == foreign_version  # a person's choice is not undone
    tables.rollback(serving, why="mend")
    advance(world)
    assert len(tables.load().cluster_names) == N_CLUSTERS


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_log(tmp_path_factory.mktemp("log"), days=6, sessions=150)


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def no_manifest(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def another_program(folder: Path) -> None:
    no_manifest(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tidegate.json").write_text("{}")
    for name in ("manifest.json", "tidegate_model.json"):
        (folder / name).write_bytes(msgspec.json.encode({"format": "other"}))


@pytest.mark.parametrize("damage", [no_folder, no_manifest, another_program])
def test_a_model_that_is_none_stops_a_run_before_anything_serves(
    log: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    damage(model)
    flags: dict[str, Any] = {**SYNTHETIC, "engine": "embedded", "model": model, "permutations": 20}
    with pytest.raises(TidegateError) as refused:
        run_quietly(log, tmp_path / "home", **flags)
    assert isinstance(refused.value, EngineError) or refused.value.exit_code == 2
    assert str(model) in str(refused.value)
    assert refused.value.mend
    assert TableStore(tmp_path / "home" / "tables").current() is None
