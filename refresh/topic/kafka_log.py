"""The table's topic in Kafka: one partition, compacted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from refresh.topic.publisher import LogRecord
from tidegate.errors import BrokerError, ConfigError

_LOG = logging.getLogger("tidegate.topic")
_ANSWER_SECONDS = 10.0
_DELIVERY_SECONDS = 60.0
_BATCH = 10_000
_PARTITION = 0


class KafkaRowLog:
    """Reads and writes the topic; see `refresh.topic.publisher.RowLog`.

    Parameters
    ----------
    brokers, name : str
    properties : mapping      librdkafka's

    Raises
    ------
    ConfigError
        If there is such a topic with more than one partition, or one that is not compacted.
    BrokerError
        If no broker answers, or the topic cannot be made.
    """

    def __init__(self, brokers: str, name: str, properties: Mapping[str, Any] | None = None) -> None:
        self.name = name
        config = {"log_level": 3} | dict(properties or {}) | {"bootstrap.servers": brokers}
        _require_topic(AdminClient(config), name)
        # Without idempotence a batch that is sent again overtakes the next one, and a mark its rows.
        fixed = {"enable.idempotence": True, "acks": "all", "linger.ms": 20, "compression.type": "zstd"}
        self._producer = Producer(config | fixed)
        self._consumer = Consumer(
            config
            | {"group.id": "tidegate-table", "enable.auto.commit": False, "enable.partition.eof": True}
            | {"auto.offset.reset": "earliest"}
        )
        self._position: int | None = None
        self._refused: list[KafkaError] = []

    def read_on(self) -> Iterable[LogRecord] | None:
        """See `RowLog.read_on`."""
        first, end = self._bounds()
        if self._position is not None and self._position > end:  # deleted and made anew
            self._position = None
            return None
        position = first if self._position is None else max(first, self._position)
        return self._read_between(position, end)

    def _read_between(self, position: int, end: int) -> Iterator[LogRecord]:
        self._consumer.assign([TopicPartition(self.name, _PARTITION, position)])
        while position < end:
            first = self._consumer.poll(_ANSWER_SECONDS)  # `consume` alone would wait until it has as many as it may
            if first is None:
                raise _away(self.name, "no message came")
            messages = [first, *self._consumer.consume(_BATCH, timeout=0)]
            for message in messages:
                fault = message.error()
                if fault is None:
                    yield LogRecord(message.key() or b"", message.value())
                    position = (message.offset() or 0) + 1
                elif fault.code() == KafkaError._PARTITION_EOF:  # the last offsets may hold no record
                    position = message.offset() or 0
                else:
                    raise _away(self.name, fault.str())
                self._position = position
        self._position = position
        self._consumer.unassign()

    def _bounds(self) -> tuple[int, int]:
        try:
            partition = TopicPartition(self.name, _PARTITION)
            found: tuple[int, int] | None = self._consumer.get_watermark_offsets(partition, timeout=_ANSWER_SECONDS)
        except KafkaException as error:
            raise _away(self.name, str(error.args[0])) from error
        if found is None:
            raise _away(self.name, "no answer")
        return found

    def append(self, records: Iterable[LogRecord]) -> int:
        """See `RowLog.append`."""
        n_records = 0
        self._refused.clear()
        for key, value in records:
            while True:
                try:
                    self._producer.produce(self.name, value, key, _PARTITION, on_delivery=self._on_delivery)
                    break
                except BufferError:  # the queue is full: let deliveries drain
                    self._producer.poll(1.0)
                except KafkaException as error:
                    raise _away(self.name, str(error.args[0])) from error
            self._producer.poll(0)
            n_records += 1
        n_left = self._producer.flush(_DELIVERY_SECONDS)
        if self._refused or n_left:
            raise _away(
                self.name, self._refused[0].str() if self._refused else f"{n_left} records are not acknowledged"
            )
        return n_records

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._refused.append(error)

    def close(self) -> None:
        """Let go of the broker."""
        self._consumer.close()
        self._producer.purge()
        self._producer.flush(1.0)


def _require_topic(admin: AdminClient, name: str) -> None:
    try:
        there = admin.list_topics(timeout=_ANSWER_SECONDS).topics.get(name)
        if there is None or there.error is not None:
            topic = NewTopic(name, num_partitions=1, config={"cleanup.policy": "compact"})
            admin.create_topics([topic])[name].result(_ANSWER_SECONDS)
            return
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:  # another role was faster
            return
        raise _away(name, error.args[0].str()) from error
    n_partitions = len(there.partitions)
    if n_partitions != 1:
        raise ConfigError(
            f"topic {name} has {n_partitions} partitions, 1 is required: a version's mark stands behind all its rows",
            "Name a topic that is not there (it is made as it should be), or make one with 1 partition",
            place="--publish-topic",
        )
    policy = _cleanup_policy(admin, name)
    if policy is not None and "compact" not in policy.split(","):
        raise ConfigError(
            f"topic {name} has cleanup.policy={policy}, compact is required: rows would be deleted for their age",
            f"Set it: kafka-configs.sh --alter --entity-type topics --entity-name {name} "
            "--add-config cleanup.policy=compact",
            place="--publish-topic",
        )


def _cleanup_policy(admin: AdminClient, name: str) -> str | None:
    """How the topic is cleaned; None where we may not know."""
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    try:
        return str(admin.describe_configs([resource])[resource].result(_ANSWER_SECONDS)["cleanup.policy"].value)
    except KafkaException as error:
        _LOG.warning("it is not known whether topic %s is compacted: %s", name, error)
        return None


def _away(name: str, reason: str) -> BrokerError:
    return BrokerError(
        f"the table's topic cannot be brought up to date ({reason})",
        "Check that it may be read and written",
        place=name,
    )
