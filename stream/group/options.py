"""How a worker of a group is told to read and commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GroupOptions:
    """How a worker of a group reads and commits.

    Attributes
    ----------
    topic : str
    checkpoint_records : int       records of a shard between commits, at most about this many are read again
    checkpoint_seconds : float     least time between commits of a shard that has read something
    max_waiting : int              events that a shard may hold while its gate is shut; then it is not read from
    idle_after_seconds : float     how long a partition rests at its end until it counts as idle
    patience_seconds : float       how long the store may be away
    until_end : offsets at which partitions end (finite reading); None follows
    """

    topic: str
    checkpoint_records: int = 1_000_000
    checkpoint_seconds: float = 1.0
    max_waiting: int = 500_000
    idle_after_seconds: float = 30.0
    patience_seconds: float = 300.0
    until_end: Mapping[int, int] | None = None
