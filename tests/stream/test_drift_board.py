"""Parts of a window are taken on one by one, and left for all to see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.database import Database
from stream.drift_board import TAKEN_FOR_SECONDS, DriftBoard
from stream.shard_store import join_run

LEASE_MS = round(1_000 * TAKEN_FOR_SECONDS)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "runs.db")
    join_run(database, "run", "topic", "{}", 1)
    yield database
    database.close()


def test_each_part_is_taken_on_once_and_all_are_there_when_all_were_left(database: Database) -> None:
    mine, yours = DriftBoard(database, "run", "me"), DriftBoard(database, "run", "you")
    assert [mine.take(7, 3, 0), yours.take(7, 3, 0), mine.take(7, 3, 0), yours.take(7, 3, 0)] == [0, 1, 2, None]
    mine.put(7, 2, b"two")
    yours.put(7, 1, b"one")
    assert yours.parts(7, 3) is None
    mine.put(7, 0, b"zero")
    assert yours.parts(7, 3) == [b"zero", b"one", b"two"]
    assert mine.parts(8, 3) is None
    assert DriftBoard(database, "another", "me").parts(7, 3) is None


def test_a_part_whose_evaluator_does_not_come_back_is_taken_on_by_another(database: Database) -> None:
    mine, yours = DriftBoard(database, "run", "me"), DriftBoard(database, "run", "you")
    mine.take(7, 1, 1_000)
    assert yours.take(7, 1, 1_000 + LEASE_MS - 1) is None
    assert yours.take(7, 1, 1_000 + LEASE_MS) == 0
    assert mine.take(7, 1, 1_000 + LEASE_MS) is None  # it is theirs now
    yours.put(7, 0, b"theirs")
    mine.put(7, 0, b"late")
    assert mine.parts(7, 1) == [b"theirs"]
    assert mine.take(7, 1, 10**9) is None


def test_clearing_drops_the_parts_of_a_window_and_of_those_before(database: Database) -> None:
    board = DriftBoard(database, "run", "me")
    for pane in (5, 6, 7):
        board.take(pane, 1, 0)
        board.put(pane, 0, b"%d" % pane)
    board.clear(6)
    assert [board.parts(pane, 1) for pane in (5, 6, 7)] == [None, None, [b"7"]]
    board.put(5, 0, b"too late")
    assert board.parts(5, 1) is None
