"""A Kafka topic of messages.

Partitions are assigned by hand from the offsets that the store holds ("Storing Offsets Outside Kafka", Kafka
consumer Javadoc): the consumer group is not asked where to go on, and cannot take a partition away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from confluent_kafka import TopicPartition

from stream.decoding.columns import DecodeOptions
from stream.decoding.messages import MessageDecoder
from stream.decoding.messages.formats import MessageFormat
from stream.events import EventBatch
from stream.sources.collection import collection_paused
from stream.sources.files import end_batch
from stream.sources.kafka_log import (
    bounds_of,
    is_end_of_partition,
    is_lost_offset,
    lost_offset,
    open_consumer,
    partitions_of,
)
from stream.sources.kafka_partition import PartitionProgress
from tidegate.clock import Clock
from tidegate.errors import BrokerError, EmptySourceError

_BATCH_RECORDS = 32_768  # over all partitions; a message is an object here, so less than files take
_POLL_SECONDS = 0.1  # the longest that a record waits for its batch to fill
_STALL_SECONDS = 60.0  # librdkafka reconnects by itself; a finite read that hears nothing for so long gives up


class KafkaSource:
    """A topic, read to its present end or followed.

    Parameters
    ----------
    brokers : str                 ``host:port[,host:port]``
    topic : str
    options : DecodeOptions
    clock : Clock
    follow : bool                 False reads up to the ends that the partitions have now
    properties : mapping          librdkafka's, over Tidegate's defaults
    idle_after_seconds : float    how long a followed partition rests at its end until it counts as idle
    batch_records : int           messages of one fetch, over all partitions
    format_ : MessageFormat       default: JSON

    Raises
    ------
    ConfigError
        If a property is not accepted, or the libraries for the format are not installed.
    BrokerError
        If no broker answers within ten seconds, or there is no such topic.
    """

    def __init__(
        self,
        brokers: str,
        topic: str,
        options: DecodeOptions,
        clock: Clock,
        *,
        follow: bool = False,
        from_earliest: bool = False,
        properties: Mapping[str, Any] | None = None,
        idle_after_seconds: float = 30.0,
        batch_records: int = _BATCH_RECORDS,
        format_: MessageFormat | None = None,
    ) -> None:
        self._identity = f"kafka://{brokers}/{topic}"
        self._from_earliest = from_earliest
        self._topic = topic
        self._clock = clock
        self._follow = follow
        self._idle_after_seconds = idle_after_seconds
        self._batch_records = batch_records
        self._decoder = MessageDecoder(options, clock, format_=format_)
        self._progress: dict[int, PartitionProgress] = {}
        self._is_closed = False
        self._consumer = open_consumer(brokers, properties)
        try:
            partitions = partitions_of(self._consumer, topic, self._identity)
            self._bounds = {p: bounds_of(self._consumer, topic, p, self._identity) for p in partitions}
        except BrokerError:
            self.close()
            raise

    @property
    def identity(self) -> str:
        """The topic's URL."""
        return self._identity

    @property
    def cluster_names(self) -> list[str]:
        """Names by code, so far."""
        return self._decoder.cluster_names

    @property
    def partitions(self) -> tuple[int, ...]:
        """All partitions of the topic."""
        return tuple(self._bounds)

    @property
    def n_records_expected(self) -> int | None:
        """Offsets between the ends, an upper bound of the records; None where the topic is followed."""
        return None if self._follow else sum(b.latest - b.earliest for b in self._bounds.values())

    def batches(self, start: Mapping[int, int]) -> Iterator[EventBatch]:
        """Yield batches, each of one partition.

        A finite read ends when every partition has; following ends when the source is closed. A partition that is at
        its end, or idle, says so in a batch without records.

        Raises
        ------
        BrokerError
            If a stored offset is not in the log, a broker answers with an error, or a finite read stalls.
        RegistryError
            If the messages' schemas are in a registry that does not answer.
        EmptySourceError
            If a topic that is not followed never held a record.
        """
        self._assign(start)
        heard_seconds = self._clock.monotonic_seconds()
        for partition, progress in self._progress.items():
            if progress.is_finished:
                yield end_batch(partition, progress.position)
        while not self._is_closed and not all(progress.is_finished for progress in self._progress.values()):
            batches, events = self._fetch()
            yield from batches
            yield from self._ends(events)  # after the records: an error comes last
            yield from self._idle_batches()
            if batches or events or self._may_wait():
                heard_seconds = self._clock.monotonic_seconds()
            self._refuse_stall(heard_seconds)

    def pause_ahead_of(self, time_ms: int | None) -> None:
        """Stop fetching partitions whose latest event time is past `time_ms`, fetch all others (None: all)."""
        pause: list[TopicPartition] = []
        resume: list[TopicPartition] = []
        for partition, progress in self._progress.items():
            is_ahead = progress.is_ahead_of(time_ms)
            if is_ahead == progress.is_paused or progress.is_finished:
                continue
            progress.is_paused = is_ahead
            if not is_ahead and progress.at_end_since is not None:
                progress.at_end_since = self._clock.monotonic_seconds()  # nothing was asked for meanwhile
            (pause if is_ahead else resume).append(TopicPartition(self._topic, partition))
        if pause:
            self._consumer.pause(pause)
        if resume:
            self._consumer.resume(resume)

    def close(self) -> None:
        """Leave the cluster; may be called twice."""
        if not self._is_closed:
            self._is_closed = True
            self._consumer.close()

    def _assign(self, start: Mapping[int, int]) -> None:
        if not self._follow and not start and all(bounds.latest == 0 for bounds in self._bounds.values()):
            raise EmptySourceError(
                "the topic holds no record", "Check the producer, or --follow it", place=self._identity
            )
        self._progress = {}
        for partition, bounds in self._bounds.items():
            position = start.get(partition, bounds.earliest)
            if not bounds.earliest <= position <= bounds.latest:
                if not self._from_earliest:
                    raise lost_offset(self._topic, partition, position, bounds)
                position = bounds.earliest
            stop = None if self._follow else bounds.latest
            self._progress[partition] = PartitionProgress(position, stop, is_finished=position == stop)
        unfinished = {p: progress.position for p, progress in self._progress.items() if not progress.is_finished}
        self._consumer.assign([TopicPartition(self._topic, p, position) for p, position in unfinished.items()])

    def _fetch(self) -> tuple[list[EventBatch], list[Any]]:
        """Fetch and decode; gives the batches, and the messages that are events or errors rather than records."""
        with collection_paused():
            return self._batches_of(self._consumer.consume(self._batch_records, timeout=_POLL_SECONDS))

    def _batches_of(self, messages: list[Any]) -> tuple[list[EventBatch], list[Any]]:
        records: dict[int, list[Any]] = {}
        events: list[Any] = []
        for message in messages:
            if message.error() is None:
                records.setdefault(message.partition(), []).append(message)
            else:
                events.append(message)
        batches = []
        for partition, fetched in records.items():
            progress = self._progress[partition]
            accepted = _accepted(fetched, progress)
            was_finished = progress.is_finished
            progress.move_past(fetched[-1].offset())
            if accepted or progress.is_finished != was_finished:
                batches.append(self._decode(partition, accepted))
        return batches, events

    def _decode(self, partition: int, messages: list[Any]) -> EventBatch:
        progress = self._progress[partition]
        if not messages:
            self._stop_fetching(partition)
            return end_batch(partition, progress.position)
        if progress.is_finished:
            self._stop_fetching(partition)
        batch = self._decoder.decode(
            [message.value() or b"" for message in messages],
            topic=self._topic,
            partition=partition,
            offsets=np.fromiter((message.offset() for message in messages), np.int64, len(messages)),
            next_offset=progress.position,
            at_end=progress.is_finished,
        )
        # As the watermark does: negative events move neither, or a partition of them would be paused for ever.
        progress.see_time(int(batch.times_ms.max()) if batch.times_ms.size else None)
        return batch

    def _ends(self, events: list[Any]) -> Iterator[EventBatch]:
        for message in events:
            if not is_end_of_partition(message.error()):
                raise self._failure(message)
            progress = self._progress[message.partition()]
            if progress.ends_at(message.offset(), self._clock.monotonic_seconds()):
                self._stop_fetching(message.partition())
                yield end_batch(message.partition(), progress.position)

    def _stop_fetching(self, partition: int) -> None:
        self._consumer.pause([TopicPartition(self._topic, partition)])

    def _idle_batches(self) -> Iterator[EventBatch]:
        now_seconds = self._clock.monotonic_seconds()
        for partition, progress in self._progress.items():
            if self._follow and progress.turns_idle(now_seconds, self._idle_after_seconds):
                yield end_batch(partition, progress.position)

    def _may_wait(self) -> bool:
        """Whether silence is no fault: the topic is followed, or all that is unread is paused."""
        return self._follow or all(p.is_finished or p.is_paused for p in self._progress.values())

    def _refuse_stall(self, heard_seconds: float) -> None:
        silent_seconds = self._clock.monotonic_seconds() - heard_seconds
        if silent_seconds >= _STALL_SECONDS:
            raise BrokerError(
                f"no record and no end of a partition came for {silent_seconds:.0f} s",
                "Check that the brokers run and repeat the command: it goes on from there",
                place=self._identity,
            )

    def _failure(self, message: Any) -> BrokerError:
        partition, error = message.partition(), message.error()
        if is_lost_offset(error):
            bounds = bounds_of(self._consumer, self._topic, partition, self._identity)
            return lost_offset(self._topic, partition, self._progress[partition].position, bounds)
        return BrokerError(
            f"the broker answered with an error ({error.str()})",
            "Mend it at the cluster and repeat the command: it goes on from there",
            place=f"{self._topic}[{partition}]" if partition is not None and partition >= 0 else self._identity,
        )


def _accepted(messages: list[Any], progress: PartitionProgress) -> list[Any]:
    """Keep the messages that are to be yielded; offsets ascend, so that the outer two mostly tell."""
    if progress.accepts(messages[0].offset()) and progress.accepts(messages[-1].offset()):
        return messages
    return [message for message in messages if progress.accepts(message.offset())]
