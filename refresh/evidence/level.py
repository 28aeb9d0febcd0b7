"""One level of the evidence: groups (pairs, or single clusters) whose shares are shrunk toward a parent's.

A group's share of a cluster is a posterior mean under a Dirichlet prior that is centred on the parent and weighs
``m`` transitions. Each length of the past gives one; a group's share is their mean, weighted by how well each had
foretold the group's newest pane::

    p(c | group) = sum_j w_j (n_j(c) + m parent(c)) / (n_j + m)        w_j ~ prior_j x exp(-loss_j)

so a pair that drifts forgets its past within a pane, while its stable neighbours keep theirs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.evidence.spans import PaneSpans
from tidegate.jit import kernel

Floats = NDArray[np.float64]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]


@kernel
def score_grid(
    offsets: Int64s, before: Int64s, newest: Int64s, parent: Floats, strengths: Floats
) -> tuple[Floats, Floats]:
    """Bits by which each length and strength fails to foretell the newest pane. `O(t k s)`.

    Parameters
    ----------
    offsets : int64[g + 1]      entries of each group
    before : int64[t, k]
    newest : int64[t]
    parent : float64[t]         the parent's share of each entry before the newest pane, above 0
    strengths : float64[s]      candidates for ``m``

    Returns
    -------
    float64[k, s], float64[]    summed loss, and the transitions it is summed over
    """
    n_lengths, n_strengths = before.shape[1], strengths.shape[0]
    losses = np.zeros((n_lengths, n_strengths))
    n_scored = 0.0
    totals = np.empty(n_lengths)
    for group in range(offsets.shape[0] - 1):
        start, end = offsets[group], offsets[group + 1]
        totals[:] = 0.0
        n_new = 0
        for e in range(start, end):
            n_new += newest[e]
            for j in range(n_lengths):
                totals[j] += before[e, j]
        if n_new == 0:
            continue
        n_scored += n_new
        for e in range(start, end):
            if newest[e] == 0:
                continue
            for j in range(n_lengths):
                for s in range(n_strengths):
                    m = strengths[s]
                    losses[j, s] -= newest[e] * np.log2((before[e, j] + m * parent[e]) / (totals[j] + m))
    return losses, np.array(n_scored)


@kernel
def posterior(
    offsets: Int64s,
    now: Int64s,
    before: Int64s,
    newest: Int64s,
    parent: Floats,
    strength: float,
    prior: Floats,
    lengths: Int64s,
    share: Floats,
    rest: Floats,
    mass: Floats,
    reach: Floats,
) -> None:
    """Fill the groups' posterior. `O(t k)`.

    Parameters
    ----------
    offsets : int64[g + 1]
    now, before : int64[t, k]
    newest : int64[t]
    parent : float64[t]         the parent's share of each entry
    strength : float            ``m``
    prior : float64[k]          weight of each length before anything is known of a group
    lengths : int64[k]          panes
    share : float64[t]          receives the share of each entry
    rest : float64[g]           receives what the parent's share is multiplied by for clusters without an entry
    mass : float64[g]           receives the transitions that the share rests on
    reach : float64[g]          receives the panes of the past that speak for the group, on average
    """
    n_lengths = now.shape[1]
    totals, totals_before, loss = np.empty(n_lengths), np.empty(n_lengths), np.empty(n_lengths)
    for group in range(offsets.shape[0] - 1):
        start, end = offsets[group], offsets[group + 1]
        totals[:] = 0.0
        totals_before[:] = 0.0
        loss[:] = 0.0
        for e in range(start, end):
            for j in range(n_lengths):
                totals[j] += now[e, j]
                totals_before[j] += before[e, j]
        for e in range(start, end):
            if newest[e] > 0:
                for j in range(n_lengths):
                    foretold = (before[e, j] + strength * parent[e]) / (totals_before[j] + strength)
                    loss[j] -= newest[e] * np.log(foretold)
        least = loss.min()
        weight_sum = 0.0
        for j in range(n_lengths):
            loss[j] = prior[j] * np.exp(least - loss[j])  # from here on a weight
            weight_sum += loss[j]
        rest[group] = mass[group] = reach[group] = 0.0
        for j in range(n_lengths):
            loss[j] /= weight_sum
            rest[group] += loss[j] * strength / (totals[j] + strength)
            mass[group] += loss[j] * totals[j]
            reach[group] += loss[j] * lengths[j]
        for e in range(start, end):
            share[e] = 0.0
            for j in range(n_lengths):
                share[e] += loss[j] * (now[e, j] + strength * parent[e]) / (totals[j] + strength)


@dataclass(frozen=True, slots=True)
class Level:
    """Posterior of a level's groups.

    Attributes
    ----------
    groups : int64[g]        strictly ascending
    offsets : int64[g + 1]   entries of each group
    keys : int64[t]          ``group << 16 | cluster``, strictly ascending
    share : float64[t]
    rest : float64[g]        of the parent's share, where the group has no entry for a cluster
    mass : float64[g]        transitions that the shares rest on
    reach : float64[g]       panes of the past that speak for the group: so long it may be expected to stay as it is
    """

    groups: Int64s
    offsets: Int64s
    keys: Int64s
    share: Floats
    rest: Floats
    mass: Floats
    reach: Floats

    @classmethod
    def of_spans(cls, spans: PaneSpans, parent: Floats, strength: float, prior: Floats) -> Level:
        """Compute the posterior of all groups of `spans`.

        Parameters
        ----------
        parent : float64[t]     the parent's share of each key
        strength : float        ``m``, transitions that the parent weighs
        prior : float64[k]      weight of each length
        """
        groups, offsets = offsets_of(spans.groups)
        share = np.empty(spans.keys.shape[0])
        rest, mass, reach = (np.empty(groups.shape[0]) for _ in range(3))
        counts = (spans.now, spans.before, spans.newest)
        posterior(offsets, *counts, parent, float(strength), prior, spans.lengths, share, rest, mass, reach)
        return cls(groups, offsets, spans.keys, share, rest, mass, reach)

    def share_of(self, groups: Int64s, clusters: Int32s, parent: Floats) -> Floats:
        """Share of one cluster in each group: float64[n]; `parent` (float64[n]) where the group was never seen."""
        at, is_known = locate(self.groups, groups)
        entry, has_entry = locate(self.keys, groups << 16 | clusters)
        if not self.groups.size:
            return parent
        without = np.where(is_known, self.rest[at] * parent, parent)
        return np.where(has_entry, self.share[entry] if self.keys.size else 0.0, without)

    def mass_of(self, groups: Int64s) -> Floats:
        """Transitions behind each group's shares: float64[n]; 0 where it was never seen."""
        return self._value_of(groups, self.mass)

    def reach_of(self, groups: Int64s) -> Floats:
        """Panes of the past that speak for each group: float64[n]; 0 where it was never seen."""
        return self._value_of(groups, self.reach)

    def _value_of(self, groups: Int64s, values: Floats) -> Floats:
        at, is_known = locate(self.groups, groups)
        return np.where(is_known, values[at] if self.groups.size else 0.0, 0.0)


def offsets_of(ascending_groups: Int64s) -> tuple[Int64s, Int64s]:
    """Distinct groups, int64[g], and where their entries lie, int64[g + 1]."""
    n = ascending_groups.shape[0]
    if not n:
        return np.zeros(0, np.int64), np.zeros(1, np.int64)
    starts = np.flatnonzero(np.r_[True, ascending_groups[1:] != ascending_groups[:-1]])
    return ascending_groups[starts], np.r_[starts, n].astype(np.int64)


def locate(ascending: Int64s, keys: Int64s) -> tuple[Int64s, NDArray[np.bool_]]:
    """Index of each key in `ascending`, and whether it is there (the index is a valid one if there is any)."""
    if not ascending.size:
        return np.zeros(keys.shape[0], np.int64), np.zeros(keys.shape[0], np.bool_)
    at = np.minimum(np.searchsorted(ascending, keys), ascending.shape[0] - 1)
    return at, ascending[at] == keys
