"""What Tidegate asks of a Kafka cluster before it reads: a consumer, the topic's partitions, their bounds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from tidegate.errors import BrokerError, ConfigError

ANSWER_SECONDS = 10.0
"""How long the cluster may take to answer a question."""

_DEFAULTS: dict[str, Any] = {
    "group.id": "tidegate",  # required by the client; partitions are assigned by hand and nothing is committed to it
    # One million small messages ahead; fetching again 10 ms after the queue was full, not after its default second.
    "queued.min.messages": 1_000_000,
    "fetch.queue.backoff.ms": 10,
}
# On these the meaning of offsets rests; no property may change them.
_FIXED: dict[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
}

_UNSETTLED = {
    KafkaError._UNKNOWN_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}
_UNSETTLED_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class LogBounds:
    """Where a partition begins and ends: offset of the first record left, offset after the last."""

    earliest: int
    latest: int


def open_consumer(brokers: str, properties: Mapping[str, Any] | None) -> Any:
    """Make a consumer; nothing is asked of the cluster yet.

    Raises
    ------
    ConfigError
        If a property is unknown, impossible, or one that Tidegate relies on.
    """
    chosen = dict(properties or {})
    for name in _FIXED.keys() & chosen.keys():
        raise ConfigError("Tidegate relies on its own value of this property", "Leave it out", place=f"kafka {name}")
    config = {"bootstrap.servers": brokers} | _DEFAULTS | chosen | _FIXED
    try:
        return Consumer(config, logger=logging.getLogger("tidegate.kafka"))
    except (KafkaException, TypeError, ValueError) as error:
        raise ConfigError(
            f"the Kafka client refuses its configuration ({_text(error)})", "Correct the property", place="kafka"
        ) from error


def partitions_of(consumer: Any, topic: str, identity: str) -> tuple[int, ...]:
    """List a topic's partitions.

    Raises
    ------
    BrokerError
        If no broker answers in time, or there is no such topic.
    """
    try:
        metadata = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
    except KafkaException as error:
        raise no_answer(identity, error) from error
    if metadata.error is not None or not metadata.partitions:
        fault = metadata.error.str() if metadata.error is not None else "it has no partition"
        raise BrokerError(f"the topic cannot be read ({fault})", "Check the topic's name and access", place=identity)
    return tuple(sorted(metadata.partitions))


def bounds_of(consumer: Any, topic: str, partition: int, identity: str) -> LogBounds:
    """Ask for a partition's first and last offset, again where a cluster that has just come back does not know yet.

    Raises
    ------
    BrokerError
        If no broker answers in time.
    """
    retrying = Retrying(
        retry=retry_if_exception(_is_unsettled),
        wait=wait_fixed(_UNSETTLED_PAUSE_SECONDS),
        stop=stop_after_delay(ANSWER_SECONDS),
        reraise=True,
    )
    try:
        bounds = retrying(consumer.get_watermark_offsets, TopicPartition(topic, partition), timeout=ANSWER_SECONDS)
    except KafkaException as error:
        raise no_answer(identity, error) from error
    if bounds is None:
        raise no_answer(identity, None)
    return LogBounds(*bounds)


def _is_unsettled(error: BaseException) -> bool:
    """Whether the cluster is up but has not settled who leads the partition."""
    return isinstance(error, KafkaException) and error.args[0].code() in _UNSETTLED


def no_answer(identity: str, error: Exception | None) -> BrokerError:
    """Tell that the cluster did not answer."""
    reason = f" ({_text(error)})" if error is not None else ""
    return BrokerError(
        f"no broker answered within {ANSWER_SECONDS:g} s{reason}",
        "Check the addresses, that the brokers run, and the security properties",
        place=identity,
    )


def lost_offset(topic: str, partition: int, stored: int, bounds: LogBounds) -> BrokerError:
    """Tell that a stored offset is not in the log (any more)."""
    return BrokerError(
        f"the stored offset {stored} is not in the log, which holds offsets {bounds.earliest} to {bounds.latest}: "
        f"{'records were deleted before they were read' if stored < bounds.earliest else 'the topic was made anew'}",
        f"Accept the loss and go on from offset {bounds.earliest} with --from-earliest, or start the run over",
        place=f"{topic}[{partition}]@{stored}",
    )


def is_end_of_partition(error: Any) -> bool:
    """Whether a message's error only says that the partition's end is reached."""
    return bool(error.code() == KafkaError._PARTITION_EOF)


def is_lost_offset(error: Any) -> bool:
    """Whether a message's error says that its offset is not in the log."""
    return bool(error.code() == KafkaError._AUTO_OFFSET_RESET)


def _text(error: Exception) -> str:
    fault = error.args[0] if error.args else error
    return fault.str() if isinstance(fault, KafkaError) else str(fault)
