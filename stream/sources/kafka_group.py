"""Kafka for the group worker: a consumer group's member, its rebalances, and the dead-letter topic.

The group decides who reads a partition, the store decides from where: committed offsets are only a mirror for lag
tools. Rebalances are cooperative: partitions that stay are read on meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from stream.broker import Assignee, DeadLetter, Fetched, PartitionRecords
from stream.sources.collection import collection_paused
from stream.sources.kafka_log import (
    bounds_of,
    is_end_of_partition,
    is_lost_offset,
    lost_offset,
    open_consumer,
    partitions_of,
)
from tidegate.errors import BrokerError

_LOG = logging.getLogger("tidegate.kafka")
_POLL_SECONDS = 0.05
# Enough ahead for a poll in hand and the next one. More costs memory, four times the messages' own, and no less time.
PREFETCH: dict[str, Any] = {"queued.min.messages": 200_000, "queued.max.messages.kbytes": 32_768}
"""Properties of the client, under those of the user."""
_DELIVERY_SECONDS = 60.0
BATCH_RECORDS = 50_000
"""Messages of one fetch, over all partitions."""
# A member that pauses for long is told so by these; its partitions come and go through the rebalance callbacks.
_PASSING = {
    KafkaError._MAX_POLL_EXCEEDED,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._TIMED_OUT,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.FENCED_INSTANCE_ID,
}


class KafkaGroup:
    """A member of a consumer group on one topic.

    Parameters
    ----------
    brokers, topic, group : str
    instance : str, optional       name that survives a restart (static membership): no rebalance for a quick one
    properties : mapping           librdkafka's, over Tidegate's defaults
    from_earliest : bool           give up records that the log no longer holds, and go on
    batch_records : int            messages of one fetch, over all partitions

    Raises
    ------
    ConfigError
        If a property is not accepted.
    BrokerError
        If no broker answers within ten seconds, or there is no such topic.
    """

    def __init__(
        self,
        brokers: str,
        topic: str,
        group: str,
        *,
        instance: str | None = None,
        properties: Mapping[str, Any] | None = None,
        from_earliest: bool = False,
        batch_records: int = BATCH_RECORDS,
    ) -> None:
        self._topic, self._from_earliest, self._batch_records = topic, from_earliest, batch_records
        self._identity = f"kafka://{brokers}/{topic}"
        membership = {"group.id": group, "partition.assignment.strategy": "cooperative-sticky"}
        membership |= {"group.instance.id": instance} if instance else {}
        self._consumer = open_consumer(brokers, PREFETCH | membership | dict(properties or {}))
        self._is_closed = self._is_subscribed = False
        self._assignee: Assignee | None = None
        self._positions: dict[int, int] = {}
        self._fresh: set[int] = set()
        try:
            self.partitions = partitions_of(self._consumer, topic, self._identity)
        except BrokerError:
            self._consumer.close()
            raise

    def ends(self) -> dict[int, int]:
        """Offsets at which the partitions end now, to read up to."""
        return {p: bounds_of(self._consumer, self._topic, p, self._identity).latest for p in self.partitions}

    def start_of(self, partition: int, stored: int | None) -> int:
        """Where to read on; see `stream.broker.Broker`."""
        bounds = bounds_of(self._consumer, self._topic, partition, self._identity)
        if stored is None:
            return bounds.earliest
        if bounds.earliest <= stored <= bounds.latest:
            return stored
        if not self._from_earliest:
            raise lost_offset(self._topic, partition, stored, bounds)
        return bounds.earliest

    def poll(self, assignee: Assignee) -> Fetched:
        """Fetch; see `stream.broker.Broker`."""
        self._assignee = assignee
        if not self._is_subscribed:
            self._is_subscribed = True
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )
        with collection_paused():
            messages = self._consumer.consume(self._batch_records, timeout=_POLL_SECONDS)
            return self._sorted_out(messages)

    def _sorted_out(self, messages: list[Any]) -> Fetched:
        ends: dict[int, int] = {}
        if any(map(Message.error, messages)):
            ends = self._ends([message for message in messages if message.error() is not None])
            messages = [message for message in messages if message.error() is None]
        if self._fresh:
            messages, ends = self._without_fresh(messages, ends)
        return Fetched(list(_by_partition(messages)), ends)

    def _without_fresh(self, messages: list[Any], ends: dict[int, int]) -> tuple[list[Any], dict[int, int]]:
        """Start partitions that were assigned during the last fetch anew.

        The fetch may hold messages of them from before they were taken away, behind the position that is read from now
        on: which is which cannot be told, so all are dropped and the partition is begun anew.
        """
        fresh, self._fresh = self._fresh, set()
        for partition in {message.partition() for message in messages} & fresh:
            start = TopicPartition(self._topic, partition, self._positions[partition])
            self._consumer.incremental_unassign([start])
            self._consumer.incremental_assign([start])
        kept = [message for message in messages if message.partition() not in fresh]
        return kept, {partition: offset for partition, offset in ends.items() if partition not in fresh}

    def _ends(self, messages: list[Any]) -> dict[int, int]:
        """Offsets at which partitions end; raises at an error that does not pass by itself."""
        ends: dict[int, int] = {}
        for message in messages:
            error = message.error()
            if is_end_of_partition(error):
                ends[message.partition()] = message.offset()
            elif error.code() in _PASSING or error.retriable():
                _LOG.warning("the broker answered with an error that passes: %s", error.str())
            else:
                raise self._failure(message.partition(), error)
        return ends

    def _failure(self, partition: int | None, error: Any) -> BrokerError:
        if is_lost_offset(error) and partition is not None:
            bounds = bounds_of(self._consumer, self._topic, partition, self._identity)
            return lost_offset(self._topic, partition, self._positions.get(partition, -1), bounds)
        return BrokerError(
            f"the broker answered with an error ({error.str()})",
            "Mend it at the cluster and start the worker again: it goes on from there",
            place=f"{self._topic}[{partition}]" if partition is not None and partition >= 0 else self._identity,
        )

    def pause(self, partitions: Iterable[int]) -> None:
        """Fetch no more of them until `resume`."""
        self._consumer.pause(self._named(partitions))

    def resume(self, partitions: Iterable[int]) -> None:
        """Fetch them again."""
        self._consumer.resume(self._named(partitions))

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show committed offsets to lag tools; a failure costs nothing but the view."""
        try:
            named = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
            if named and not self._is_closed:
                self._consumer.commit(offsets=named, asynchronous=True)
        except KafkaException as error:
            _LOG.debug("offsets were not mirrored: %s", error)

    def lag_records(self, positions: Mapping[int, int]) -> int | None:
        """Count the records behind `positions`, as far as the client has heard of them; may be asked by any thread.

        Returns
        -------
        int or None
            None while a partition's end is not known, and once the group is left.
        """
        lag = 0
        for partition, position in positions.items():
            try:
                bounds = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            except (KafkaException, RuntimeError):  # not heard of yet; closed
                return None
            if bounds is None or bounds[1] < 0:
                return None
            lag += max(0, bounds[1] - position)
        return lag

    def close(self, assignee: Assignee) -> None:
        """Leave the group, giving partitions back; may be called twice."""
        if not self._is_closed:
            self._assignee = assignee
            try:
                self._consumer.close()  # calls back for the partitions that are still held
            finally:
                self._is_closed = True

    def _named(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(self._topic, partition) for partition in partitions]

    def _on_assign(self, consumer: Any, assigned: Sequence[TopicPartition]) -> None:
        assert self._assignee is not None
        positions = self._assignee.on_assigned([each.partition for each in assigned])
        self._positions |= positions
        self._fresh |= positions.keys()
        consumer.incremental_assign([TopicPartition(self._topic, p, offset) for p, offset in positions.items()])

    def _on_revoke(self, consumer: Any, revoked: Sequence[TopicPartition]) -> None:
        assert self._assignee is not None
        self._assignee.on_revoked([each.partition for each in revoked])
        self._let_go(consumer, revoked)

    def _on_lost(self, consumer: Any, lost: Sequence[TopicPartition]) -> None:
        assert self._assignee is not None
        self._assignee.on_lost([each.partition for each in lost])
        self._let_go(consumer, lost)

    def _let_go(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        self._fresh -= {each.partition for each in partitions}
        consumer.incremental_unassign(partitions)


def _by_partition(messages: list[Any]) -> Iterable[PartitionRecords]:
    """Sort messages by partition, each partition's in the order of the log.

    A call into the client for each message is what this costs, so none is made that can be done without.
    """
    partitions: list[Any] = list(map(Message.partition, messages))
    several = set(partitions)
    if len(several) <= 1:
        yield from (_records(partition, messages) for partition in several)
        return
    of_message = np.array(partitions)
    for partition in sorted(several):
        yield _records(partition, [messages[at] for at in np.flatnonzero(of_message == partition).tolist()])


def _records(partition: int, messages: list[Any]) -> PartitionRecords:
    values: list[Any] = list(map(Message.value, messages))
    if not all(values):  # a tombstone, or empty
        values = [value or b"" for value in values]
    first, n = messages[0].offset(), len(messages)
    if messages[-1].offset() - first == n - 1:  # ascending, so there is none between
        offsets = np.arange(first, first + n)
    else:
        offsets = np.fromiter(map(Message.offset, messages), np.int64, n)
    return PartitionRecords(partition, values, offsets, lambda position: messages[position].key())


class KafkaDeadLetters:
    """The dead-letter topic: each record as it was, with where it lay and what was wrong in its headers.

    Parameters
    ----------
    brokers, topic : str
    properties : mapping      librdkafka's
    """

    def __init__(self, brokers: str, topic: str, properties: Mapping[str, Any] | None = None) -> None:
        # Without idempotence a retried batch overtakes the next one, and the topic's order is lost.
        config = {"linger.ms": 5, "log_level": 3} | dict(properties or {})
        config |= {"bootstrap.servers": brokers, "enable.idempotence": True, "acks": "all"}
        self._topic = topic
        self._producer = Producer(config)
        self._refused: list[KafkaError] = []

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Queue letters; headers are `topic`, `partition`, `offset`, `outcome` and `error`."""
        for letter in letters:
            headers: dict[str, str | bytes | None] = {
                "topic": letter.topic,
                "partition": str(letter.partition),
                "offset": str(letter.offset),
                "outcome": str(letter.outcome),
                "error": letter.error,
            }
            while True:
                try:
                    self._producer.produce(
                        self._topic, letter.value, letter.key, headers=headers, on_delivery=self._on_delivery
                    )
                    break
                except BufferError:  # the queue is full: let deliveries drain
                    self._producer.poll(1.0)
            self._producer.poll(0)

    def _on_delivery(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._refused.append(error)

    def flush(self) -> None:
        """Return when all letters are acknowledged; see `stream.broker.DeadLetterSink`."""
        if not len(self._producer) and not self._refused:
            return
        n_left = self._producer.flush(_DELIVERY_SECONDS)
        if self._refused or n_left:
            reason = self._refused[0].str() if self._refused else f"no answer within {_DELIVERY_SECONDS:g} s"
            raise BrokerError(
                f"dead letters were not accepted ({reason})",
                "Check that the dead-letter topic exists and may be written; the records are read again",
                place=self._topic,
            )
