"""Per-user sequences, and the transitions and hits that they yield.

One user's positive watches up to an inactivity gap are a *sequence*; three consecutive clusters of it are a
*transition*. A sequence may stay open for months, so its state outlives batches and restarts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from stream.predictions import Predictions
from stream.sequence_kernel import N_STATS, NO_GAP, Rules, Watches, extend_sequences
from stream.sequence_pool import FIRST_CAPACITY, Pool, copy_regions, empty_pool, empty_regions, grown, starts_of
from tidegate.counts import MAX_BUCKETS
from tidegate.durations import format_duration
from tidegate.errors import ConfigError
from tidegate.hashing import KeyIndex


class Dedup(StrEnum):
    """Which repeated watches of a cluster a sequence leaves out."""

    FIRST = "first"  # all but the first in the sequence (the glossary's way)
    ADJACENT = "adjacent"  # only those that follow themselves


@dataclass(frozen=True, slots=True)
class SequenceOptions:
    """How watches become sequences, transitions and hits.

    Attributes
    ----------
    pane_ms, window_ms : int
    gap_ms : int | None      a new sequence starts when the time since the user's previous positive watch is
                             strictly greater; None never splits
    dedup : Dedup
    allow_return : bool      whether c_next may equal c1 (only adjacent de-duplication can show it)
    n_buckets : int          user buckets that counts are kept by, a power of two up to 256
    """

    pane_ms: int
    window_ms: int
    gap_ms: int | None = None
    dedup: Dedup = Dedup.FIRST
    allow_return: bool = False
    n_buckets: int = 64

    def __post_init__(self) -> None:
        if self.window_ms % self.pane_ms:
            raise ConfigError(
                f"a window of {format_duration(self.window_ms)} is not a whole number of panes of "
                f"{format_duration(self.pane_ms)}",
                "Choose --window as a multiple of --pane",
                place="--window",
            )
        if not 1 <= self.n_buckets <= MAX_BUCKETS or self.n_buckets & (self.n_buckets - 1):
            raise ConfigError(f"{self.n_buckets} user buckets", "Choose a power of two up to 256", place="n_buckets")

    @property
    def window_panes(self) -> int:
        """Panes in a window."""
        return self.window_ms // self.pane_ms

    def rules(self) -> Rules:
        """Return the same as plain numbers, for the kernel."""
        return Rules(
            pane_ms=self.pane_ms,
            window_ms=self.window_ms,
            gap_ms=NO_GAP if self.gap_ms is None else self.gap_ms,
            first_only=self.dedup is Dedup.FIRST,
            allow_return=self.allow_return,
            n_buckets=self.n_buckets,
        )


class PaneStats:
    """Transitions, sequences and hits by pane.

    Attributes
    ----------
    base_pane : int           pane of row 0
    values : int64[panes, 7]  columns TRANSITIONS … HIT_MICROBITS of `stream.sequence_kernel`
    """

    def __init__(self) -> None:
        self.base_pane = 0
        self.values = np.zeros((0, N_STATS), np.int64)

    def reserve(self, pane: int) -> None:
        """Make room up to and with `pane`, never before the first one."""
        if not self.values.shape[0]:
            self.base_pane = pane
        missing = pane - self.base_pane + 1 - self.values.shape[0]
        if missing > 0:
            self.values = np.vstack([self.values, np.zeros((missing, N_STATS), np.int64)])

    def of_pane(self, pane: int) -> NDArray[np.int64]:
        """Figures of one pane, int64[7]; zeros where nothing was seen."""
        row = pane - self.base_pane
        return self.values[row] if 0 <= row < self.values.shape[0] else np.zeros(N_STATS, np.int64)

    def set_pane(self, pane: int, figures: NDArray[np.int64]) -> None:
        """Put stored figures back; panes come in ascending order."""
        self.reserve(pane)
        self.values[pane - self.base_pane] = figures


@dataclass(frozen=True, slots=True)
class UserSegment:
    """Sequence state of some users, as it is stored.

    Attributes
    ----------
    users : uint64[k]
    last_ms : int64[k]                  time of the previous positive watch
    lengths : int32[k]
    clusters : int32[sum(lengths)]
    times_ms : int64[sum(lengths)]
    predictions : int32[sum(lengths)]   what was predicted there and has not come true yet, else -1
    """

    users: NDArray[np.uint64]
    last_ms: NDArray[np.int64]
    lengths: NDArray[np.int32]
    clusters: NDArray[np.int32]
    times_ms: NDArray[np.int64]
    predictions: NDArray[np.int32]

    def pieces(self, n_users: int) -> Iterator[UserSegment]:
        """Cut it into pieces of `n_users`, the last one smaller; nothing is copied."""
        ends = np.r_[0, np.cumsum(self.lengths, dtype=np.int64)]
        for first in range(0, self.users.shape[0], n_users):
            users = slice(first, first + n_users)
            cells = slice(ends[first], ends[min(first + n_users, self.users.shape[0])])
            yield UserSegment(
                self.users[users],
                self.last_ms[users],
                self.lengths[users],
                self.clusters[cells],
                self.times_ms[cells],
                self.predictions[cells],
            )


class SequenceState:
    """Open sequences of all users: the shell of the sequencing kernel.

    Examples
    --------
    >>> from stream.predictions import no_predictions
    >>> state = SequenceState(SequenceOptions(pane_ms=1000, window_ms=3000))
    >>> users = np.full(3, 7, np.uint64)
    >>> keys = state.extend(users, np.array([4, 5, 6], np.int32), np.array([1, 2, 3]), no_predictions())
    >>> [hex(key >> 8) for key in keys.tolist()]
    ['0x400050006']
    """

    def __init__(self, options: SequenceOptions) -> None:
        self.options = options
        self.stats = PaneStats()
        self._rules = options.rules()
        self._index = KeyIndex()
        self._regions = empty_regions(1_024)
        self._pool = empty_pool(8_192)
        self._pool_used = 0

    @property
    def n_users(self) -> int:
        """Users whose state is held."""
        return len(self._index)

    def extend(
        self,
        users: NDArray[np.uint64],
        clusters: NDArray[np.int32],
        times_ms: NDArray[np.int64],
        predictions: Predictions,
    ) -> NDArray[np.int64]:
        """Append watches in event-time order; count and score what they complete.

        Parameters
        ----------
        users : uint64[n]
        clusters : int32[n]
        times_ms : int64[n]    ascending
        predictions            the table that serves at these times

        Returns
        -------
        int64[t]               packed transitions (`tidegate.counts`), in the order of their events
        """
        n_watches = users.shape[0]
        out = np.empty(n_watches, np.int64)
        if not n_watches:
            return out
        watches = Watches(self._slots(users), users, clusters, times_ms)
        self.stats.reserve(int(times_ms[0]) // self.options.pane_ms)
        self.stats.reserve(int(times_ms[-1]) // self.options.pane_ms)
        at = n_out = 0
        while at < n_watches:
            at, self._pool_used, n_out = extend_sequences(
                at,
                self._pool_used,
                watches,
                self._regions,
                self._pool,
                self._rules,
                predictions,
                self.stats.base_pane,
                self.stats.values,
                out,
                n_out,
            )
            if at < n_watches:
                self._make_room(int(times_ms[at]))
        return out[:n_out]

    def take_dirty(self) -> UserSegment:
        """Return the state of all users that changed since the last call, and mark it as taken."""
        n_users = self.n_users
        dirty = np.flatnonzero(self._regions.is_dirty[:n_users])
        self._regions.is_dirty[:n_users] = False
        return self._segment(dirty)

    def take_all(self) -> UserSegment:
        """Return the state of all users, and mark it as taken."""
        self._regions.is_dirty[: self.n_users] = False
        return self._segment(np.arange(self.n_users))

    def n_open(self, before_ms: int) -> int:
        """Count the users whose sequence a watch from `before_ms` on may go on with. `O(u)`."""
        return int(self._is_open(before_ms).sum())

    def _is_open(self, before_ms: int) -> NDArray[np.bool_]:
        last_ms = self._regions.last_ms[: self.n_users]
        if self.options.gap_ms is None:
            return np.ones(self.n_users, np.bool_)
        return np.asarray(last_ms >= before_ms - self.options.gap_ms)

    def forget_closed(self, before_ms: int) -> None:
        """Forget users whose sequence a gap has closed for any watch from `before_ms` on.

        Nothing follows from it: a newcomer's state is the same. `O(u)`; the users that stay get new slots.
        """
        is_open = self._is_open(before_ms)
        if is_open.all():
            return
        kept = self._segment(np.flatnonzero(is_open))
        n_kept = max(1_024, kept.users.shape[0])
        self._index = KeyIndex(n_kept)
        self._regions, self._pool, self._pool_used = empty_regions(n_kept), empty_pool(8_192), 0
        self.load(kept)

    def load(self, segment: UserSegment) -> None:
        """Put stored state back; what a later segment says of a user replaces what an earlier one said."""
        slots = self._slots(segment.users)
        needed = int(np.maximum(segment.lengths, FIRST_CAPACITY).sum())
        if self._pool_used + needed > self._pool.clusters.shape[0]:
            self._move(np.arange(self.n_users), needed)
        capacities = np.maximum(segment.lengths, FIRST_CAPACITY)
        starts = self._pool_used + starts_of(capacities)
        self._pool_used += needed
        self._regions.starts[slots] = starts
        self._regions.lengths[slots] = segment.lengths
        self._regions.capacities[slots] = capacities
        self._regions.last_ms[slots] = segment.last_ms
        stored = Pool(segment.clusters, segment.times_ms, segment.predictions)
        copy_regions(starts_of(segment.lengths), segment.lengths, stored, starts, self._pool)

    def _slots(self, users: NDArray[np.uint64]) -> NDArray[np.int64]:
        n_known = len(self._index)
        slots = self._index.slots(users)
        if len(self._index) > self._regions.starts.shape[0]:
            self._regions = grown(self._regions, n_known, 3 * len(self._index) // 2)
        return slots

    def _segment(self, slots: NDArray[np.int64]) -> UserSegment:
        lengths = self._regions.lengths[slots]
        cells = empty_pool(int(lengths.sum()))
        copy_regions(self._regions.starts[slots], lengths, self._pool, starts_of(lengths), cells)
        return UserSegment(
            users=self._index.keys[slots],
            last_ms=self._regions.last_ms[slots],
            lengths=lengths,
            clusters=cells.clusters,
            times_ms=cells.times_ms,
            predictions=cells.predictions,
        )

    def _make_room(self, now_ms: int) -> None:
        """Move the live sequences together, into a pool where the longest of them can double."""
        if self.options.dedup is Dedup.ADJACENT:
            self._trim(now_ms)
        self._move(np.arange(self.n_users), int(self._regions.lengths[: self.n_users].max()))

    def _trim(self, now_ms: int) -> None:
        """Forget cells that can neither complete a transition (the last two can) nor come true any more.

        Adjacent de-duplication looks at the last cell only, so a sequence would otherwise grow for ever; first-only
        de-duplication needs every cluster and is bounded by their number.
        """
        regions = self._regions
        for slot in range(self.n_users):
            start, length = regions.starts[slot], regions.lengths[slot]
            is_old = self._pool.times_ms[start : start + length] < now_ms - self.options.window_ms
            # Three stay: at two cells the next watch would open the sequence anew in the figures.
            n_old = min(int(is_old.sum()), max(0, int(length) - 3))
            regions.starts[slot] += n_old
            regions.lengths[slot] -= n_old
            regions.capacities[slot] -= n_old

    def _move(self, slots: NDArray[np.int64], n_extra: int) -> None:
        regions, lengths = self._regions, self._regions.lengths[slots]
        capacities = np.maximum(lengths, FIRST_CAPACITY)
        needed = int(capacities.sum())
        # Half as many cells more leave room for as many appends: the moves' cost is spread over them.
        pool = empty_pool(max(8_192, 3 * (needed + n_extra) // 2))
        starts = starts_of(capacities)
        copy_regions(regions.starts[slots], lengths, self._pool, starts, pool)
        regions.starts[slots], regions.capacities[slots] = starts, capacities
        self._pool, self._pool_used = pool, needed
