"""The topics between roles: drift reports, orders and results, keyed by run.

They wake whoever is concerned and tell anyone who listens; what is true stands in the store. So a message that cannot
be written costs a few hundred milliseconds, and is logged.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

NAMES = ("drift", "orders", "results")
_LOG = logging.getLogger("tidegate.topics")
_CLOSE_SECONDS = 1.0
_CREATE_SECONDS = 10.0


class ControlTopics:
    """Writes to the topics of one run's roles.

    Parameters
    ----------
    brokers, prefix, run_id : str
    properties : mapping      librdkafka's
    """

    def __init__(self, brokers: str, prefix: str, run_id: str, properties: Mapping[str, Any] | None = None) -> None:
        self.brokers, self._prefix, self._key = brokers, prefix, run_id.encode()
        self._config = {"log_level": 3} | dict(properties or {}) | {"bootstrap.servers": brokers}
        self._producer: Producer | None = None

    def name(self, kind: str) -> str:
        """Full name of a topic: the prefix, a dot, and `drift`, `orders` or `results`."""
        return f"{self._prefix}.{kind}"

    def create(self) -> None:
        """Make the topics that are not there, as far as we may; with one partition, since they carry little."""
        admin = AdminClient(self._config)
        names = [self.name(kind) for kind in NAMES]
        try:
            there = admin.list_topics(timeout=_CREATE_SECONDS).topics
            missing = [NewTopic(name, num_partitions=1) for name in names if name not in there]
            for name, future in (admin.create_topics(missing) if missing else {}).items():
                _log_failure(name, future)
        except KafkaException as error:
            _LOG.warning("the topics between roles cannot be listed: %s", error)

    def announce(self, kind: str, body: bytes) -> None:
        """Write a message; a failure is logged."""
        if self._producer is None:
            self._producer = Producer(self._config | {"enable.idempotence": True, "linger.ms": 0})
        try:
            self._producer.produce(self.name(kind), body, self._key, on_delivery=_log_delivery)
            self._producer.poll(0)
        except (BufferError, KafkaException) as error:
            _LOG.warning("%s was not told: %s", self.name(kind), error)

    def close(self) -> None:
        """Wait a moment for what is under way."""
        if self._producer is not None:
            self._producer.flush(_CLOSE_SECONDS)
            self._producer = None


def _log_failure(name: str, future: Any) -> None:
    try:
        future.result(_CREATE_SECONDS)
    except Exception as error:  # another role was faster, or we may not: both are said, neither is ours to end on
        _LOG.info("topic %s was not created: %s", name, error)


def _log_delivery(error: Any, message: Any) -> None:
    if error is not None:
        _LOG.warning("%s was not told: %s", message.topic(), error)
