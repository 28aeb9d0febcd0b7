"""Duplicates by event id: a producer's retry writes the same event again, a little later."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stream.checkpoint import EventIds
from stream.reorder import BEGINNING_OF_TIME_MS
from tidegate.hashing import KeyIndex
from tidegate.jit import kernel

_UNKNOWN_MS = 2 * BEGINNING_OF_TIME_MS  # before anything that is compared with it


class SeenEvents:
    """Ids of recent events.

    An event is a duplicate if one of its id came before whose event time is at most `span_ms` behind the latest of the
    partition: neither batches nor restarts nor what memory still holds has a say in it.

    Examples
    --------
    >>> seen = SeenEvents(span_ms=1_000)
    >>> seen.admit(np.array([7, 8, 7], np.uint64), np.array([1, 2, 3]), latest_ms=0).tolist()
    [False, False, True]
    """

    def __init__(self, span_ms: int) -> None:
        self._span_ms = span_ms
        self._index = KeyIndex()
        self._times_ms = np.zeros(0, np.int64)  # by the index's slot, and room for more
        self._fresh: list[EventIds] = []

    def __len__(self) -> int:
        return len(self._index)

    def admit(self, ids: NDArray[np.uint64], times_ms: NDArray[np.int64], latest_ms: int) -> NDArray[np.bool_]:
        """Remember events in arrival order; tells which of them are duplicates. `O(n)` expected.

        Parameters
        ----------
        ids : uint64[n]         hashes; 0 stands for an event without an id, which is never a duplicate
        times_ms : int64[n]
        latest_ms : int         the latest event time before them

        Returns
        -------
        bool[n]
        """
        has_id = ids != 0
        slots = np.full(ids.shape[0], -1, np.int64)
        slots[has_id] = self._slots(ids[has_id])
        is_duplicate = find_duplicates(slots, times_ms, latest_ms, self._span_ms, self._times_ms)
        is_new = has_id & ~is_duplicate
        self._fresh.append(EventIds(ids[is_new], times_ms[is_new]))
        return is_duplicate

    def restore(self, stored: EventIds) -> None:
        """Put stored ids back, oldest first."""
        slots = self._slots(stored.ids)
        np.maximum.at(self._times_ms, slots, stored.times_ms)

    def take_new(self, forget_before_ms: int) -> EventIds:
        """Return the ids that were remembered since the last call; forget what is of no use any more.

        Parameters
        ----------
        forget_before_ms : event time before which ids need not be known
        """
        fresh, self._fresh = self._fresh, []
        kept = self._times_ms[: len(self)] >= forget_before_ms
        if 2 * int(kept.sum()) < len(self):  # rarely, for it is `O(n)`
            ids, times_ms = self._index.keys[kept], self._times_ms[: len(self)][kept]
            self._index, self._times_ms = KeyIndex(max(1_024, ids.shape[0])), np.zeros(0, np.int64)
            self.restore(EventIds(ids, times_ms))
        return EventIds(
            np.concatenate([each.ids for each in fresh] or [np.zeros(0, np.uint64)]),
            np.concatenate([each.times_ms for each in fresh] or [np.zeros(0, np.int64)]),
        )

    def _slots(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        slots = self._index.slots(ids)
        if len(self) > self._times_ms.shape[0]:  # doubled, or every batch would copy all
            unknown = np.full(max(2 * self._times_ms.shape[0], len(self)) - self._times_ms.shape[0], _UNKNOWN_MS)
            self._times_ms = np.concatenate([self._times_ms, unknown])
        return slots


@kernel
def find_duplicates(
    slots: NDArray[np.int64],
    times_ms: NDArray[np.int64],
    latest_ms: int,
    span_ms: int,
    known_ms: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Tell which events repeat an id, one after the other: bool[n]. `O(n)`.

    Parameters
    ----------
    slots : int64[n]        of the ids; -1 for none
    times_ms : int64[n]
    latest_ms : int         event time before the first of them
    known_ms : int64[ids]   event time under which an id is known, by slot; written to
    """
    is_duplicate = np.zeros(slots.shape[0], np.bool_)
    for i in range(slots.shape[0]):
        latest_ms = max(latest_ms, times_ms[i])
        if slots[i] < 0:
            continue
        if known_ms[slots[i]] >= latest_ms - span_ms:
            is_duplicate[i] = True
        else:
            known_ms[slots[i]] = times_ms[i]
    return is_duplicate
