"""What the topic's client says when the broker does not do what it should; a real one is in tests/integration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from refresh.topic import KafkaRowLog
from refresh.topic.publisher import LogRecord
from tidegate.errors import BrokerError

ROWS = [LogRecord(b'["a","b"]', b"{}"), LogRecord(b'["b"]', None)]


class Silent:
    """A broker that is there and answers nothing, but where a test gives it something to say."""

    def __init__(self, **answers: Callable[..., Any]) -> None:
        self._answers = answers
        self.produced: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._answers.get(name, lambda *_, **__: None)


class Message:
    def __init__(self, error: KafkaError | None, offset: int = 0) -> None:
        self._error, self._offset = error, offset

    def error(self) -> KafkaError | None:
        return self._error

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes:
        return b'["a","b"]'

    def value(self) -> bytes:
        return b"{}"


def log(consumer: Silent | None = None, producer: Silent | None = None) -> KafkaRowLog:
    made = KafkaRowLog.__new__(KafkaRowLog)
    made.name, made._position, made._refused = "table", None, []
    made._consumer, made._producer = consumer or Silent(), producer or Silent(flush=lambda *_: 0)
    return made


def failing(*_: object, **__: object) -> None:
    raise KafkaException(KafkaError(KafkaError._TRANSPORT))


@pytest.mark.parametrize(
    ("consumer", "reason"),
    [
        (Silent(), "no answer"),
        (Silent(get_watermark_offsets=failing), "Broker transport failure|Local: .*transport"),
        (Silent(get_watermark_offsets=lambda *_, **__: (0, 2)), "no message came"),
        (
            Silent(
                get_watermark_offsets=lambda *_, **__: (0, 2),
                poll=lambda *_: Message(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)),
                consume=lambda *_, **__: [],
            ),
            "authorization",
        ),
    ],
)
def test_a_broker_that_does_not_answer_is_an_error(consumer: Silent, reason: str) -> None:
    with pytest.raises(BrokerError, match=f"table: the table's topic cannot be brought up to date .*({reason})"):
        list(log(consumer).read_on() or ())


def test_a_read_that_broke_off_goes_on_where_it_was() -> None:
    offsets = iter([0, None, 1])

    def poll(_: float) -> Message | None:
        offset = next(offsets)
        return None if offset is None else Message(None, offset)

    reading = log(Silent(get_watermark_offsets=lambda *_, **__: (0, 2), poll=poll, consume=lambda *_, **__: []))
    with pytest.raises(BrokerError):
        list(reading.read_on() or ())
    assert len(list(reading.read_on() or ())) == 1
    assert list(reading.read_on() or ()) == []


def test_offsets_at_the_end_without_a_record_end_the_read() -> None:
    end = Message(KafkaError(KafkaError._PARTITION_EOF), 9)
    reading = log(
        Silent(get_watermark_offsets=lambda *_, **__: (3, 9), poll=lambda _: end, consume=lambda *_, **__: [])
    )
    assert list(reading.read_on() or ()) == []


def test_a_log_that_is_shorter_than_it_was_begins_again() -> None:
    bounds = iter([(0, 1), (0, 0), (0, 0)])
    reading = log(
        Silent(
            get_watermark_offsets=lambda *_, **__: next(bounds),
            poll=lambda _: Message(None, 0),
            consume=lambda *_, **__: [],
        )
    )
    assert len(list(reading.read_on() or ())) == 1
    assert reading.read_on() is None
    assert list(reading.read_on() or ()) == []


def test_records_that_are_refused_or_not_acknowledged_are_an_error() -> None:
    def refuse(*_: object, on_delivery: Callable[..., None], **__: object) -> None:
        on_delivery(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), None)

    with pytest.raises(BrokerError, match="authorization"):
        log(producer=Silent(produce=refuse, flush=lambda *_: 0)).append(ROWS)
    with pytest.raises(BrokerError, match="2 records are not acknowledged"):
        log(producer=Silent(flush=lambda *_: 2)).append(ROWS)
    with pytest.raises(BrokerError):
        log(producer=Silent(produce=failing)).append(ROWS)


def test_a_full_queue_is_waited_for() -> None:
    full = iter([True, False, False])

    def produce(*_: object, **__: object) -> None:
        if next(full):
            raise BufferError

    assert log(producer=Silent(produce=produce, flush=lambda *_: 0)).append(ROWS) == 2
