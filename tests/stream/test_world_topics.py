from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition

from stream.worlds import World, world_named, write_log
from stream.worlds.topic import Pace, create_topic, send_log
from tests.mock_broker import MockBroker
from tidegate.cli.main import cli
from tidegate.clock import ManualClock
from tidegate.errors import BrokerError, RequestError

TINY = replace(world_named("abrupt"), days=3, sessions_per_day=40, n_users=30)
NOWHERE = "127.0.0.1:1"


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    with MockBroker() as broker:
        yield broker


def messages_of(broker: MockBroker, topic: str) -> dict[int, list[tuple[bytes, bytes]]]:
    """Key and value of everything in a topic, by partition."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "test", "enable.partition.eof": True})
    found: dict[int, list[tuple[bytes, bytes]]] = {}
    for partition in range(MockBroker.N_PARTITIONS):
        consumer.assign([TopicPartition(topic, partition, 0)])
        found[partition] = []
        while (message := consumer.poll(10)) is not None and message.error() is None:
            found[partition].append((message.key(), message.value()))
    consumer.close()
    return found


def sent(world: World, broker: MockBroker, topic: str, pace: Pace, clock: ManualClock | None = None) -> int:
    return send_log(world, broker.address, topic, pace, clock or ManualClock())


def test_a_topic_holds_what_the_log_holds_keyed_by_user_in_each_users_order(broker: MockBroker, tmp_path: Path):
    n_sent = sent(TINY, broker, "watches", Pace(0, lambda _: False))
    assert n_sent == write_log(TINY, tmp_path / "log.jsonl")
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    found = messages_of(broker, "watches")
    assert sum(map(len, found.values())) == n_sent
    for partition in found.values():
        users = {int(key) for key, _ in partition}
        assert [json.loads(value) for _, value in partition] == [row for row in logged if row["user_id"] in users]


def test_a_day_takes_as_long_as_the_pace_says(broker: MockBroker):
    clock = ManualClock()

    def rest(seconds: float) -> bool:
        clock.sleep(seconds)
        return False

    sent(TINY, broker, "paced", Pace(12.0, rest), clock)
    assert clock.monotonic_seconds() == pytest.approx(3 * 12.0, abs=0.1)


def test_a_producer_that_is_told_to_stop_has_sent_what_it_says(broker: MockBroker):
    rests: list[float] = []

    def stop_at_the_second(seconds: float) -> bool:
        rests.append(seconds)
        return len(rests) == 2

    n_sent = sent(TINY, broker, "stopped", Pace(24.0, stop_at_the_second))
    assert rests == [1.0, 1.0]
    assert sum(map(len, messages_of(broker, "stopped").values())) == n_sent


def test_a_topic_that_is_there_is_left_alone(broker: MockBroker):
    broker.produce("there", [b"{}"])
    assert not create_topic(broker.address, "there", 2)


def test_no_broker_is_said_with_the_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("stream.worlds.topic._ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("stream.worlds.topic._DELIVERY_SECONDS", 0.2)
    quiet = {"log_level": 0}
    with pytest.raises(BrokerError, match=f"kafka://{NOWHERE}/watches: events cannot be written"):
        create_topic(NOWHERE, "watches", 1, quiet)
    with pytest.raises(BrokerError, match="not acknowledged"):
        send_log(replace(TINY, days=1), NOWHERE, "watches", Pace(0, lambda _: False), ManualClock(), quiet)


def test_events_without_a_place_to_go_are_refused():
    result = CliRunner().invoke(cli, ["synth", "--days", "1"])
    assert isinstance(result.exception, RequestError)
    assert "--to" in str(result.exception)


def test_a_recent_world_ends_at_the_last_midnight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tidegate.cli.synth.SystemClock", lambda: ManualClock(1_750_000_000_000))
    truth = tmp_path / "truth.json"
    sizes = ["--days", "2", "--sessions-per-day", "40", "--users", "30"]
    arguments = ["synth", "--out", str(tmp_path / "log.csv"), "--recent", "--truth", str(truth), *sizes]
    assert CliRunner().invoke(cli, arguments, catch_exceptions=False).exit_code == 0
    written = json.loads(truth.read_text())
    assert (written["start"], written["end"]) == ("2025-06-13T00:00:00Z", "2025-06-15T00:00:00Z")
