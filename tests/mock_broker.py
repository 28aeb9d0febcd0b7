"""librdkafka's mock cluster: enough of Kafka for unit tests, in this process. Evicts past 5 MiB a partition."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from confluent_kafka import Producer


class MockBroker:
    """One broker that lives as long as the client that made it. A topic that is written to has four partitions.

    Attributes
    ----------
    address : str     ``host:port``
    """

    N_PARTITIONS = 4

    def __init__(self) -> None:
        # The log level hides the notice that this is no real cluster.
        self._owner = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "mock", "log_level": 3})
        broker = next(iter(self._owner.list_topics(timeout=10).brokers.values()))
        self.address = f"{broker.host}:{broker.port}"

    def produce(self, topic: str, values: Iterable[bytes | None], partition: int = 0) -> None:
        """Append messages and wait until they are there."""
        for value in values:
            self._owner.produce(topic, value, partition=partition)
        assert self._owner.flush(10) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._owner.flush(1)
