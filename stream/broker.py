"""What the group worker asks of a message broker: Kafka in production, a simulated one in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stream.events import Outcome


@dataclass(frozen=True, slots=True)
class PartitionRecords:
    """Records of one partition, as they were fetched.

    Attributes
    ----------
    values : list of bytes      b"" for a record without a value
    offsets : int64[n]          ascending, not always without gaps
    key_of : int -> bytes | None    key of the record at a position
    """

    partition: int
    values: Sequence[bytes]
    offsets: NDArray[np.int64]
    key_of: Callable[[int], bytes | None] = lambda _: None

    def from_offset(self, offset: int) -> PartitionRecords:
        """Leave out the records before `offset`."""
        first = int(np.searchsorted(self.offsets, offset))
        if not first:
            return self
        key_of = self.key_of
        return PartitionRecords(
            self.partition, self.values[first:], self.offsets[first:], lambda position: key_of(position + first)
        )


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one poll brought.

    Attributes
    ----------
    records : by partition, each partition at most once
    ends : partition -> offset at which its log ends for now
    """

    records: Sequence[PartitionRecords] = ()
    ends: Mapping[int, int] = field(default_factory=dict)


class Assignee(Protocol):
    """Whom partitions are given to and taken from; called from within `Broker.poll` and `Broker.close` only."""

    def on_assigned(self, partitions: Sequence[int]) -> dict[int, int]:
        """Take partitions over; returns the offset that each is to be read from."""
        ...

    def on_revoked(self, partitions: Sequence[int]) -> None:
        """Give partitions up in good order: they are still owned."""
        ...

    def on_lost(self, partitions: Sequence[int]) -> None:
        """Let go of partitions that someone else may own already."""
        ...


class Broker(Protocol):
    """A member of a consumer group that reads one topic."""

    def poll(self, assignee: Assignee) -> Fetched:
        """Wait a little for records; hand out and take back partitions meanwhile.

        Records of a partition begin at the offset that `Assignee.on_assigned` gave, and none comes after the partition
        was revoked or lost.

        Raises
        ------
        BrokerError
            If an offset is not in the log any more, or the broker answers with an error.
        """
        ...

    def start_of(self, partition: int, stored: int | None) -> int:
        """Where to read on: at the `stored` offset, or at the earliest of the log where nothing is stored.

        Raises
        ------
        BrokerError
            If the log does not hold the stored offset, and nobody has decided to give up what is missing.
        """
        ...

    def pause(self, partitions: Iterable[int]) -> None:
        """Fetch no more of them until `resume`."""
        ...

    def resume(self, partitions: Iterable[int]) -> None:
        """Fetch them again."""
        ...

    def mirror(self, offsets: Mapping[int, int]) -> None:
        """Show committed offsets to lag tools; nothing is ever read back from there."""
        ...

    def close(self, assignee: Assignee) -> None:
        """Leave the group, giving all partitions back; may be called twice."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be counted, with where it was and why."""

    topic: str
    partition: int
    offset: int
    outcome: Outcome
    error: str
    key: bytes | None
    value: bytes


class DeadLetterSink(Protocol):
    """Where dead letters go. At least once: a crash between a letter and its commit repeats it."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Queue letters."""
        ...

    def flush(self) -> None:
        """Return when all queued letters are safe; called before the records that they replace are committed.

        Raises
        ------
        BrokerError
            If they are not.
        """
        ...


class NoDeadLetters:
    """Records that cannot be counted are counted as such and dropped."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Drop them."""

    def flush(self) -> None:
        """Nothing is queued."""
