"""Worlds in which clusters belong to groups: what follows a pair follows from the group of its first cluster alone.

A pair is too thin to show it, and its second cluster, which its backoff goes by, says nothing of it: what a model can
learn from all pairs together, and no line that is retrieved for one can tell. Where a cluster moves to another group,
all its pairs are followed by what follows those of that group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.worlds.draws import Floats
from stream.worlds.settings import WorldSettings

Clusters = NDArray[np.int16]
_SPARE = 4  # beside the successors: c1 and c2 are none


@dataclass(frozen=True, slots=True)
class Relations:
    """Groups, and what follows each.

    Attributes
    ----------
    group : int64[C]           of each cluster
    candidates : int16[K]      clusters that may follow at all
    keys : float64[G, K]       what they are ranked by after a cluster of each group, ascending
    n_successors : int
    """

    group: NDArray[np.int64]
    candidates: Clusters
    keys: Floats
    n_successors: int

    def successors(self, group_of_first: NDArray[np.int64]) -> Clusters:
        """Successors of all pairs, int16[C * C, S], never c1 or c2, where each c1 belongs to the group given here."""
        n_clusters = self.group.shape[0]
        is_second = self.candidates == np.arange(n_clusters)[:, None]
        out = np.empty((n_clusters, n_clusters, self.n_successors), np.int16)
        for c1 in range(n_clusters):
            key = np.where(is_second | (self.candidates == c1), np.inf, self.keys[group_of_first[c1]])
            out[c1] = self.candidates[np.argsort(key, axis=1)[:, : self.n_successors]]
        return out.reshape(n_clusters * n_clusters, self.n_successors)

    def visited(self) -> Clusters:
        """Clusters that may follow each, int16[C, K - 1], never itself."""
        is_itself = self.candidates == np.arange(self.group.shape[0])[:, None]
        return self.candidates[np.argsort(is_itself, axis=1, kind="stable")[:, :-1]]

    def moved(self, clusters: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Move clusters to another group each, drawn evenly: the groups after, int64[C]."""
        n_groups = self.keys.shape[0]
        group = self.group.copy()
        group[clusters] = (group[clusters] + rng.integers(1, n_groups, clusters.shape[0])) % n_groups
        return group


def make_relations(settings: WorldSettings, rng: np.random.Generator) -> Relations:
    """Draw groups of equal size, and what follows each."""
    n_candidates = min(settings.n_clusters, settings.n_successors + _SPARE)
    octave = np.log2(np.arange(1, n_candidates + 1))
    return Relations(
        group=rng.permutation(settings.n_clusters) % settings.n_groups,
        candidates=rng.permutation(settings.n_clusters)[:n_candidates].astype(np.int16),
        keys=octave + settings.own_order * rng.standard_normal((settings.n_groups, n_candidates)),
        n_successors=settings.n_successors,
    )
