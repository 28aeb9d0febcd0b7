"""Worlds as topics: the events of a log, in its order, at the pace of a clock that runs fast."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from stream.worlds.sessions import DayOfEvents
from stream.worlds.settings import SECONDS_PER_DAY
from stream.worlds.world import World
from tidegate.clock import Clock
from tidegate.errors import BrokerError

_LOG = logging.getLogger("tidegate.synth")
_ANSWER_SECONDS = 10.0
_DELIVERY_SECONDS = 60.0
_SLICES = 24  # of a day: what an hour brings is written at once


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast events come.

    Attributes
    ----------
    day_seconds : float                seconds that a day of event time takes; 0: as fast as they are taken
    wait : (seconds) -> bool           rests, and says whether to stop
    """

    day_seconds: float
    wait: Callable[[float], bool]


def create_topic(brokers: str, topic: str, n_partitions: int, properties: Mapping[str, Any] | None = None) -> bool:
    """Make the topic where it is not there, and say whether it was made.

    Raises
    ------
    BrokerError
        If no broker answers in time, or the topic may not be made.
    """
    admin = AdminClient({"log_level": 3} | dict(properties or {}) | {"bootstrap.servers": brokers})
    try:
        if topic in admin.list_topics(timeout=_ANSWER_SECONDS).topics:
            return False
        admin.create_topics([NewTopic(topic, num_partitions=n_partitions)])[topic].result(_ANSWER_SECONDS)
    except KafkaException as error:
        if error.args and error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False  # somebody was faster
        raise _no_answer(brokers, topic, error) from error
    return True


def send_log(
    world: World, brokers: str, topic: str, pace: Pace, clock: Clock, properties: Mapping[str, Any] | None = None
) -> int:
    """Write a world's events to a topic as JSON, keyed by user, and return how many are acknowledged.

    The fields are the columns of `stream.worlds.files.write_log`. A pace that cannot be held is not made up for: days
    then take longer.

    Raises
    ------
    BrokerError
        If the broker refuses a message, or has not acknowledged all within a minute.
    """
    # Without idempotence a batch that is sent again overtakes the next one, and the log's order is lost.
    config = {"linger.ms": 5, "log_level": 3} | dict(properties or {})
    producer = Producer(config | {"bootstrap.servers": brokers, "enable.idempotence": True, "acks": "all"})
    refused: list[KafkaError] = []

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            refused.append(error)

    n_events = 0
    for day, events in _slices(world):
        begun_seconds = clock.monotonic_seconds()
        for key, value in events:
            _produce(producer, topic, key, value, on_delivery)
        producer.poll(0)
        n_events += len(events)
        _LOG.debug("day %d of %d: %d events so far", day + 1, world.days, n_events)
        spent_seconds = clock.monotonic_seconds() - begun_seconds
        if refused or pace.wait(max(0.0, pace.day_seconds / _SLICES - spent_seconds)):
            break
    n_left = producer.flush(_DELIVERY_SECONDS)
    if refused or n_left:
        raise _no_answer(brokers, topic, refused[0] if refused else f"{n_left} events are not acknowledged")
    return n_events


def _slices(world: World) -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
    """Yield the events of each hour as (key, value), with the day that it is of."""
    encode = msgspec.json.Encoder().encode
    for number, day in enumerate(world.days_of_events()):
        hours = np.arange(1, _SLICES) * (SECONDS_PER_DAY // _SLICES)
        bounds = [0, *np.searchsorted(day.time_s, world.midnight_s(number) + hours).tolist(), len(day.time_s)]
        for start, end in pairwise(bounds):
            yield number, [(str(row["user_id"]).encode(), encode(row)) for row in _rows(world, day, start, end)]


def _rows(world: World, day: DayOfEvents, start: int, end: int) -> Iterator[dict[str, object]]:
    names = world.cluster_names
    columns = (day.user_id, day.item_id, day.cluster, day.time_s, day.engagement)
    for user, item, cluster, time_s, engagement in zip(*(c[start:end].tolist() for c in columns), strict=True):
        # The float64 of a float32 shows digits that nobody drew.
        shown = round(engagement, 3)
        yield {"user_id": user, "item_id": item, "category": names[cluster], "timestamp": time_s, "engagement": shown}


def _produce(producer: Producer, topic: str, key: bytes, value: bytes, on_delivery: Callable[..., None]) -> None:
    while True:
        try:
            producer.produce(topic, value, key, on_delivery=on_delivery)
        except BufferError:  # the queue is full: let deliveries drain
            producer.poll(1.0)
        else:
            return


def _no_answer(brokers: str, topic: str, why: object) -> BrokerError:
    return BrokerError(
        f"events cannot be written ({why})",
        "Start the broker, or correct the address or the rights",
        place=f"kafka://{brokers}/{topic}",
    )
