"""Requests of alerts in the store: each episode once, one order at a time, between two panes' decisions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.alert_book import AlertBook, AlertReceipt
from stream.closing import expire_panes
from stream.database import Database
from stream.ledger import DECISIONS, RECORDS, Ledger
from stream.migrations import check_schema
from stream.schema import SCHEMA_VERSION
from stream.shard_store import join_run, open_run
from tests.components import POSTGRES
from tests.postgres import PostgresServer
from tidegate.contracts import AlertEpisode, AlertStatus
from tidegate.counts import BucketedCounts
from tidegate.errors import StoreUnavailableError

NOTHING = BucketedCounts.empty()
COOLDOWN_MS = 1_000
_numbers = count()


def episode(name: str, starts_at: str = "2026-01-01T00:00:00Z", group: str = "group") -> AlertEpisode:
    return AlertEpisode(group_key=group, fingerprint=name, starts_at=starts_at, alert=name)


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.create_database("alert-book")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real(POSTGRES.name))])
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AlertBook]:
    is_sqlite = request.param == "sqlite"
    run_id = f"run-{next(_numbers)}"
    with closing(Database(tmp_path / "runs.db" if is_sqlite else request.getfixturevalue("postgres_url"))) as database:
        join_run(database, run_id, "kafka://b/t", "{}", 1)
        yield AlertBook(database, run_id)


def receive(book: AlertBook, *names: str, at_ms: int = 0) -> list[tuple[AlertStatus, bool]]:
    receipts = book.receive([episode(name) for name in names], now_ms=at_ms, cooldown_ms=COOLDOWN_MS)
    return [(receipt.status, receipt.is_new) for receipt in receipts]


def test_an_episode_is_taken_once_however_often_it_is_delivered(book: AlertBook) -> None:
    assert receive(book, "a") == [(AlertStatus.OPEN, True)]
    assert receive(book, "a", at_ms=5_000) == [(AlertStatus.OPEN, False)]
    assert receive(book, "a", "a", at_ms=6_000) == [(AlertStatus.OPEN, False)] * 2
    assert [request.number for request in book.requests()] == [1]


def test_group_fingerprint_and_beginning_tell_episodes_apart(book: AlertBook) -> None:
    later = "2026-01-02T00:00:00Z"
    episodes = [episode("a"), episode("a", later), episode("a", group="other"), episode("b")]
    assert len({each.episode_id for each in episodes}) == 4
    receipts = book.receive(episodes, now_ms=0, cooldown_ms=0)
    assert receipts == [AlertReceipt(number, AlertStatus.OPEN, is_new=True) for number in (1, 2, 3, 4)]


def test_what_comes_within_the_cooldown_is_kept_as_suppressed(book: AlertBook) -> None:
    assert receive(book, "a", "b") == [(AlertStatus.OPEN, True), (AlertStatus.SUPPRESSED, True)]
    assert receive(book, "c", at_ms=999) == [(AlertStatus.SUPPRESSED, True)]
    assert receive(book, "d", at_ms=1_000) == [(AlertStatus.OPEN, True)]
    assert receive(book, "b", at_ms=9_000) == [(AlertStatus.SUPPRESSED, False)]  # the episode had its answer


def test_a_run_that_has_ended_needs_no_order(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "runs.db")) as database:
        open_run(database, "run", "file", "{}")
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE runs SET has_ended = 1")
        assert receive(AlertBook(database, "run"), "a") == [(AlertStatus.UNNEEDED, True)]


def test_a_run_that_is_not_there_yet_is_waited_for(book: AlertBook) -> None:
    with pytest.raises(StoreUnavailableError, match="there is no run other yet"):
        receive(AlertBook(book.database, "other"), "a")


def test_requests_are_answered_one_after_the_other(book: AlertBook) -> None:
    book.receive([episode("a"), episode("b")], now_ms=7, cooldown_ms=0)
    first = book.next()
    assert first is not None
    assert (first.number, first.status, first.received_ms, first.episode) == (1, AlertStatus.OPEN, 7, episode("a"))
    counts = BucketedCounts(np.array([512]), np.array([3]))
    assert book.put_decision(1, 4, b"decision", counts)
    assert not book.put_decision(1, 4, b"another", counts)
    assert not book.put_decision(2, 4, b"too soon", counts)  # the first one is under way
    ordered = book.next()
    assert ordered is not None
    assert (ordered.status, ordered.pane, ordered.decision) == (AlertStatus.ORDERED, 4, b"decision")
    newest = book.newest(1)
    assert newest is not None
    assert (newest.keys.tolist(), newest.counts.tolist()) == ([512], [3])
    assert book.oldest_waiting_ms() == 7
    assert book.put_result(1, b"result", 9)
    assert not book.put_result(1, b"again", 10)
    assert [(each.number, each.result, each.answered_ms) for each in book.answered(4)] == [(1, b"result", 9)]
    assert book.put_decision(2, 4, b"decision", NOTHING)
    assert book.put_result(2, b"result", 11)
    assert book.next() is None
    assert book.oldest_waiting_ms() is None
    assert [each.number for each in book.answered()] == [1, 2]


def test_a_request_that_needs_no_order_is_dismissed_once(book: AlertBook) -> None:
    receive(book, "a")
    assert book.dismiss(1, 8)
    assert not book.dismiss(1, 9)
    assert book.next() is None
    assert [(each.status, each.answered_ms) for each in book.requests()] == [(AlertStatus.UNNEEDED, 8)]


@pytest.mark.parametrize("table", [DECISIONS, RECORDS])
def test_no_alert_is_decided_behind_the_next_pane(book: AlertBook, table: object) -> None:
    receive(book, "a")
    ledger = Ledger(book.database, book.run_id)
    assert table in (DECISIONS, RECORDS)
    ledger.put(DECISIONS if table is DECISIONS else RECORDS, 5, b"decided")
    assert not book.put_decision(1, 4, b"decision", NOTHING)
    assert book.put_decision(1, 5, b"decision", NOTHING)


def test_no_pane_is_decided_past_an_alert_that_it_does_not_know_of(book: AlertBook) -> None:
    receive(book, "a")
    book.put_decision(1, 4, b"decision", NOTHING)
    assert not book.put_pane_decision(5, b"pane", n_answered=0)
    assert not book.put_pane_decision(5, b"pane", n_answered=1)  # its result is awaited
    book.put_result(1, b"result", 0)
    assert not book.put_pane_decision(5, b"pane", n_answered=0)
    assert book.put_pane_decision(5, b"pane", n_answered=1)
    assert not book.put_pane_decision(5, b"again", n_answered=1)
    assert book.put_pane_decision(6, b"next", n_answered=0)


def test_receivers_that_run_beside_each_other_take_each_episode_once(book: AlertBook) -> None:
    names = [f"a{n}" for n in range(12)]

    def take(shift: int) -> list[AlertReceipt]:
        chosen = [episode(name) for name in names[shift:] + names[:shift]]
        return [receipt for each in chosen for receipt in book.receive([each], now_ms=0, cooldown_ms=COOLDOWN_MS)]

    with ThreadPoolExecutor(4) as pool:
        receipts = [receipt for taken in pool.map(take, range(0, 12, 3)) for receipt in taken]
    assert sum(receipt.is_new for receipt in receipts) == len(names)
    assert [request.number for request in book.requests()] == list(range(1, len(names) + 1))
    assert [request.status for request in book.requests()].count(AlertStatus.OPEN) == 1


def test_what_was_answered_after_a_number_is_found(book: AlertBook) -> None:
    book.receive([episode("a"), episode("b")], now_ms=0, cooldown_ms=0)
    for number in (1, 2):
        book.put_decision(number, 4, b"decision", NOTHING)
        assert book.is_ordered()
        book.put_result(number, b"result", 0)
    assert not book.is_ordered()
    assert [each.number for each in book.answered_after(0)] == [1, 2]
    assert [each.number for each in book.answered_after(1)] == [2]


def test_counts_of_dropped_panes_go_and_the_requests_stay(book: AlertBook) -> None:
    receive(book, "a")
    book.put_decision(1, 4, b"decision", BucketedCounts(np.array([512]), np.array([3])))
    expire_panes(book.database, book.run_id, before_pane=4)
    assert book.newest(1) is not None
    expire_panes(book.database, book.run_id, before_pane=5)
    assert book.newest(1) is None
    assert receive(book, "a") == [(AlertStatus.ORDERED, False)]


def test_a_store_of_the_version_before_gets_room_for_requests(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    Database(path).close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("DROP TABLE alert_requests")
        file.execute("UPDATE store_info SET schema_version = 3")
    with closing(Database(path)) as database:
        join_run(database, "run", "kafka://b/t", "{}", 1)
        assert receive(AlertBook(database, "run"), "a") == [(AlertStatus.OPEN, True)]
        with database.writing() as connection:
            check_schema(connection, "")
            found = connection.exec_driver_sql("SELECT schema_version FROM store_info").scalar()
    assert found == SCHEMA_VERSION


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=20), st.integers(0, 3))
def test_whatever_is_delivered_in_whatever_order_each_episode_has_one_answer(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[list[int]], cooldown: int
) -> None:
    """Against plain Python: an episode is open unless a taken one came within the cooldown before it."""
    with closing(Database(tmp_path_factory.mktemp("book") / "runs.db")) as database:
        join_run(database, "run", "kafka://b/t", "{}", 1)
        book = AlertBook(database, "run")
        expected: dict[str, AlertStatus] = {}
        last_ms = None
        for now_ms, names in enumerate(deliveries):
            for name in map(str, names):
                if name not in expected:
                    is_soon = last_ms is not None and now_ms - last_ms < cooldown
                    expected[name] = AlertStatus.SUPPRESSED if is_soon else AlertStatus.OPEN
                    last_ms = last_ms if is_soon else now_ms
            receipts = book.receive([episode(str(name)) for name in names], now_ms=now_ms, cooldown_ms=cooldown)
            assert [receipt.status for receipt in receipts] == [expected[str(name)] for name in names]
        found = {request.episode.alert: request.status for request in book.requests()}
        assert found == expected
        assert [request.number for request in book.requests()] == list(range(1, len(expected) + 1))
