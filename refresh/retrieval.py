"""Ways to retrieve a line: of the pair, of ``c2`` or of everybody; what is frequent, or what has grown.

One implementation for refreshes and for the study that compares the ways. By default a refresh retrieves what the
evidence ranks highest for the pair: its own successors by frequency, shrunk toward its backoff (`refresh.evidence`).
The other ways look at plain counts of the window, and take the line of a pair that was seen too seldom from ``c2``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence, Ranked
from refresh.evidence.level import locate, offsets_of
from refresh.evidence.ranking import rank_rows
from tidegate.counts import SuccessorCounts, unpack_pairs

Int64s = NDArray[np.int64]


class Level(StrEnum):
    """Whose successors are looked at."""

    INSTANCE = "instance"  # the pair's own
    C2 = "c2"  # those of its second cluster, whatever came before
    GLOBAL = "global"  # everybody's


class Kind(StrEnum):
    """What makes a successor worth retrieving."""

    FREQUENCY = "frequency"  # its share in the window
    TREND = "trend"  # its share in the window less its share in the window before


@dataclass(frozen=True, slots=True)
class _Shares:
    """Shares of successors by group: int64[t] ``group << 16 | cluster``, ascending, and float64[t]."""

    keys: Int64s
    shares: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Seen:
    """What lines are retrieved from.

    Attributes
    ----------
    evidence : Evidence
    window, before : SuccessorCounts     adjacent windows; `before` is looked at for trends only
    seeds : uint64[C]                    ties take the smallest seeded hash of (row, cluster)
    """

    evidence: Evidence
    window: SuccessorCounts
    before: SuccessorCounts
    seeds: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How the lines of a refresh are retrieved.

    Attributes
    ----------
    level : Level
    kind : Kind
    n_retrieved : int     clusters of a line that prompts name
    min_support : int     transitions in the window below which a pair's line is that of ``c2``; the default way shrinks
                          thin pairs instead
    """

    level: Level = Level.INSTANCE
    kind: Kind = Kind.FREQUENCY
    n_retrieved: int = 1
    min_support: int = 5

    @property
    def is_shrunk(self) -> bool:
        """Whether lines are the evidence's own: the default way."""
        return self.level is Level.INSTANCE and self.kind is Kind.FREQUENCY

    def of_pairs(self, seen: Seen, pairs: Int64s, depth: int) -> Ranked:
        """Retrieve for each of `pairs` (int64[n]): ``Ranked`` over [n, depth], shares from 0 on."""
        if self.is_shrunk:
            return seen.evidence.rank(pairs, depth)
        ranked = retrieve(self.level, self.kind, seen.window, seen.before, pairs, seen.seeds, depth)
        if self.level is Level.INSTANCE:
            is_thin = _support(seen.window, pairs) < self.min_support
            of_c2 = retrieve(Level.C2, self.kind, seen.window, seen.before, pairs[is_thin], seen.seeds, depth)
            ranked.clusters[is_thin], ranked.shares[is_thin] = of_c2.clusters, of_c2.shares
        return Ranked(ranked.clusters, np.maximum(ranked.shares, 0.0))

    def of_c2(self, seen: Seen, c2: NDArray[np.int32], depth: int) -> Ranked:
        """Retrieve for rows of ``c2`` alone (int32[k]): ``Ranked`` over [k, depth], shares from 0 on."""
        if self.is_shrunk:
            known = seen.evidence.backoff(depth)[c2]  # goes only so deep
            ranked = Ranked.nothing(c2.shape[0], depth)
            n_ranks = known.clusters.shape[1]
            ranked.clusters[:, :n_ranks], ranked.shares[:, :n_ranks] = known.clusters, known.shares
            return ranked
        level = Level.C2 if self.level is Level.INSTANCE else self.level
        groups = c2.astype(np.int64) if level is Level.C2 else np.zeros(c2.shape[0], np.int64)
        rows = (np.full(c2.shape[0], -1, np.int32), c2)
        ranked = _retrieve(level, self.kind, seen.window, seen.before, groups, rows, seen.seeds, depth)
        return Ranked(ranked.clusters, np.maximum(ranked.shares, 0.0))


def retrieve(
    level: Level,
    kind: Kind,
    window: SuccessorCounts,
    before: SuccessorCounts,
    pairs: Int64s,
    seeds: NDArray[np.uint64],
    depth: int,
) -> Ranked:
    """Retrieve for each of `pairs` (int64[n]) the best clusters, never c1 or c2: ``Ranked`` over [n, depth].

    A group that the window before does not know had no share there: what is new in it has grown by all that it has.
    `O(t log t + n k)`.

    Parameters
    ----------
    window, before : SuccessorCounts     adjacent windows; `before` is looked at for trends only
    seeds : uint64[C]                    ties take the smallest seeded hash of (pair, cluster)
    """
    return _retrieve(level, kind, window, before, _group_of(pairs, level), unpack_pairs(pairs), seeds, depth)


def _retrieve(
    level: Level,
    kind: Kind,
    window: SuccessorCounts,
    before: SuccessorCounts,
    group_of_row: Int64s,
    rows: tuple[NDArray[np.int32], NDArray[np.int32]],
    seeds: NDArray[np.uint64],
    depth: int,
) -> Ranked:
    now = _shares(window, level)
    values = now.shares
    if kind is Kind.TREND:
        past = _shares(before, level)
        at, was_there = locate(past.keys, now.keys)
        values = values - np.where(was_there, past.shares[at] if past.keys.size else 0.0, 0.0)
    groups, offsets = offsets_of(now.keys >> 16)
    at, is_known = locate(groups, group_of_row)
    ranked, none = Ranked.nothing(group_of_row.shape[0], depth), Ranked.nothing(1, 1)
    rank_rows(
        *rows,
        np.where(is_known, at, -1),
        offsets,
        (now.keys & 0xFFFF).astype(np.int32),
        values,
        np.ones(groups.shape[0]),
        np.zeros(group_of_row.shape[0], np.int32),
        none.clusters,
        none.shares,
        seeds,
        ranked.clusters,
        ranked.shares,
    )
    return ranked


def _support(window: SuccessorCounts, pairs: Int64s) -> Int64s:
    """Transitions of each pair in the window: int64[n]."""
    at, is_known = locate(window.pairs, pairs)
    return np.where(is_known, window.totals[at] if window.pairs.size else 0, 0)


def _group_of(pairs: Int64s, level: Level) -> Int64s:
    if level is Level.INSTANCE:
        return pairs
    return pairs & 0xFFFF if level is Level.C2 else pairs * 0


def _shares(counts: SuccessorCounts, level: Level) -> _Shares:
    of_entry = np.repeat(_group_of(counts.pairs, level), np.diff(counts.offsets))
    keys, inverse = np.unique(of_entry << 16 | counts.successors, return_inverse=True)
    totals = np.bincount(inverse, counts.counts, keys.shape[0])
    _, offsets = offsets_of(keys >> 16)
    sizes = np.diff(offsets)
    of_group = np.add.reduceat(totals, offsets[:-1]) if keys.size else np.zeros(0)
    return _Shares(keys, totals / np.repeat(of_group, sizes))
