"""Ways to retrieve a line: of the pair, of ``c2`` or of everybody; what is frequent, or what has grown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Ranked
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
    now = _shares(window, level)
    values = now.shares
    if kind is Kind.TREND:
        past = _shares(before, level)
        at, was_there = locate(past.keys, now.keys)
        values = values - np.where(was_there, past.shares[at] if past.keys.size else 0.0, 0.0)
    groups, offsets = offsets_of(now.keys >> 16)
    at, is_known = locate(groups, _group_of(pairs, level))
    ranked, none = Ranked.nothing(pairs.shape[0], depth), Ranked.nothing(1, 1)
    rank_rows(
        *unpack_pairs(pairs),
        np.where(is_known, at, -1),
        offsets,
        (now.keys & 0xFFFF).astype(np.int32),
        values,
        np.ones(groups.shape[0]),
        np.zeros(pairs.shape[0], np.int32),
        none.clusters,
        none.shares,
        seeds,
        ranked.clusters,
        ranked.shares,
    )
    return ranked


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
