"""Workers that are wrong on purpose: if the harness found nothing against these, it could find nothing at all.

Each takes away one thing that the counts rest on, and changes nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any


def offsets_first() -> None:
    """Commit offsets in a transaction of their own before the counts: what lies between the two is lost."""
    from stream.checkpoint import Checkpoint
    from stream.database import put_rows
    from stream.schema import offsets
    from stream.shard_store import ShardStore

    commit = ShardStore.commit

    def torn(self: ShardStore, checkpoint: Checkpoint) -> None:
        rows = [
            {"run_id": self.run_id, "shard": self.shard, "partition": partition, "next_offset": n, "latest_ms": ms}
            for partition, (n, ms) in checkpoint.offsets.items()
        ]
        with self.database.writing() as connection:
            put_rows(connection, offsets, rows)
        commit(self, checkpoint)

    ShardStore.commit = torn  # type: ignore[method-assign]


def unfenced() -> None:
    """Commit without compare-and-set: a zombie writes over what the next owner has counted."""
    from sqlalchemy import select, update

    from stream.schema import shards
    from stream.shard_store import ShardStore

    advance = ShardStore._advance

    def blind(self: ShardStore, connection: Any, number: int, checkpoint: Any = None) -> bool:
        mine = self._mine(shards)
        self._epoch = connection.scalar(select(shards.c.epoch).where(*mine).with_for_update())
        connection.execute(update(shards).where(*mine).values(commit_number=number - 1))
        return advance(self, connection, number, checkpoint)

    ShardStore._advance = blind  # type: ignore[method-assign]


def kafka_offsets() -> None:
    """Store counts, then state, then commit the offset to Kafka and read on from there: what lies between counts twice.

    Counts and state apart, because the state alone forgives: a record that comes again lies beside itself in the
    reorder buffer, and a sequence leaves the second one out.
    """
    from confluent_kafka import KafkaException, TopicPartition

    from stream.checkpoint import Checkpoint
    from stream.database import put_rows
    from stream.schema import pane_parts
    from stream.shard_store import ShardStore
    from stream.sources.kafka_group import KafkaGroup

    commit = ShardStore.commit

    def apart(self: ShardStore, checkpoint: Checkpoint) -> None:
        part = {"run_id": self.run_id, "shard": self.shard, "commit_number": -time.time_ns()}
        rows = [
            part | {"pane": pane, "keys": counts.keys.tobytes(), "counts": counts.counts.tobytes()}
            for pane, counts in checkpoint.counts.items()
        ]
        with self.database.writing() as connection:
            put_rows(connection, pane_parts, rows)
        commit(self, replace(checkpoint, counts={}))

    start_of = KafkaGroup.start_of

    def committed(self: KafkaGroup, partition: int, _stored: int | None) -> int:
        answer = self._consumer.committed([TopicPartition(self._topic, partition)], timeout=10.0)[0]
        return start_of(self, partition, answer.offset if answer.offset >= 0 else None)

    def mirror(self: KafkaGroup, offsets: dict[int, int]) -> None:
        named = [TopicPartition(self._topic, partition, offset) for partition, offset in offsets.items()]
        try:
            self._consumer.commit(offsets=named, asynchronous=False)
        except KafkaException:
            return  # the group has moved on, or the broker is away: the next commit brings it

    ShardStore.commit = apart  # type: ignore[method-assign]
    KafkaGroup.start_of = committed  # type: ignore[method-assign]
    KafkaGroup.mirror = mirror  # type: ignore[method-assign,assignment]


CONTROLS: dict[str, Callable[[], None]] = {
    "offsets-first": offsets_first,
    "unfenced": unfenced,
    "kafka-offsets": kafka_offsets,
}
