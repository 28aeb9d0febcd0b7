"""Databases that are away, unknown or wrongly named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream import database as database_module
from stream.checkpoint import Checkpoint, Progress
from stream.database import Database
from stream.shard_store import ShardStore
from tests.components import POSTGRES
from tests.contracts.stores.world import full_checkpoint
from tests.postgres import PostgresServer
from tidegate.errors import ConfigError, StoreError, StoreUnavailableError


@pytest.mark.real(POSTGRES.name)
def test_a_server_that_is_away_is_told_as_such_and_the_same_object_goes_on_after_it_is_back(tmp_path: Path) -> None:
    with PostgresServer(POSTGRES.find(), tmp_path, settings={"fsync": "off"}) as server:
        url = server.url.replace("tidegate@", "tidegate:hush-hush@")
        database = Database(url)
        shard = ShardStore(database, "run", 0)
        shard.commit(full_checkpoint())
        server.stop()
        actions: list[Callable[[], object]] = [
            shard.progress,
            lambda: shard.commit(Checkpoint(Progress(closed_pane=7))),
            lambda: Database(url),
        ]
        for act in actions:
            with pytest.raises(StoreUnavailableError, match="the database refused") as away:
                act()
            assert "hush-hush" not in str(away.value)
            assert away.value.place == database.place
        server.start()
        assert shard.progress() == full_checkpoint().progress
        shard.commit(Checkpoint(Progress(closed_pane=7)))
        assert shard.progress().closed_pane == 7
        database.close()


def test_a_host_that_cannot_be_reached_is_told_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_CONNECT_SECONDS", 1)
    with pytest.raises(StoreUnavailableError, match="the database refused") as away:
        Database("postgresql://someone:hush-hush@127.0.0.1:1/runs")
    assert "hush-hush" not in f"{away.value} {away.value.__cause__}"
    assert away.value.place == "postgresql+psycopg://someone:***@127.0.0.1:1/runs"


@pytest.mark.parametrize("url", ["postgresql://someone:hush-hush@host:port/runs", "://hush-hush", "a b://hush-hush"])
def test_an_address_that_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError, match="--store: the store's address is no URL") as refused:
        Database(url)
    assert "hush-hush" not in str(refused.value)


@pytest.mark.parametrize("url", ["mysql://someone:hush-hush@host/runs", "oracle+thing://hush-hush@host/runs"])
def test_a_kind_of_database_that_is_not_known_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"there is no store on (mysql|oracle)") as refused:
        Database(url)
    assert "hush-hush" not in str(refused.value)


def test_a_postgresql_database_that_does_not_exist_is_refused(postgres: PostgresServer) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        Database(postgres.url_of("contracts-nowhere"))


def test_a_url_may_name_a_file_too(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'runs.db'}")
    assert (database.is_sqlite, database.place) == (True, str(tmp_path / "runs.db"))
    database.close()
    database.close()
