from __future__ import annotations

import socket
from collections import Counter
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tests.broker import BrokerStartError, KafkaBroker, free_ports
from tests.components import KAFKA

Read = tuple[int | None, bytes | None, bytes | None]


def read_all(broker: KafkaBroker, topic: str, partitions: int, n_messages: int) -> list[Read]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": topic, "enable.auto.commit": False})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        messages: list[Read] = []
        while len(messages) < n_messages:
            batch = consumer.consume(n_messages, timeout=10.0)
            assert batch, f"only {len(messages)} of {n_messages} messages came"
            messages += [(message.partition(), message.key(), message.value()) for message in batch]
        return messages
    finally:
        consumer.close()


def test_a_thousand_messages_on_four_partitions_come_back_once_each_in_the_order_of_their_keys(
    kafka: KafkaBroker,
) -> None:
    sent = [(b"user-%d" % (i % 37), b"%d" % i) for i in range(1_000)]
    kafka.create_topic("broker-round-trip", partitions=4)

    assert kafka.produce("broker-round-trip", sent) == 1_000

    received = read_all(kafka, "broker-round-trip", 4, 1_000)
    assert Counter((key, value) for _, key, value in received) == Counter(sent)
    assert {partition for partition, _, _ in received} == {0, 1, 2, 3}
    for user in {key for key, _ in sent}:
        assert [value for _, key, value in received if key == user] == [value for key, value in sent if key == user]


def test_messages_go_to_the_partition_that_is_named(kafka: KafkaBroker) -> None:
    kafka.create_topic("broker-named-partition", partitions=3)
    kafka.produce("broker-named-partition", [(None, b"a"), (None, b"b")], partition=2)
    assert read_all(kafka, "broker-named-partition", 3, 2) == [(2, None, b"a"), (2, None, b"b")]


def test_a_topic_that_exists_is_refused(kafka: KafkaBroker) -> None:
    kafka.create_topic("broker-twice")
    with pytest.raises(KafkaException, match="already exists"):
        kafka.create_topic("broker-twice")


def test_producing_to_a_partition_that_is_not_there_is_an_error(kafka: KafkaBroker) -> None:
    kafka.create_topic("broker-narrow", partitions=1)
    with pytest.raises(KafkaException):
        kafka.produce("broker-narrow", [(None, b"lost")], partition=7)


@pytest.mark.real(KAFKA.name)
def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    broker = KafkaBroker(KAFKA.find(), tmp_path, properties={"process.roles": "nonsense"})
    with pytest.raises(BrokerStartError, match=r"(?s)ended with 1.*nonsense"):
        broker.start()
    assert broker.pid is None


@pytest.mark.real(KAFKA.name)
def test_a_broker_whose_port_is_taken_says_why(tmp_path: Path) -> None:
    broker = KafkaBroker(KAFKA.find(), tmp_path)
    host, port = broker.bootstrap.split(":")
    why = r"(?s)ended before it answered.*Address already in use"
    with socket.create_server((host, int(port))), pytest.raises(BrokerStartError, match=why):
        broker.start()
    assert broker.pid is None


@pytest.mark.real(KAFKA.name)
def test_a_broker_that_does_not_answer_in_time_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.broker.START_SECONDS", 0.0)
    broker = KafkaBroker(KAFKA.find(), tmp_path)
    with pytest.raises(BrokerStartError, match=r"no answer on 127\.0\.0\.1"):
        broker.start()
    assert broker.pid is None


@pytest.mark.real(KAFKA.name)
def test_a_broker_that_is_killed_comes_back_with_its_messages(tmp_path: Path) -> None:
    with KafkaBroker(KAFKA.find(), tmp_path) as broker:
        broker.create_topic("survives")
        broker.produce("survives", [(b"k", b"before")])
        broker.kill()
        broker.start()
        broker.produce("survives", [(b"k", b"after")])
        assert [value for _, _, value in read_all(broker, "survives", 1, 2)] == [b"before", b"after"]


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(8))) == 8
