"""What a window's counts say about each pair, with thin pairs shrunk toward their backoff.

A pair is typically seen once or twice in a window, so its own shares are mostly noise. Its evidence is therefore the
posterior mean under a Dirichlet prior whose centre is its backoff, the row of ``c2`` alone::

    p(c | c1, c2) = (n(c1, c2, c) + m p(c | c2)) / (n(c1, c2) + m)

and the row of ``c2`` is shrunk toward the share of ``c`` in the whole window in the same way. How much to shrink,
``m``, is learned from the window (empirical Bayes): it maximises the Dirichlet-multinomial likelihood of the pairs'
counts, each pair's prior centred on its backoff *without the pair itself*.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaln

from tidegate.counts import SuccessorCounts, pack_pairs, unpack_pairs
from tidegate.hashing import mix64_array

# Ranks of the backoff that compete with a pair's own successors: deeper ones never win with a sensible m.
_BACKOFF_DEPTH = 8
# Entries that the concentration is fitted on: the likelihood is a sum over pairs, and a sample of them says enough.
_FIT_ENTRIES = 50_000
_LOG_CONCENTRATION_BOUNDS = (-2.0, 9.0)


@dataclass(frozen=True, slots=True)
class Ranked:
    """Best successors of some rows.

    Attributes
    ----------
    clusters : int32[n, k]     descending by share, -1 where there are fewer
    shares : float64[n, k]     posterior mean, 0 where there is none
    """

    clusters: NDArray[np.int32]
    shares: NDArray[np.float64]

    def __getitem__(self, rows: NDArray[np.int64] | NDArray[np.int32] | NDArray[np.bool_] | slice) -> Ranked:
        """Return some of the rows."""
        return Ranked(self.clusters[rows], self.shares[rows])


class Evidence:
    """Shrunk successor shares of one window.

    Parameters
    ----------
    counts : SuccessorCounts
        Transitions of the window by pair.
    seeds : uint64[C]
        `tidegate.hashing.cluster_seeds`: ties take the smallest seeded hash of (pair, cluster).
    concentration : float, optional
        ``m``; learned from the counts where it is not given.
    """

    def __init__(self, counts: SuccessorCounts, seeds: NDArray[np.uint64], concentration: float | None = None) -> None:
        self.counts = counts
        self._totals = counts.totals
        self._seeds = seeds
        self._n_clusters = seeds.shape[0]
        _, c2 = unpack_pairs(counts.pairs)
        self._row_of_entry = np.repeat(np.arange(counts.pairs.shape[0]), np.diff(counts.offsets))
        self._own_keys = counts.pairs[self._row_of_entry] << 16 | counts.successors
        self._c2_of_entry = c2[self._row_of_entry].astype(np.int64)
        self._backoff_keys, self._backoff_counts = _sum_by_key(
            pack_pairs(self._c2_of_entry, counts.successors), counts.counts
        )
        self._totals_of_c2 = np.bincount(c2, self._totals, self._n_clusters)
        successors = (self._backoff_keys & 0xFFFF).astype(np.int64)
        totals = np.bincount(successors, self._backoff_counts, self._n_clusters)
        self._popularity = (totals + 0.5) / (totals.sum() + 0.5 * max(1, self._n_clusters))
        self.backoff_concentration = self._fit_backoff()
        self.concentration = self._fit_pairs() if concentration is None else concentration
        self._top_of_c2 = self._rank_backoff(_BACKOFF_DEPTH)

    def backoff(self, depth: int) -> Ranked:
        """Rank the successors of every ``c2`` that the window has seen: ``Ranked`` over [C, depth]."""
        return Ranked(self._top_of_c2.clusters[:, :depth], self._top_of_c2.shares[:, :depth])

    def backoff_share(self, c2: NDArray[np.int32], clusters: NDArray[np.int32]) -> NDArray[np.float64]:
        """Posterior mean of one cluster a row of `c2`: float64[n]; 0 for cluster -1."""
        known = np.maximum(clusters, 0)
        own = _value_of(self._backoff_keys, self._backoff_counts, pack_pairs(c2, known))
        m = self.backoff_concentration
        shares = (own + m * self._popularity[known]) / (self._totals_of_c2[c2] + m)
        return np.where(clusters >= 0, shares, 0.0).astype(np.float64)

    def totals_of_c2(self) -> NDArray[np.int64]:
        """Transitions of the window by `c2`: int64[C]."""
        return self._totals_of_c2.astype(np.int64)

    def totals(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Transitions of `pairs` in the window (0 where unseen): int64[n]."""
        return _value_of(self.counts.pairs, self._totals, pairs).astype(np.int64)

    def share(self, pairs: NDArray[np.int64], clusters: NDArray[np.int32]) -> NDArray[np.float64]:
        """Posterior mean of one cluster a pair: float64[n]; 0 for cluster -1.

        Parameters
        ----------
        pairs : int64[n]
        clusters : int32[n]
        """
        _, c2 = unpack_pairs(pairs)
        own = _value_of(self._own_keys, self.counts.counts, pairs << 16 | np.maximum(clusters, 0))
        prior = self.backoff_share(c2, clusters)
        shares = (own + self.concentration * prior) / (self.totals(pairs) + self.concentration)
        return np.where(clusters >= 0, shares, 0.0).astype(np.float64)

    def rank(self, pairs: NDArray[np.int64], depth: int) -> Ranked:
        """Rank the successors of `pairs` by posterior mean, never c1 or c2. `O(t log t)`.

        Parameters
        ----------
        pairs : int64[n]     need not be in the window: an unseen pair gets its backoff's ranking
        """
        row, cluster = self._candidates(pairs)
        share = self.share(pairs[row], cluster)
        return _top(row, cluster, share, self._tie_hash(pairs[row], cluster), pairs.shape[0], depth)

    def plain_rank(self, depth: int) -> Ranked:
        """Rank every pair of the window by plain counts: the paper's retrieval, over [p, depth]."""
        counts = self.counts
        row = self._row_of_entry
        share = counts.counts / self._totals[row]
        ties = self._tie_hash(counts.pairs[row], counts.successors)
        return _top(row, counts.successors, share, ties, counts.pairs.shape[0], depth)

    def _candidates(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Clusters that may win: a pair's own successors and the best of its backoff, as (row, cluster) entries."""
        at, found = _locate(self.counts.pairs, pairs)
        starts = self.counts.offsets[at[found]]
        lengths = self.counts.offsets[at[found] + 1] - starts
        own_row = np.repeat(np.flatnonzero(found), lengths)
        firsts = np.cumsum(lengths) - lengths
        own_cell = np.arange(int(lengths.sum())) + np.repeat(starts - firsts, lengths)
        c1, c2 = unpack_pairs(pairs)
        backoff = self._top_of_c2.clusters[c2]
        row = np.concatenate([own_row, np.repeat(np.arange(pairs.shape[0]), backoff.shape[1])])
        cluster = np.concatenate([self.counts.successors[own_cell], backoff.ravel()])
        keep = (cluster >= 0) & (cluster != c1[row]) & (cluster != c2[row])
        entries = np.unique(row[keep] << 16 | cluster[keep])
        return entries >> 16, (entries & 0xFFFF).astype(np.int32)

    def _rank_backoff(self, depth: int) -> Ranked:
        c2 = self._backoff_keys >> 16
        cluster = (self._backoff_keys & 0xFFFF).astype(np.int32)
        keep = cluster != c2
        share = self.backoff_share(c2[keep].astype(np.int32), cluster[keep])
        ties = self._tie_hash(c2[keep], cluster[keep])
        return _top(c2[keep], cluster[keep], share, ties, self._n_clusters, depth)

    def _tie_hash(self, row_keys: NDArray[np.int64], clusters: NDArray[np.int32]) -> NDArray[np.uint64]:
        """Hash (row, cluster) through the clusters' name seeds, so that ids do not matter."""
        first, second = row_keys >> 16, row_keys & 0xFFFF
        of_row = mix64_array(self._seeds[first]) ^ self._seeds[second]
        return mix64_array(mix64_array(of_row) ^ self._seeds[clusters])

    def _fit_backoff(self) -> float:
        c2 = self._backoff_keys >> 16
        successors = (self._backoff_keys & 0xFFFF).astype(np.int64)
        return _fit_concentration(c2, self._backoff_counts, self._popularity[successors])

    def _fit_pairs(self) -> float:
        counts = self.counts
        row = self._row_of_entry
        of_backoff = _value_of(
            self._backoff_keys, self._backoff_counts, pack_pairs(self._c2_of_entry, counts.successors)
        )
        # Without the pair itself: else a backoff that is mostly this pair would explain it too well.
        others = of_backoff - counts.counts
        n_others = self._totals_of_c2[self._c2_of_entry] - self._totals[row]
        m = self.backoff_concentration
        prior = (others + m * self._popularity[counts.successors]) / (n_others + m)
        return _fit_concentration(row, counts.counts, prior)


def _fit_concentration(group: NDArray[np.int64], counts: NDArray[np.int64], prior: NDArray[np.float64]) -> float:
    """Maximise the Dirichlet-multinomial likelihood of grouped counts over the prior's weight ``m``.

    Parameters
    ----------
    group : int64[t]        ascending
    counts : int64[t]
    prior : float64[t]      prior share of each entry, above 0
    """
    totals = np.bincount(group, counts) if group.size else np.zeros(0)
    # A group seen once says nothing about how alike its transitions are.
    informative = totals[group] >= 2 if group.size else np.zeros(0, np.bool_)
    chosen = np.flatnonzero(informative)
    if not chosen.size:
        return 10.0
    if chosen.size > _FIT_ENTRIES:
        last_group = group[chosen[_FIT_ENTRIES]]
        chosen = chosen[group[chosen] < last_group] if last_group > group[chosen[0]] else chosen[:_FIT_ENTRIES]
    n, p = counts[chosen].astype(np.float64), prior[chosen]
    n_group = totals[np.unique(group[chosen])]

    def negative_log_likelihood(log_m: float) -> float:
        m = float(np.exp(log_m))
        entries = gammaln(n + m * p) - gammaln(m * p)
        groups = gammaln(m) - gammaln(n_group + m)
        return -float(entries.sum() + groups.sum())

    fit = minimize_scalar(negative_log_likelihood, bounds=_LOG_CONCENTRATION_BOUNDS, method="bounded")
    return float(np.exp(fit.x))


def _sum_by_key(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distinct, inverse = np.unique(keys, return_inverse=True)
    return distinct, np.bincount(inverse, counts, distinct.shape[0]).astype(np.int64)


def _locate(sorted_keys: NDArray[np.int64], keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Index of each key in `sorted_keys`, and whether it is there (the index is a valid one in any case)."""
    if not sorted_keys.size:
        return np.zeros(keys.shape[0], np.int64), np.zeros(keys.shape[0], np.bool_)
    at = np.minimum(np.searchsorted(sorted_keys, keys), sorted_keys.shape[0] - 1)
    return at, sorted_keys[at] == keys


def _value_of(
    sorted_keys: NDArray[np.int64], values: NDArray[np.int64], keys: NDArray[np.int64]
) -> NDArray[np.float64]:
    at, found = _locate(sorted_keys, keys)
    found_values: NDArray[np.float64] = np.where(found, values[at] if values.size else 0, 0).astype(np.float64)
    return found_values


def _top(
    row: NDArray[np.int64],
    cluster: NDArray[np.int32],
    share: NDArray[np.float64],
    tie_hash: NDArray[np.uint64],
    n_rows: int,
    depth: int,
) -> Ranked:
    """Take the `depth` largest shares of each row; ties take the smallest hash."""
    order = np.lexsort((tie_hash, -share, row))
    row, cluster, share = row[order], cluster[order], share[order]
    first_of_row = np.searchsorted(row, np.arange(n_rows))
    rank = np.arange(row.shape[0]) - first_of_row[row] if row.size else np.zeros(0, np.int64)
    keep = rank < depth
    clusters = np.full((n_rows, depth), -1, np.int32)
    shares = np.zeros((n_rows, depth))
    clusters[row[keep], rank[keep]] = cluster[keep]
    shares[row[keep], rank[keep]] = share[keep]
    return Ranked(clusters, shares)
