"""Duplicates by event id: a producer's retry writes the same event again, a little later."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.checkpoint import EventIds
from stream.reorder import BEGINNING_OF_TIME_MS
from tidegate.hashing import KeyIndex


class SeenEvents:
    """Ids of recent events of one partition.

    An id is remembered until event time has passed it by `span_ms`, at least; it may be remembered up to twice as
    long, since ids are forgotten a generation of `span_ms` at a time.

    Examples
    --------
    >>> seen = SeenEvents(span_ms=1_000)
    >>> seen.admit(np.array([7, 8, 7], np.uint64), np.array([1, 2, 3])).tolist()
    [False, False, True]
    """

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self._latest_ms = BEGINNING_OF_TIME_MS
        self._ids, self._times_ms = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        self._index = KeyIndex()
        self._n_taken = 0

    def __len__(self) -> int:
        return int(self._ids.shape[0])

    @property
    def forget_before_ms(self) -> int:
        """Event time before which ids need not be known."""
        return self._latest_ms - self._span_ms

    def admit(self, ids: NDArray[np.uint64], times_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Remember events in arrival order; tells which of them were seen before. `O(n)` expected.

        Parameters
        ----------
        ids : uint64[n]         hashes; 0 stands for an event without an id, which is never a duplicate
        times_ms : int64[n]

        Returns
        -------
        bool[n]
        """
        has_id = ids != 0
        n_known = len(self._index)
        slots = self._index.slots(ids[has_id])
        is_new = np.zeros(slots.shape[0], np.bool_)
        new_slots, first = np.unique(slots, return_index=True)
        is_new[first[new_slots >= n_known]] = True
        self._remember(ids[has_id][is_new], times_ms[has_id][is_new])
        is_duplicate = np.zeros(ids.shape[0], np.bool_)
        is_duplicate[has_id] = ~is_new
        return is_duplicate

    def restore(self, ids: NDArray[np.uint64], times_ms: NDArray[np.int64]) -> None:
        """Put stored ids back."""
        self.admit(ids, times_ms)
        self._n_taken = len(self)

    def take_new(self) -> EventIds:
        """Return the ids that were remembered since the last call; forget those that are too old."""
        new = EventIds(self._ids[self._n_taken :], self._times_ms[self._n_taken :])
        if self._times_ms.size and int(self._times_ms.min()) < self._latest_ms - 2 * self._span_ms:
            kept = self._times_ms >= self.forget_before_ms
            self._ids, self._times_ms = self._ids[kept], self._times_ms[kept]
            self._index = KeyIndex(max(1_024, len(self)))
            self._index.slots(self._ids)
        self._n_taken = len(self)
        return new

    def _remember(self, ids: NDArray[np.uint64], times_ms: NDArray[np.int64]) -> None:
        self._ids = np.concatenate([self._ids, ids])
        self._times_ms = np.concatenate([self._times_ms, times_ms])
        if times_ms.size:
            self._latest_ms = max(self._latest_ms, int(times_ms.max()))
