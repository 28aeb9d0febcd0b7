"""Transitions of a run's last panes, summed over spans of several lengths.

How much of the past still speaks for the present differs from log to log, and from pair to pair once some of them
drift. So counts are kept for several lengths side by side: as they are *now*, and as they were *before* the newest
pane, which shows what each length would have foretold of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tidegate.counts import SuccessorCounts, merge_counts

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PaneSpans:
    """Counts by key over spans of panes; a key is ``group << 16 | cluster``.

    Attributes
    ----------
    lengths : int64[k]       panes of each span, ascending
    n_panes : int64[k]       panes that each span really has (a young run is shorter)
    keys : int64[t]          strictly ascending
    now : int64[t, k]        over the newest panes
    before : int64[t, k]     over the panes before the newest one
    newest : int64[t]        in the newest pane alone
    """

    lengths: Int64s
    n_panes: Int64s
    keys: Int64s
    now: Int64s
    before: Int64s
    newest: Int64s

    @classmethod
    def of_panes(cls, panes: Sequence[SuccessorCounts], lengths: Sequence[int]) -> PaneSpans:
        """Sum panes up. `O(t log p)` for t entries of p panes.

        Parameters
        ----------
        panes : the run's last panes, the newest last; those beyond ``max(lengths) + 1`` are not looked at
        lengths : ascending

        Examples
        --------
        >>> one = SuccessorCounts.from_triples(np.array([1 << 32 | 2 << 16 | 3]), np.array([5]))
        >>> spans = PaneSpans.of_panes([one, one], lengths=[1, 4])
        >>> spans.now.tolist(), spans.before.tolist(), spans.n_panes.tolist()
        ([[5, 10]], [[5, 5]], [1, 2])
        """
        newest_first = [_entries(pane) for pane in reversed(panes)][: max(lengths) + 1]
        # Between two neighbouring edges the panes are in the same spans, so they are added up only once.
        edges = sorted({0, 1, *lengths, *(length + 1 for length in lengths)})
        segments = [_merged(newest_first[a:b]) for a, b in pairwise(edges)]
        keys = _union([segment[0] for segment in segments])
        columns = np.zeros((len(edges), keys.shape[0]), np.int64)
        for column, (own, counts) in zip(columns[1:], segments, strict=True):
            column[np.searchsorted(keys, own)] = counts
        upto = np.cumsum(columns, axis=0)  # row i: the newest edges[i] panes
        now = upto[[edges.index(length) for length in lengths]]
        before = upto[[edges.index(length + 1) for length in lengths]] - upto[1]
        return cls(
            lengths=np.array(lengths, np.int64),
            n_panes=np.minimum(np.array(lengths, np.int64), len(newest_first)),
            keys=keys,
            now=np.ascontiguousarray(now.T),
            before=np.ascontiguousarray(before.T),
            newest=upto[1].copy(),
        )

    def by_group(self, groups: Int64s) -> PaneSpans:
        """Sum up over coarser groups.

        Parameters
        ----------
        groups : int64[t]     the new group of each key
        """
        keys = groups << 16 | (self.keys & 0xFFFF)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if keys.size else np.zeros(0, np.int64)
        return PaneSpans(
            self.lengths,
            self.n_panes,
            keys[starts],
            *(_sums(counts[order], starts) for counts in (self.now, self.before, self.newest)),
        )

    @property
    def groups(self) -> Int64s:
        """Group of each key: int64[t]."""
        return self.keys >> 16

    @property
    def clusters(self) -> NDArray[np.int32]:
        """Cluster of each key: int32[t]."""
        return (self.keys & 0xFFFF).astype(np.int32)


def _sums(counts: Int64s, starts: Int64s) -> Int64s:
    if not starts.size:
        return counts[:0]
    return np.asarray(np.add.reduceat(counts, starts, axis=0), np.int64)


def _entries(pane: SuccessorCounts) -> tuple[Int64s, Int64s]:
    row = np.repeat(pane.pairs, np.diff(pane.offsets))
    return row << 16 | pane.successors, pane.counts


def _merged(parts: list[tuple[Int64s, Int64s]]) -> tuple[Int64s, Int64s]:
    """Add entries up, two by two, so that none is moved more than log p times."""
    while len(parts) > 1:
        pairs = list(zip(parts[::2], parts[1::2], strict=False))
        parts = [_added(*pair) for pair in pairs] + parts[2 * len(pairs) :]
    return parts[0] if parts else (np.zeros(0, np.int64), np.zeros(0, np.int64))


def _added(one: tuple[Int64s, Int64s], other: tuple[Int64s, Int64s]) -> tuple[Int64s, Int64s]:
    keys = np.empty(one[0].shape[0] + other[0].shape[0], np.int64)
    counts = np.empty_like(keys)
    n = merge_counts(*one, *other, keys, counts)
    return keys[:n], counts[:n]


def _union(all_keys: list[Int64s]) -> Int64s:
    return _merged([(keys, np.zeros_like(keys)) for keys in all_keys])[0]
