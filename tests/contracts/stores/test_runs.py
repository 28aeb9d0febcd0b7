"""Runs on a store: answers of panes, joining, resuming, reading."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from stream.checkpoint import Marks, Progress
from stream.database import Database
from stream.ledger import RECORDS, RESULTS, Ledger
from stream.run_reader import RunReader, RunState
from stream.schema import runs
from stream.shard_store import join_run, open_run
from tests.contracts.stores.world import Store, content_of, full_checkpoint
from tidegate.errors import FencedError


def test_an_answer_is_written_by_whoever_is_first(store: Store) -> None:
    ledgers, start = [Ledger(store.open(), store.run_id) for _ in range(2)], threading.Barrier(2)
    assert (store.ledger.last_pane(RECORDS), store.ledger.get(RECORDS, 0)) == (None, None)

    def put(ledger: Ledger, body: bytes) -> list[bool]:
        start.wait()
        return [ledger.put(RECORDS, pane, body) for pane in range(-3, 20)]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(put, ledgers, (b"one", b"other"))
    assert [a + b for a, b in zip(one, other, strict=True)] == [1] * 23
    assert [store.ledger.get(RECORDS, pane) for pane in range(-3, 20)] == [b"one" if a else b"other" for a in one]
    assert store.ledger.last_pane(RECORDS) == 19
    assert store.ledger.last_pane(RESULTS) is None


def test_a_run_of_one_process_resumes_until_it_is_finished(store: Store) -> None:
    assert not open_run(store.database, store.run_id, "log", "{}")
    zombie = store.shard(-1)
    zombie.commit(full_checkpoint())
    assert open_run(store.database, store.run_id, "log", "{}")
    with store.database.writing() as connection:
        connection.execute(update(runs).where(runs.c.run_id == store.run_id).values(is_finished=True))
    assert not open_run(store.database, store.run_id, "log", "{}")
    with pytest.raises(FencedError):
        zombie.commit(full_checkpoint())
    fresh = store.shard(-1)
    assert content_of(fresh) | {"progress": None, "marks": None} == {
        "progress": None,
        "marks": None,
        "offsets": {},
        "codes": {},
        "stats": {},
        "segments": [],
        "waiting": [],
        "ids": [],
        "parts": [],
    }
    assert (fresh.progress(), fresh.marks()) == (Progress(), {-1: Marks()})


def test_workers_join_one_run_whose_partitions_may_become_more_but_not_fewer(store: Store) -> None:
    def join(n_partitions: int) -> None:
        join_run(store.database, store.run_id, "topic", "{}", n_partitions)

    for n_partitions, expected in ((3, 3), (2, 3), (5, 5)):
        join(n_partitions)
        assert store.reader.state() == RunState(expected, None, None, None, False)


def test_processes_that_open_a_new_store_together_create_it_once(store: Store, tmp_path: Path) -> None:
    if store.database.is_sqlite:
        url: str = str(tmp_path / "together.db")
    else:
        with store.database._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql('CREATE DATABASE "contracts-together"')
        url = store.url.replace("contracts-stores", "contracts-together")
    start = threading.Barrier(3)

    def open_it(_: int) -> Database:
        start.wait()
        return Database(url)

    with ThreadPoolExecutor(3) as pool:
        for database in pool.map(open_it, range(3)):
            store.opened.append(database)
    assert open_run(store.opened[-1], "run", "log", "{}") is False


def test_readers_see_what_was_committed_and_do_not_wait_for_a_writer(store: Store) -> None:
    other = RunReader(store.open(), store.run_id)
    store.join(1)
    with store.database.writing() as connection:
        connection.execute(update(runs).where(runs.c.run_id == store.run_id).values(n_partitions=9))
        assert other.state().n_partitions == 1
    assert other.state().n_partitions == 9
