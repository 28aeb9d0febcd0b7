"""Event-time order out of arrival order: watermarks, lateness, and the buffer that waits for them.

A partition's watermark is its latest event time less the allowed lateness; the stream's is the smallest of its
partitions'. Events wait in the buffer until the stream's watermark has passed them and leave it in event-time
order (events of equal time in arrival order), so what is counted does not depend on how partitions interleave.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

END_OF_TIME_MS = 2**62
BEGINNING_OF_TIME_MS = -(2**62)


class Watermarks:
    """How far event time has advanced, by partition.

    Examples
    --------
    >>> marks = Watermarks([0, 1], lateness_ms=10)
    >>> marks.advance(0, 100), marks.advance(1, 50)
    (None, None)
    >>> marks.stream_ms
    40
    >>> marks.finish(1)
    >>> marks.stream_ms
    90
    """

    def __init__(self, partitions: Iterable[int], lateness_ms: int) -> None:
        self._lateness_ms = lateness_ms
        self._latest_ms: dict[int, int] = dict.fromkeys(partitions, BEGINNING_OF_TIME_MS)
        self._finished: set[int] = set()
        self._idle: set[int] = set()
        self._stream_ms = BEGINNING_OF_TIME_MS

    def advance(self, partition: int, latest_ms: int | None) -> None:
        """Note that `partition` has shown an event of `latest_ms`; it is no longer idle."""
        self._idle.discard(partition)
        if latest_ms is not None:
            self._latest_ms[partition] = max(self._latest_ms[partition], latest_ms)
        self._update()

    def idle(self, partition: int) -> None:
        """Note that `partition` is waiting for new records and must not hold the others back."""
        self._idle.add(partition)
        self._update()

    def finish(self, partition: int) -> None:
        """Note that `partition` has no more records, ever."""
        self._finished.add(partition)
        self._update()

    def _update(self) -> None:
        waiting = [
            latest - self._lateness_ms
            for partition, latest in self._latest_ms.items()
            if partition not in self._finished and partition not in self._idle
        ]
        if waiting:
            candidate = min(waiting)
        elif len(self._finished) == len(self._latest_ms):
            candidate = END_OF_TIME_MS
        else:  # everyone idles: nothing is coming that could be compared, so time stands at the furthest seen
            candidate = max(self._latest_ms.values()) - self._lateness_ms
        self._stream_ms = max(self._stream_ms, candidate)

    def follow(self, stream_ms: int) -> None:
        """Where everyone here idles, go along with the watermark that others have reached."""
        if self.all_idle:
            self._stream_ms = max(self._stream_ms, stream_ms)

    @property
    def stream_ms(self) -> int:
        """The stream's watermark; it never goes back."""
        return self._stream_ms

    @property
    def all_idle(self) -> bool:
        """Whether every partition that may still bring records is waiting for new ones."""
        return not self.all_finished and len(self._idle | self._finished) == len(self._latest_ms)

    @property
    def all_finished(self) -> bool:
        """Whether no partition will bring records any more."""
        return len(self._finished) == len(self._latest_ms)

    @property
    def latest_ms(self) -> dict[int, int]:
        """Latest event time by partition."""
        return dict(self._latest_ms)

    def restore(self, latest_ms: dict[int, int], stream_ms: int) -> None:
        """Put a stored state back."""
        self._latest_ms.update(latest_ms)
        self._stream_ms = stream_ms


def late_events(times_ms: NDArray[np.int64], latest_ms: int, lateness_ms: int) -> NDArray[np.bool_]:
    """Tell which events lag too far behind the latest one before them, however the partition is cut into batches.

    Parameters
    ----------
    times_ms : int64[n]    in the partition's order
    latest_ms : int        latest event time before them

    Returns
    -------
    bool[n]

    Examples
    --------
    >>> late_events(np.array([100, 80, 95, 120, 105]), latest_ms=0, lateness_ms=10).tolist()
    [False, True, False, False, True]
    """
    latest_before = np.maximum.accumulate(np.r_[np.int64(latest_ms), times_ms[:-1]])
    return times_ms < latest_before - lateness_ms


class ReorderBuffer:
    """Events that wait for the watermark.

    Examples
    --------
    >>> buffer = ReorderBuffer()
    >>> buffer.add(np.array([1, 2], np.uint64), np.array([5, 6], np.int32), np.array([30, 20]))
    >>> users, clusters, times = buffer.release(25)
    >>> users.tolist(), times.tolist(), len(buffer)
    ([2], [20], 1)
    """

    def __init__(self) -> None:
        self.users = np.zeros(0, np.uint64)
        self.clusters = np.zeros(0, np.int32)
        self.times_ms = np.zeros(0, np.int64)
        self._is_fresh = np.zeros(0, np.bool_)
        self._is_sorted = True

    def __len__(self) -> int:
        return int(self.users.shape[0])

    def add(self, users: NDArray[np.uint64], clusters: NDArray[np.int32], times_ms: NDArray[np.int64]) -> None:
        """Append events in arrival order: uint64[n], int32[n], int64[n]."""
        is_fresh = np.ones(users.shape[0], np.bool_)
        if len(self):
            users = np.concatenate([self.users, users])
            clusters = np.concatenate([self.clusters, clusters])
            times_ms = np.concatenate([self.times_ms, times_ms])
            is_fresh = np.concatenate([self._is_fresh, is_fresh])
        self.users, self.clusters, self.times_ms, self._is_fresh = users, clusters, times_ms, is_fresh
        self._is_sorted = False

    def take_fresh(self) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int64]]:
        """Return the waiting events that were added since the last call; they stay in the buffer."""
        if not self._is_sorted:
            self._sort()
        fresh = self._is_fresh
        self._is_fresh = np.zeros(len(self), np.bool_)
        return self.users[fresh], self.clusters[fresh], self.times_ms[fresh]

    def passed(self, before_ms: int) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int64]]:
        """Return the events before `before_ms`, in event-time order; they stay in the buffer."""
        if not self._is_sorted:
            self._sort()
        cut = int(np.searchsorted(self.times_ms, before_ms))
        return self.users[:cut], self.clusters[:cut], self.times_ms[:cut]

    def release(self, before_ms: int) -> tuple[NDArray[np.uint64], NDArray[np.int32], NDArray[np.int64]]:
        """Take out the events before `before_ms`, in event-time order."""
        released = self.passed(before_ms)
        cut = released[0].shape[0]
        self.users, self.clusters, self.times_ms = self.users[cut:], self.clusters[cut:], self.times_ms[cut:]
        self._is_fresh = self._is_fresh[cut:]
        return released

    def _sort(self) -> None:
        times = self.times_ms
        if (times[1:] < times[:-1]).any():
            order = np.argsort(times, kind="stable")
            self.users, self.clusters, self.times_ms = self.users[order], self.clusters[order], times[order]
            self._is_fresh = self._is_fresh[order]
        self._is_sorted = True
