"""Following the pointer beside a run: sent when it moves, tried again where that fails, said once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from refresh.table_store import TableStore
from tests.tables import publish, small_table
from tidegate.cli.topic_following import follow
from tidegate.errors import BrokerError


def test_the_topic_is_brought_up_to_date_when_the_pointer_moves_and_once_a_minute(tmp_path: Path) -> None:
    store, sent, looks = TableStore(tmp_path), [], iter(range(200))

    def rest(_: float) -> bool:
        look = next(looks)
        if look == 3:
            publish(store, small_table())
        return look == 130

    follow(store, lambda: sent.append(store.current()), rest)
    assert sent == [None, 1, 1, 1]  # at the start, at the move, and at looks 60 and 120


def test_what_fails_is_tried_again_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tried, looks = [], iter(range(6))

    def sync() -> None:
        tried.append(1)
        if len(tried) < 4:
            raise BrokerError("the broker is away", "Wait", place="table")

    with caplog.at_level(logging.WARNING):
        follow(TableStore(tmp_path), sync, lambda _: next(looks) == 5)
    assert len(tried) == 4
    assert caplog.text.count("the broker is away") == 1
