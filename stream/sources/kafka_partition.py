"""Where one partition stands while it is read. Knows neither Kafka nor clocks: it is told what happened."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class PartitionProgress:
    """State of one assigned partition.

    Attributes
    ----------
    position : int                   offset of the next record
    stop : int, optional             offset to stop before (finite reading); None follows
    latest_ms : int, optional        latest event time seen
    is_finished : bool               nothing more will be yielded
    is_paused : bool                 held back because it runs ahead
    is_idle : bool                   was reported idle, nothing came since
    at_end_since : float, optional   monotonic seconds at which the log's end was reached
    """

    position: int
    stop: int | None = None
    latest_ms: int | None = None
    is_finished: bool = False
    is_paused: bool = False
    is_idle: bool = False
    at_end_since: float | None = None

    def accepts(self, offset: int) -> bool:
        """Whether a record is one to yield: not seen before, and before the stop."""
        return offset >= self.position and (self.stop is None or offset < self.stop)

    def move_past(self, offset: int) -> None:
        """Note that the record at `offset` was fetched."""
        self.position = max(self.position, offset + 1 if self.stop is None else min(offset + 1, self.stop))
        self.at_end_since = None
        self.is_idle = False
        self.is_finished = self.stop is not None and self.position >= self.stop

    def ends_at(self, offset: int, now_seconds: float) -> bool:
        """Note that the log ends at `offset` for now; says whether this has finished the partition.

        The last offsets of a log may hold no record (compaction, transaction markers), so the end of a finite
        partition is where the broker says it is, not where a record with the last offset turns up.
        """
        if self.is_finished:
            return False
        self.position = max(self.position, offset if self.stop is None else min(offset, self.stop))
        self.at_end_since = now_seconds
        self.is_finished = self.stop is not None
        return self.is_finished

    def see_time(self, latest_ms: int | None) -> None:
        """Note the latest time of a batch's positive events."""
        if latest_ms is not None:
            self.latest_ms = latest_ms if self.latest_ms is None else max(self.latest_ms, latest_ms)

    def is_ahead_of(self, time_ms: int | None) -> bool:
        """Whether it has passed an event time."""
        return time_ms is not None and self.latest_ms is not None and self.latest_ms > time_ms

    def turns_idle(self, now_seconds: float, after_seconds: float) -> bool:
        """Whether it has now been at its end for long enough; says so once, until something comes.

        A paused partition is not idle: there may be records that it was not asked for.
        """
        if self.is_idle or self.is_paused or self.at_end_since is None:
            return False
        self.is_idle = now_seconds - self.at_end_since >= after_seconds
        return self.is_idle
