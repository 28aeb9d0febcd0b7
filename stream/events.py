"""What every source yields: batches of decoded, positive events, with an account of all that was set aside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Outcome(StrEnum):
    """What became of a record. Every record has exactly one."""

    COUNTED = "counted"  # positive, in time, in its user's sequence
    NEGATIVE = "negative"  # well formed, but the engagement rule does not hold
    MALFORMED = "malformed"  # does not parse, or a mapped value is missing
    UNKNOWN_CLUSTER = "unknown_cluster"  # not in the catalogue, or an item without a cluster
    FUTURE = "future"  # further ahead of the wall clock than the bound
    LATE = "late"  # behind the watermark
    DUPLICATE = "duplicate"  # its event id was seen before


@dataclass(frozen=True, slots=True)
class RecordIssue:
    """One record that was set aside, so that its owner can find and mend it.

    Attributes
    ----------
    outcome : Outcome
    place : str     ``file:line`` or ``topic[partition]@offset``
    found : str     what is wrong with it
    mend : str      what to do about it
    position : int  of the record among those of its batch, -1 where the source does not say
    """

    outcome: Outcome
    place: str
    found: str
    mend: str
    position: int = -1


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Decoded events of one partition, in the partition's order.

    Attributes
    ----------
    partition : int            files have one partition, 0
    next_offset : int          where to go on after this batch: a record number (files) or an offset (Kafka)
    n_records : int            records read, good or not
    users : uint64[n]          xxh64 of the user's id as UTF-8 text (ints and strings agree)
    clusters : int32[n]        index into the source's `cluster_names`
    times_ms : int64[n]        event time
    latest_ms : int or None    over all well-formed records in time, positive or not; None where there is none
    set_aside : counts by outcome of the records that are not in the arrays
    issues : the first few of those that an owner should see
    at_end : the partition has no more records (finite source) or is idle (following)
    positions : int64[n]       of each event's record among the batch's, or None where the source does not say
    event_ids : uint64[n], 0 for an event without one; None where no column of ids is configured

    Only positive events are in the arrays (n of them); ``n_records == n + sum(set_aside.values())``.
    """

    partition: int
    next_offset: int
    n_records: int
    users: NDArray[np.uint64]
    clusters: NDArray[np.int32]
    times_ms: NDArray[np.int64]
    latest_ms: int | None
    set_aside: Mapping[Outcome, int] = field(default_factory=dict)
    issues: tuple[RecordIssue, ...] = ()
    at_end: bool = False
    positions: NDArray[np.int64] | None = None
    event_ids: NDArray[np.uint64] | None = None


class Source(Protocol):
    """A finite or endless supply of event batches, resumable per partition.

    The same partition read twice from the same offset yields the same records in the same order; how they are cut
    into batches may differ. A source that ends early with an error yields all that it could read first.
    """

    @property
    def identity(self) -> str:
        """What is read, absolutely named (a path, a topic), so that a run is known by it."""
        ...

    @property
    def cluster_names(self) -> list[str]:
        """Names that `EventBatch.clusters` points to; grows as the source is read, never reorders."""
        ...

    @property
    def partitions(self) -> tuple[int, ...]:
        """All partitions that must be waited for."""
        ...

    @property
    def n_records_expected(self) -> int | None:
        """Records of a finite source, if known cheaply (for a progress bar)."""
        ...

    def batches(self, start: Mapping[int, int]) -> Iterator[EventBatch]:
        """Yield batches from the given offsets on (partitions that are not named start at their beginning).

        Raises
        ------
        SourceError
            After everything readable was yielded.
        """
        ...

    def pause_ahead_of(self, time_ms: int | None) -> None:
        """Stop fetching partitions that have passed event time `time_ms` (None: fetch all). Files ignore it."""
        ...

    def close(self) -> None:
        """Release connections and files; may be called twice."""
        ...
