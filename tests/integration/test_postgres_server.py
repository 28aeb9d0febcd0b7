from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, NullPool, create_engine, text

from tests.components import POSTGRES
from tests.postgres import PostgresServer, PostgresStartError


def engine_of(url: str) -> Engine:
    return create_engine(url, poolclass=NullPool)


def numbers(url: str) -> list[int]:
    with engine_of(url).connect() as connection:
        return list(connection.scalars(text("SELECT n FROM numbers ORDER BY n")))


def write(url: str, n: int) -> None:
    with engine_of(url).begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS numbers (n INTEGER)"))
        connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": n})


def test_a_database_of_ones_own_starts_empty_and_keeps_what_is_written(postgres: PostgresServer) -> None:
    one, other = postgres.create_database("server-one"), postgres.create_database("server-other")
    write(one, 1)
    write(other, 2)
    assert (numbers(one), numbers(other)) == ([1], [2])


def test_a_database_that_exists_is_refused(postgres: PostgresServer) -> None:
    postgres.create_database("server-twice")
    with pytest.raises(psycopg.errors.DuplicateDatabase, match="already exists"):
        postgres.create_database("server-twice")


def test_commits_are_synced_unless_a_test_asks_otherwise(postgres: PostgresServer) -> None:
    with engine_of(postgres.url).connect() as connection:
        assert connection.scalar(text("SHOW fsync")) == "on"


@pytest.mark.real(POSTGRES.name)
def test_a_server_that_is_restarted_keeps_its_data_and_its_address(tmp_path: Path) -> None:
    with PostgresServer(POSTGRES.find(), tmp_path, settings={"fsync": "off"}) as server:
        write(server.url, 1)
        pid = server.pid
        server.restart()
        assert server.pid != pid
        assert numbers(server.url) == [1]


@pytest.mark.real(POSTGRES.name)
def test_a_server_that_is_killed_loses_what_was_not_committed_and_nothing_else(tmp_path: Path) -> None:
    with PostgresServer(POSTGRES.find(), tmp_path, settings={"fsync": "off"}) as server:
        write(server.url, 1)
        with closing(psycopg.connect(server.url.replace("+psycopg", ""))) as session:
            session.execute("INSERT INTO numbers VALUES (2)")
            backend = session.info.backend_pid
            server.kill()
            with pytest.raises(psycopg.OperationalError):
                session.commit()
        assert server.pid is None
        assert not Path(f"/proc/{backend}/exe").exists()  # at most a name is left, for init to clear

        server.start()
        assert numbers(server.url) == [1]
        assert "was interrupted" in server.log_tail()


@pytest.mark.real(POSTGRES.name)
def test_a_server_that_stops_waits_for_no_client(tmp_path: Path) -> None:
    with PostgresServer(POSTGRES.find(), tmp_path, settings={"fsync": "off"}) as server:
        with closing(psycopg.connect(server.url.replace("+psycopg", ""))) as session:
            server.stop()
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
        assert server.pid is None
        assert "database system is shut down" in server.log_tail()


@pytest.mark.real(POSTGRES.name)
def test_stopping_or_killing_a_server_that_does_not_run_does_nothing(tmp_path: Path) -> None:
    server = PostgresServer(POSTGRES.find(), tmp_path)
    server.stop()
    server.kill()
    assert server.pid is None


@pytest.mark.real(POSTGRES.name)
def test_data_that_cannot_be_made_say_why(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stranger").touch()
    with pytest.raises(PostgresStartError, match=r"(?s)initdb ended with 1.*not empty"):
        PostgresServer(POSTGRES.find(), tmp_path).start()


@pytest.mark.real(POSTGRES.name)
def test_a_server_whose_port_is_taken_says_why(tmp_path: Path) -> None:
    server = PostgresServer(POSTGRES.find(), tmp_path)
    host, port = server.address.split(":")
    why = r"(?s)ended before it answered.*Address already in use"
    with socket.create_server((host, int(port))), pytest.raises(PostgresStartError, match=why):
        server.start()
    assert server.pid is None


@pytest.mark.real(POSTGRES.name)
def test_a_server_that_does_not_answer_in_time_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.postgres.START_SECONDS", 0.0)
    server = PostgresServer(POSTGRES.find(), tmp_path)
    with pytest.raises(PostgresStartError, match=r"no answer on 127\.0\.0\.1"):
        server.start()
    assert server.pid is None
