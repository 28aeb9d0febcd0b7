"""Shrunk successor shares: a pair toward its backoff, the row of ``c2``, and that toward what is popular.

A pair is typically seen once or twice in a window, so its own shares are mostly noise; and how much of the past
still holds differs from log to log. `refresh.evidence.level` has the estimator, `refresh.evidence.memory` how its
two parameters, the strength of the prior and the length of the past, are learned from the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from refresh.evidence.fit import fit_strength
from refresh.evidence.level import Level, locate, offsets_of, score_grid
from refresh.evidence.memory import STRENGTHS, Losses, Memory, choose, faded, length_prior
from refresh.evidence.ranking import Ranked, rank_rows
from refresh.evidence.spans import PaneSpans
from tidegate.counts import SuccessorCounts, unpack_pairs

# Ranks of the backoff that compete with a pair's own successors: deeper ones never win with a sensible strength.
_BACKOFF_DEPTH = 8
_HALF_LIFE_WINDOWS = 2.0  # of what is remembered of earlier panes' losses


@dataclass(frozen=True, slots=True)
class Setting:
    """How a level looks at the past: the length it trusts most (an index), and what its prior weighs."""

    length: int
    strength: float


class Evidence:
    """What all panes up to now say of the next one.

    Parameters
    ----------
    spans : PaneSpans
        By pair.
    seeds : uint64[C]
        `tidegate.hashing.cluster_seeds`: ties take the smallest seeded hash of (row, cluster).
    memory : Memory
        What was learned up to the pane before; `learned` is what to remember next.
    window_panes : int

    Examples
    --------
    >>> counts = SuccessorCounts.from_triples(np.array([1 << 16 | 2 << 0]), np.array([9]))
    >>> evidence = Evidence.of_counts(counts, np.arange(4, dtype=np.uint64))
    >>> evidence.rank(np.array([0 << 16 | 1]), 1).clusters.tolist()
    [[2]]
    """

    def __init__(
        self, spans: PaneSpans, seeds: NDArray[np.uint64], memory: Memory | None = None, window_panes: int = 1
    ) -> None:
        self.spans, self._seeds, self._n_clusters = spans, seeds, seeds.shape[0]
        self._memory, self._half_life_panes = memory or Memory(), _HALF_LIFE_WINDOWS * window_panes
        self.window_index = int(np.searchsorted(spans.lengths, window_panes))

    @classmethod
    def of_counts(cls, counts: SuccessorCounts, seeds: NDArray[np.uint64]) -> Evidence:
        """Take counts as the only pane there is."""
        return cls(PaneSpans.of_panes([counts], [1]), seeds)

    @cached_property
    def learned(self) -> Memory:
        """What is known of lengths and strengths once the newest pane was foretold."""
        memory, spans, of_clusters = self._memory, self.spans, self._spans_of_clusters
        popularity_before = self._popularity_at(memory.popularity, of_clusters.before)
        clusters_before = self._backoff_before(memory.clusters, popularity_before)
        return Memory(
            popularity=self._fade(memory.popularity, self._score_popularity()),
            clusters=self._fade(memory.clusters, _scored(of_clusters, popularity_before[of_clusters.clusters])),
            pairs=self._fade(memory.pairs, _scored(spans, clusters_before)),
        )

    @cached_property
    def popularity(self) -> NDArray[np.float64]:
        """Share of each cluster among all successors, add-half smoothed: float64[C]."""
        return self._popularity_at(self.learned.popularity, self._spans_of_clusters.now)

    @cached_property
    def cluster_setting(self) -> Setting:
        """How rows of ``c2`` look at the past."""
        spans = self._spans_of_clusters
        return self._setting(self.learned.clusters, spans, self.popularity[spans.clusters])

    @cached_property
    def pair_setting(self) -> Setting:
        """How rows of pairs look at the past."""
        return self._setting(self.learned.pairs, self.spans, self._backoff_of_entries)

    @cached_property
    def clusters(self) -> Level:
        """Shares by ``c2`` alone."""
        spans, setting = self._spans_of_clusters, self.cluster_setting
        prior = length_prior(setting.length, spans.lengths.shape[0])
        return Level.of_spans(spans, self.popularity[spans.clusters], setting.strength, prior)

    @cached_property
    def pairs(self) -> Level:
        """Shares by pair."""
        setting = self.pair_setting
        prior = length_prior(setting.length, self.spans.lengths.shape[0])
        return Level.of_spans(self.spans, self._backoff_of_entries, setting.strength, prior)

    def backoff(self, depth: int) -> Ranked:
        """Rank the successors of every ``c2``: ``Ranked`` over [C, depth], 8 ranks at most."""
        return Ranked(self._top_of_clusters.clusters[:, :depth], self._top_of_clusters.shares[:, :depth])

    def backoff_share(self, c2: NDArray[np.int32], clusters: NDArray[np.int32]) -> NDArray[np.float64]:
        """Posterior mean of one cluster a row of `c2`: float64[n]; 0 for cluster -1."""
        known = np.maximum(clusters, 0)
        shares = self.clusters.share_of(c2.astype(np.int64), known, self.popularity[known])
        return np.where(clusters >= 0, shares, 0.0)

    def share(self, pairs: NDArray[np.int64], clusters: NDArray[np.int32]) -> NDArray[np.float64]:
        """Posterior mean of one cluster a pair: float64[n]; 0 for cluster -1.

        Parameters
        ----------
        pairs : int64[n]
        clusters : int32[n]
        """
        _, c2 = unpack_pairs(pairs)
        known = np.maximum(clusters, 0)
        shares = self.pairs.share_of(pairs, known, self.backoff_share(c2, known))
        return np.where(clusters >= 0, shares, 0.0)

    def rank(self, pairs: NDArray[np.int64], depth: int) -> Ranked:
        """Rank the successors of `pairs` by posterior mean, never c1 or c2. `O(t)`.

        Parameters
        ----------
        pairs : int64[n]     a pair that was never seen gets its backoff's ranking
        """
        c1, c2 = unpack_pairs(pairs)
        return self._ranked(self.pairs, pairs, (c1, c2), c2, self._top_of_clusters, depth)

    def traffic(self, pairs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Transitions a pane to expect of each pair: float64[n], 0 where none was seen."""
        groups, per_pane = self._traffic
        at, is_known = locate(groups, pairs)
        return np.where(is_known, per_pane[at] if groups.size else 0.0, 0.0)

    @cached_property
    def seen_pairs(self) -> NDArray[np.int64]:
        """Pairs with a transition in the longest span, ascending: int64[g]."""
        return offsets_of(self.spans.groups)[0]

    @cached_property
    def _traffic(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        groups, offsets = offsets_of(self.spans.groups)
        if not groups.size:
            return groups, np.zeros(0)
        # Of one window: long enough to see who comes, short enough for traffic that grows.
        per_window = np.add.reduceat(self.spans.now[:, self.window_index], offsets[:-1])
        return groups, per_window / self.spans.n_panes[self.window_index]

    @cached_property
    def _spans_of_clusters(self) -> PaneSpans:
        """The same transitions by ``c2`` alone."""
        return self.spans.by_group(self.spans.groups & 0xFFFF)

    @cached_property
    def _backoff_of_entries(self) -> NDArray[np.float64]:
        """Backoff share of each entry of a pair: float64[t]."""
        spans = self.spans
        return self.backoff_share((spans.groups & 0xFFFF).astype(np.int32), spans.clusters)

    @cached_property
    def _top_of_clusters(self) -> Ranked:
        c2 = np.arange(self._n_clusters, dtype=np.int32)
        order = np.lexsort((self._seeds, -self.popularity))[: _BACKOFF_DEPTH + 1].astype(np.int32)
        popular = Ranked(order[None, :], self.popularity[order][None, :])
        none = np.full(self._n_clusters, -1, np.int32)
        return self._ranked(self.clusters, c2.astype(np.int64), (none, c2), none * 0, popular, _BACKOFF_DEPTH)

    def _ranked(
        self,
        level: Level,
        groups: NDArray[np.int64],
        context: tuple[NDArray[np.int32], NDArray[np.int32]],
        parent_of_row: NDArray[np.int32],
        parent: Ranked,
        depth: int,
    ) -> Ranked:
        at, is_known = locate(level.groups, groups)
        out = Ranked.nothing(groups.shape[0], depth)
        rank_rows(
            *context,
            np.where(is_known, at, -1),
            level.offsets,
            (level.keys & 0xFFFF).astype(np.int32),
            level.share,
            level.rest,
            parent_of_row,
            parent.clusters,
            parent.shares,
            self._seeds,
            out.clusters,
            out.shares,
        )
        return out

    def _fade(self, losses: Losses, fresh: NDArray[np.float64]) -> Losses:
        return faded(losses, fresh, self._half_life_panes)

    def _setting(self, losses: Losses, spans: PaneSpans, parent: NDArray[np.float64]) -> Setting:
        chosen = choose(losses)
        if chosen is not None:
            return Setting(*chosen)
        offsets = offsets_of(spans.groups)[1]
        return Setting(self.window_index, fit_strength(offsets, spans.now[:, self.window_index], parent))

    def _popularity_at(self, losses: Losses, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        chosen = choose(losses)
        length = chosen[0] if chosen else self.window_index
        totals = np.bincount(self._spans_of_clusters.clusters, counts[:, length], self._n_clusters)
        return np.asarray((totals + 0.5) / (totals.sum() + 0.5 * max(1, self._n_clusters)), np.float64)

    def _score_popularity(self) -> NDArray[np.float64]:
        """Bits by which the popularity of each length fails to foretell the newest pane: float64[k, 1]."""
        spans, n = self._spans_of_clusters, self._n_clusters
        fresh = np.bincount(spans.clusters, spans.newest, n)
        losses = np.zeros((spans.lengths.shape[0], 1))
        if not spans.before.any():
            return losses
        for length in range(losses.shape[0]):
            totals = np.bincount(spans.clusters, spans.before[:, length], n)
            losses[length, 0] = -(fresh * np.log2((totals + 0.5) / (totals.sum() + 0.5 * n))).sum()
        return losses

    def _backoff_before(self, losses: Losses, popularity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Backoff share of each entry of a pair as it was before the newest pane: float64[t]."""
        spans, setting = self._spans_of_clusters, choose(losses) or (self.window_index, 10.0)
        groups, offsets = offsets_of(spans.groups)
        counts = spans.before[:, setting[0]]
        totals = np.add.reduceat(counts, offsets[:-1]) if groups.size else np.zeros(0)
        of_entry = np.repeat(totals, np.diff(offsets))
        m = setting[1]
        shares = (counts + m * popularity[spans.clusters]) / (of_entry + m)
        c2 = self.spans.groups & 0xFFFF
        at, _ = locate(spans.keys, c2 << 16 | (self.spans.keys & 0xFFFF))
        return np.asarray(shares[at], np.float64)


def _scored(spans: PaneSpans, parent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses of a level on the newest pane: float64[k, s]; zeros where nothing came before it."""
    if not spans.before.any():
        return np.zeros((spans.lengths.shape[0], STRENGTHS.shape[0]))
    _, offsets = offsets_of(spans.groups)
    return score_grid(offsets, spans.before, spans.newest, parent, STRENGTHS)[0]
