"""Members of a consumer group on a real broker: shares, hand-overs, lost offsets, dead letters, mirrored offsets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, Message, TopicPartition

from stream.broker import DeadLetter
from stream.events import Outcome
from stream.sources.kafka_group import KafkaDeadLetters, KafkaGroup
from tests.broker import KafkaBroker
from tidegate.errors import BrokerError

PATIENCE_SECONDS = 30.0
QUICK = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "200"}


@dataclass
class Member:
    """A member that keeps what it reads, and goes on where `stored` says."""

    group: KafkaGroup
    stored: dict[int, int]
    held: set[int] = field(default_factory=set)
    read: list[tuple[int, int]] = field(default_factory=list)

    def on_assigned(self, partitions: Sequence[int]) -> dict[int, int]:
        self.held |= set(partitions)
        return {partition: self.group.start_of(partition, self.stored.get(partition)) for partition in partitions}

    def on_revoked(self, partitions: Sequence[int]) -> None:
        self.held -= set(partitions)

    def on_lost(self, partitions: Sequence[int]) -> None:
        self.held -= set(partitions)

    def poll(self) -> None:
        for records in self.group.poll(self).records:
            self.read += [(records.partition, int(offset)) for offset in records.offsets]
            self.stored[records.partition] = int(records.offsets[-1]) + 1

    def close(self) -> None:
        self.group.close(self)


def _until(is_true: Callable[[], bool], *members: Member) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, [(member.held, member.read) for member in members]
        for member in members:
            member.poll()


def _messages(n: int) -> list[tuple[bytes | None, bytes]]:
    return [(b"key %d" % i, b"value %d" % i) for i in range(n)]


def test_members_share_the_partitions_and_hand_them_over_without_reading_twice(kafka: KafkaBroker) -> None:
    kafka.create_topic("group-share", partitions=2)
    for partition in (0, 1):
        kafka.produce("group-share", _messages(5), partition=partition)
    stored: dict[int, int] = {}
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(
                closing(Member(KafkaGroup(kafka.bootstrap, "group-share", "g", properties=QUICK), stored))
            )
            for _ in range(2)
        )
        assert one.group.partitions == (0, 1)
        assert one.group.ends() == {0: 5, 1: 5}
        _until(lambda: len(one.read) == 10, one)
        _until(lambda: len(one.held) == len(other.held) == 1, one, other)
        assert one.held | other.held == {0, 1}
        for partition in (0, 1):
            kafka.produce("group-share", _messages(3), partition=partition)
        _until(lambda: len(one.read) + len(other.read) == 16, one, other)
        one.close()
        assert one.held == set()
        kafka.produce("group-share", _messages(2), partition=0)
        _until(lambda: other.held == {0, 1} and len(one.read) + len(other.read) == 18, other)
        assert sorted(one.read + other.read) == [(0, n) for n in range(10)] + [(1, n) for n in range(8)]


def _delete_before(kafka: KafkaBroker, topic: str, offset: int) -> None:
    admin = kafka.admin()  # it must outlive its answers
    for future in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        future.result(PATIENCE_SECONDS)


def test_an_offset_that_is_gone_is_told_with_the_way_on_and_that_way_leads_on(kafka: KafkaBroker) -> None:
    kafka.create_topic("group-lost")
    kafka.produce("group-lost", _messages(10), partition=0)
    _delete_before(kafka, "group-lost", 6)
    with closing(Member(KafkaGroup(kafka.bootstrap, "group-lost", "g1", properties=QUICK), {0: 2})) as member:
        with pytest.raises(BrokerError) as lost:
            member.group.start_of(0, 2)
        assert "--from-earliest" in str(lost.value)
        assert (member.group.start_of(0, None), member.group.start_of(0, 7), member.group.start_of(0, 10)) == (6, 7, 10)
        with pytest.raises(BrokerError):
            member.group.start_of(0, 11)
    group = KafkaGroup(kafka.bootstrap, "group-lost", "g2", properties=QUICK, from_earliest=True)
    with closing(Member(group, {0: 2})) as member:
        _until(lambda: len(member.read) == 4, member)
        assert member.read == [(0, n) for n in range(6, 10)]


def test_a_log_that_is_cut_off_under_a_reader_is_told_with_the_way_on(kafka: KafkaBroker) -> None:
    kafka.create_topic("group-cut")
    kafka.produce("group-cut", _messages(3), partition=0)
    with closing(Member(KafkaGroup(kafka.bootstrap, "group-cut", "cut", properties=QUICK), {})) as member:
        _until(lambda: len(member.read) == 3, member)
        member.group.pause([0])
        kafka.produce("group-cut", _messages(10), partition=0)
        _delete_before(kafka, "group-cut", 9)
        member.group.resume([0])
        with pytest.raises(BrokerError, match=r"group-cut\[0\]@\d+: the stored offset \d+ is not in the log") as lost:
            _until(lambda: len(member.read) == 13, member)
        assert "--from-earliest" in lost.value.mend


def _refusal(reason: int, partition: int = -1) -> Message:
    return Message(topic="group-refused", partition=partition, error=KafkaError(reason))


@dataclass
class Refusing:
    """A consumer that brings nothing but refusals."""

    refusals: list[Message]

    def subscribe(self, *_: Any, **__: Any) -> None:
        """Nothing is subscribed to."""

    def consume(self, *_: Any, **__: Any) -> list[Message]:
        return [self.refusals.pop(0)]


def test_an_error_that_passes_is_waited_out_and_another_is_told_with_its_place(kafka: KafkaBroker) -> None:
    kafka.create_topic("group-refused")
    group = KafkaGroup(kafka.bootstrap, "group-refused", "refused", properties=QUICK)
    consumer = group._consumer
    group._consumer = Refusing(
        [
            _refusal(KafkaError._ALL_BROKERS_DOWN),
            _refusal(KafkaError.TOPIC_AUTHORIZATION_FAILED, 3),
            _refusal(KafkaError.GROUP_AUTHORIZATION_FAILED, -1),
        ]
    )
    member = Member(group, {})
    assert group.poll(member).records == []
    with pytest.raises(BrokerError, match=r"^group-refused\[3\]: the broker answered with an error \(.*uthoriz"):
        group.poll(member)
    with pytest.raises(BrokerError, match=r"^kafka://.*/group-refused: the broker answered with an error") as refused:
        group.poll(member)
    assert "start the worker again" in refused.value.mend
    consumer.close()


def test_a_topic_that_is_not_there_is_refused(kafka: KafkaBroker) -> None:
    with pytest.raises(BrokerError, match="group-nowhere"):
        KafkaGroup(kafka.bootstrap, "group-nowhere", "g")


def test_what_is_not_read_yet_is_counted_once_the_log_has_been_heard_of(kafka: KafkaBroker) -> None:
    kafka.create_topic("group-lag", partitions=2)
    kafka.produce("group-lag", _messages(4), partition=0)
    with closing(Member(KafkaGroup(kafka.bootstrap, "group-lag", "lag", properties=QUICK), {})) as member:
        assert member.group.lag_records({}) == 0
        assert member.group.lag_records({0: 0}) is None
        _until(lambda: len(member.read) == 4 and member.group.lag_records({0: 1, 1: 0}) is not None, member)
        assert member.group.lag_records({0: 1, 1: 0}) == 3
        assert member.group.lag_records({0: 9}) == 0
    assert member.group.lag_records({0: 1}) is None


def test_committed_offsets_are_mirrored_for_lag_tools(kafka: KafkaBroker) -> None:
    kafka.create_topic("group-mirror")
    kafka.produce("group-mirror", _messages(4), partition=0)
    with closing(Member(KafkaGroup(kafka.bootstrap, "group-mirror", "mirror", properties=QUICK), {})) as member:
        _until(lambda: len(member.read) == 4, member)
        member.group.mirror({0: 3})
        member.group.mirror({})
    member.group.mirror({0: 4})  # closed: nothing happens
    asked = ConsumerGroupTopicPartitions("mirror", [TopicPartition("group-mirror", 0)])
    admin = kafka.admin()  # it must outlive its answer
    found: Any = admin.list_consumer_group_offsets([asked])["mirror"].result(PATIENCE_SECONDS)
    assert [each.offset for each in found.topic_partitions] == [3]


def _letter(offset: int, key: bytes | None = b"key") -> DeadLetter:
    return DeadLetter("watches", 3, offset, Outcome.MALFORMED, "no time. Add one", key, b"{nonsense")


def test_dead_letters_arrive_as_they_were_with_the_reason_in_their_headers(kafka: KafkaBroker) -> None:
    kafka.create_topic("group-letters")
    letters = KafkaDeadLetters(kafka.bootstrap, "group-letters")
    letters.flush()
    letters.send([_letter(7), _letter(8, None)])
    letters.flush()
    config = {"bootstrap.servers": kafka.bootstrap, "group.id": "letters", "auto.offset.reset": "earliest"}
    with closing(Consumer(config)) as consumer:
        consumer.assign([TopicPartition("group-letters", 0, 0)])
        found = consumer.consume(2, timeout=PATIENCE_SECONDS)
    assert [(message.key(), message.value()) for message in found] == [(b"key", b"{nonsense"), (None, b"{nonsense")]
    assert dict(found[0].headers() or []) == {
        "topic": b"watches",
        "partition": b"3",
        "offset": b"7",
        "outcome": b"malformed",
        "error": b"no time. Add one",
    }


def test_dead_letters_that_no_broker_acknowledges_in_time_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.sources.kafka_group._DELIVERY_SECONDS", 0.2)
    letters = KafkaDeadLetters("127.0.0.1:9", "group-letters", {"log_level": "0"})
    letters.send([_letter(7)])
    with pytest.raises(BrokerError, match=r"group-letters: dead letters were not accepted \(no answer within 0\.2 s\)"):
        letters.flush()


def test_dead_letters_that_find_no_topic_are_an_error(kafka: KafkaBroker) -> None:
    letters = KafkaDeadLetters(kafka.bootstrap, "group-no-letters", {"message.timeout.ms": "2000"})
    letters.send([_letter(7)])
    with pytest.raises(BrokerError, match=r"group-no-letters: dead letters were not accepted") as refused:
        letters.flush()
    assert "dead-letter topic exists" in refused.value.mend
