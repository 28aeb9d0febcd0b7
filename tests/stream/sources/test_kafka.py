from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from stream.decoding.columns import DecodeOptions
from stream.decoding.engagement import PositiveRule
from stream.decoding.item_map import ItemClusters
from stream.events import EventBatch, Outcome
from stream.sources import kafka_log
from stream.sources.kafka import KafkaSource
from tests.mock_broker import MockBroker
from tidegate.clock import ManualClock
from tidegate.errors import BrokerError, ConfigError, EmptySourceError
from tidegate.hashing import hash_text

_NOW_MS = 1_700_000_000_000
_topics = count()


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    with MockBroker() as broker:
        yield broker


@pytest.fixture
def topic() -> str:
    return f"watches-{next(_topics)}"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(_NOW_MS)


def _values(times: Sequence[int]) -> list[bytes | None]:
    return [json.dumps({"user": time, "cluster": "a", "ts": time}).encode() for time in times]


def _seconds(batch: EventBatch) -> list[int]:
    return [time // 1_000 for time in batch.times_ms.tolist()]


def test_partitions_are_read_to_the_ends_they_had_at_the_start(
    broker: MockBroker, topic: str, clock: ManualClock
) -> None:
    broker.produce(topic, _values([1, 2]), partition=0)
    broker.produce(topic, _values([3]), partition=2)
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    broker.produce(topic, _values([4, 5]), partition=0)
    batches = list(source.batches({}))
    assert source.n_records_expected == 3
    assert source.partitions == (0, 1, 2, 3)
    assert {b.partition: b.next_offset for b in batches if b.at_end} == {0: 2, 1: 0, 2: 1, 3: 0}
    assert {b.partition: _seconds(b) for b in batches if b.n_records} == {0: [1, 2], 2: [3]}
    source.close()


def test_usual_names_are_found_message_by_message(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(
        topic, [b'{"user_id": 7, "category": "a", "timestamp": 1}', b'{"user": "7", "cluster": "a", "ts": 1}']
    )
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    batch = next(batch for batch in source.batches({}) if batch.n_records)
    assert batch.users.tolist() == [hash_text("7")] * 2
    source.close()


def test_clusters_may_come_from_items(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(topic, [b'{"user": 1, "item": 5, "ts": 1}', b'{"user": 1, "item": 6, "ts": 1}'])
    options = DecodeOptions(item_clusters=ItemClusters({"5": "a"}, "items.csv"))
    source = KafkaSource(broker.address, topic, options, clock)
    batch = next(batch for batch in source.batches({}) if batch.n_records)
    assert (batch.clusters.tolist(), batch.set_aside) == ([0], {Outcome.UNKNOWN_CLUSTER: 1})
    source.close()


def test_messages_that_are_no_objects_are_malformed_at_their_offset(
    broker: MockBroker, topic: str, clock: ManualClock
) -> None:
    broker.produce(topic, [*_values([1]), b"{", None, b"", *_values([2]), b'{"user": 1, "ts": 1}'])
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    batch = next(batch for batch in source.batches({}) if batch.n_records)
    assert (batch.n_records, _seconds(batch), batch.set_aside) == (6, [1, 2], {Outcome.MALFORMED: 4})
    assert [issue.place for issue in batch.issues] == [f"{topic}[0]@{offset}" for offset in (1, 2, 3, 5)]
    source.close()


@pytest.mark.parametrize(("stored", "why"), [(9, "the topic was made anew"), (-3, "deleted before they were read")])
def test_a_stored_offset_that_is_not_in_the_log_is_never_passed_over(
    broker: MockBroker, topic: str, clock: ManualClock, stored: int, why: str
) -> None:
    broker.produce(topic, _values([1, 2]))
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    with pytest.raises(BrokerError, match=why) as caught:
        next(source.batches({0: stored}))
    assert caught.value.place == f"{topic}[0]@{stored}"
    assert "offsets 0 to 2" in caught.value.found
    assert "--from-earliest" in caught.value.mend
    source.close()


def test_an_offset_that_is_lost_while_reading_is_told_the_same_way(
    broker: MockBroker, topic: str, clock: ManualClock
) -> None:
    broker.produce(topic, _values([1, 2]))
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    source._bounds[0] = kafka_log.LogBounds(0, 50)  # as if the log had been cut after it was asked for its ends
    with pytest.raises(BrokerError, match="offsets 0 to 2"):
        list(source.batches({0: 40}))
    source.close()


def test_a_topic_that_never_held_a_record_is_empty(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(topic, _values([1]))
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    source._bounds = dict.fromkeys(source.partitions, kafka_log.LogBounds(0, 0))
    with pytest.raises(EmptySourceError, match="the topic holds no record"):
        next(source.batches({}))
    source.close()


def test_an_unknown_topic_is_told(broker: MockBroker, clock: ManualClock) -> None:
    with pytest.raises(BrokerError, match="Unknown topic"):
        KafkaSource(broker.address, "nowhere", DecodeOptions(), clock)


def test_silence_is_told_after_a_bounded_wait(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_log, "ANSWER_SECONDS", 0.05)
    with pytest.raises(BrokerError, match=r"no broker answered within 0\.05 s") as caught:
        KafkaSource("127.0.0.1:1", "t", DecodeOptions(), clock, properties={"log_level": 0})
    assert caught.value.place == "kafka://127.0.0.1:1/t"


@pytest.mark.parametrize(
    ("properties", "found"),
    [
        ({"enable.auto.commit": True}, "relies on its own value"),
        ({"no.such.property": 1}, "refuses its configuration"),
        ({"queued.min.messages": "many"}, "refuses its configuration"),
    ],
)
def test_an_impossible_property_is_a_wrong_request(clock: ManualClock, properties: dict[str, Any], found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        KafkaSource("127.0.0.1:1", "t", DecodeOptions(), clock, properties=properties)


def test_properties_override_the_defaults(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(topic, _values(range(10)))
    properties = {"queued.min.messages": 1, "group.id": "other"}
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock, properties=properties)
    assert sum(batch.n_records for batch in source.batches({})) == 10
    source.close()


def test_a_followed_partition_turns_idle_and_wakes_up(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(topic, _values([1]))
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock, follow=True, idle_after_seconds=5.0)
    source._consumer = _Ticking(source._consumer, clock)
    assert source.n_records_expected is None
    batches = source.batches({})
    seen = next(batches)
    assert (seen.partition, _seconds(seen), seen.at_end) == (0, [1], False)
    idle = [next(batches) for _ in range(4)]
    assert sorted(batch.partition for batch in idle) == [0, 1, 2, 3]
    assert all(batch.at_end and batch.n_records == 0 for batch in idle)
    broker.produce(topic, _values([2]))
    awake = next(batches)
    assert (awake.partition, _seconds(awake), awake.at_end, awake.next_offset) == (0, [2], False, 2)
    again = next(batches)
    assert (again.partition, again.at_end) == (0, True)
    source.close()
    assert list(batches) == []


class _Ticking:
    """A consumer whose every empty fetch takes a second of the hand-moved clock."""

    def __init__(self, consumer: Any, clock: ManualClock) -> None:
        self._consumer = consumer
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def consume(self, n: int, timeout: float) -> list[Any]:
        messages: list[Any] = self._consumer.consume(n, timeout=timeout / 10)
        if not messages:
            self._clock.advance_ms(1_000)
        return messages


def test_a_partition_that_runs_ahead_waits_and_then_loses_nothing(
    broker: MockBroker, topic: str, clock: ManualClock
) -> None:
    broker.produce(topic, _values(range(100, 150)), partition=0)
    broker.produce(topic, _values(range(50)), partition=1)
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock, batch_records=7)
    by_partition: dict[int, list[int]] = {0: [], 1: []}
    for batch in source.batches({}):
        if batch.n_records:
            by_partition[batch.partition] += _seconds(batch)
        n_slow = len(by_partition[1])
        source.pause_ahead_of(90_000 if n_slow < 50 else None)
        if by_partition[0] and n_slow < 50:
            assert source._progress[0].is_paused or source._progress[0].is_finished
    assert by_partition == {0: list(range(100, 150)), 1: list(range(50))}
    source.close()


def test_negative_events_do_not_put_a_partition_ahead(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    """They move no watermark either: a partition paused for them would hold everything back, and be held back."""
    broker.produce(topic, _values([10, *range(100, 150)]), partition=0)
    options = DecodeOptions(positive=PositiveRule.parse("user < 50"))
    source = KafkaSource(broker.address, topic, options, clock, batch_records=7)
    n_records = 0
    for batch in source.batches({}):
        n_records += batch.n_records
        source.pause_ahead_of(90_000)
        assert not source._progress[0].is_paused
    assert n_records == 51
    source.close()


def test_what_came_before_an_error_is_yielded_first(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(topic, _values([1]))
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    source._assign({})
    message = _Message(0, 0, _values([1])[0], None)
    denied = _Message(0, 1, None, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    batches = _yielded(source, [denied, message])
    assert next(batches).n_records == 1
    with pytest.raises(BrokerError, match="authorization failed"):
        next(batches)
    source.close()


def test_the_last_offsets_may_hold_no_record(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(topic, _values([1]))
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    source._bounds[0] = kafka_log.LogBounds(0, 3)  # two transaction markers follow
    source._assign({})
    end = _Message(0, 3, None, KafkaError(KafkaError._PARTITION_EOF))
    batches = list(_yielded(source, [_Message(0, 0, _values([1])[0], None), end]))
    assert [(batch.n_records, batch.next_offset, batch.at_end) for batch in batches] == [(1, 1, False), (0, 3, True)]
    source.close()


def test_a_record_past_the_stop_ends_a_partition_with_a_gap(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(topic, _values([1]))
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    source._assign({})
    (batch,) = _yielded(source, [_Message(0, 7, _values([9])[0], None)])
    assert (batch.n_records, batch.next_offset, batch.at_end) == (0, 1, True)
    source.close()


def _yielded(source: KafkaSource, messages: list[Any]) -> Iterator[EventBatch]:
    batches, events = source._batches_of(messages)
    yield from batches
    yield from source._ends(events)


class _Message:
    def __init__(self, partition: int, offset: int, value: bytes | None, error: KafkaError | None) -> None:
        self._fields = partition, offset, value, error

    def partition(self) -> int:
        return self._fields[0]

    def offset(self) -> int:
        return self._fields[1]

    def value(self) -> bytes | None:
        return self._fields[2]

    def error(self) -> KafkaError | None:
        return self._fields[3]


def test_a_finite_read_that_hears_nothing_gives_up(broker: MockBroker, topic: str, clock: ManualClock) -> None:
    broker.produce(topic, _values([1]))
    source = KafkaSource(broker.address, topic, DecodeOptions(), clock)
    source._consumer = _Silent(source._consumer, clock)
    with pytest.raises(BrokerError, match="came for 60 s"):
        list(source.batches({}))
    source.close()


class _Silent(_Ticking):
    def consume(self, n: int, timeout: float) -> list[Any]:
        self._clock.advance_ms(1_000)
        return []


def test_a_broker_that_stops_answering_between_questions_is_told() -> None:
    class _Mute:
        def get_watermark_offsets(self, *_: object, **__: object) -> None:
            return None

    class _Broken:
        def get_watermark_offsets(self, *_: object, **__: object) -> None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    for consumer in (_Mute(), _Broken()):
        with pytest.raises(BrokerError, match="no broker answered"):
            kafka_log.bounds_of(consumer, "t", 0, "kafka://b/t")


def test_a_broker_that_has_just_come_back_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_log, "_UNSETTLED_PAUSE_SECONDS", 0.0)

    codes = [KafkaError._UNKNOWN_PARTITION, KafkaError.LEADER_NOT_AVAILABLE]

    class _Unsettled:
        def get_watermark_offsets(self, *_: object, **__: object) -> tuple[int, int]:
            if codes:
                raise KafkaException(KafkaError(codes.pop()))
            return 3, 8

    assert kafka_log.bounds_of(_Unsettled(), "t", 0, "kafka://b/t") == kafka_log.LogBounds(3, 8)
