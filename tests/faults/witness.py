"""Lines in a worker's log that tell what its group and its store did to it, for the account of zombies."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

ASSIGNED, FENCED, LOST, REVOKED = "was assigned", "was fenced off", "has lost", "was asked for"
_LOG = logging.getLogger("tests.faults")


def tell_turns_of_fate() -> None:
    """Have this process write a line for each assignment, loss and fenced commit."""
    from stream.shard_store import ShardStore
    from stream.sources.kafka_group import KafkaGroup
    from tidegate.errors import FencedError

    commit = ShardStore.commit

    def told_commit(self: ShardStore, checkpoint: Any) -> None:
        try:
            commit(self, checkpoint)
        except FencedError:
            _LOG.info("this worker %s shard %d", FENCED, self.shard)
            raise

    ShardStore.commit = told_commit  # type: ignore[method-assign]
    for name, words in (("_on_assign", ASSIGNED), ("_on_revoke", REVOKED), ("_on_lost", LOST)):
        _tell(KafkaGroup, name, words)


def _tell(owner: type, name: str, words: str) -> None:
    original = getattr(owner, name)

    def told(self: Any, consumer: Any, partitions: Sequence[Any]) -> None:
        _LOG.info("this worker %s %s", words, sorted(each.partition for each in partitions))
        original(self, consumer, partitions)

    setattr(owner, name, told)
