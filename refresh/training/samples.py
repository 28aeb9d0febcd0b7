"""Samples to fine-tune on: transitions of some users as labels, with retrieved lines from other users.

A model that saw the label's own users in the retrieved line would learn to trust the line more than it deserves.
Heads of the catalogue are capped, so that tails are not drowned; a weight gives part of their traffic back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.evidence import Evidence
from refresh.prompts import RowContexts
from tidegate.counts import SuccessorCounts, unpack_pairs

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]

_WEIGHT_EXPONENT = 0.5  # 0 would teach tails like heads, 1 would undo the cap


@dataclass(frozen=True, slots=True)
class Samples:
    """What to read and what to answer.

    Attributes
    ----------
    c1 : int32[n]            -1 = a row of c2 alone
    c2 : int32[n]
    retrieved : int32[n, k]  the line, best first; -1 = no (further) cluster
    target : int32[n]        neither c1 nor c2
    weight : float32[n]      of the sample's loss, 1 on average
    """

    c1: Int32s
    c2: Int32s
    retrieved: NDArray[np.int32]
    target: Int32s
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return int(self.c2.shape[0])

    def __getitem__(self, rows: slice | Int64s | NDArray[np.bool_]) -> Samples:
        """Return some of the samples."""
        return Samples(self.c1[rows], self.c2[rows], self.retrieved[rows], self.target[rows], self.weight[rows])

    @classmethod
    def concatenate(cls, parts: Sequence[Samples]) -> Samples:
        """Put samples one after the other."""
        columns = zip(*((part.c1, part.c2, part.retrieved, part.target, part.weight) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))


def build_samples(
    evidence: Evidence,
    labels: SuccessorCounts,
    *,
    seed: int,
    n_samples: int = 8_000,
    without_line: float = 0.15,
    without_c1: float = 0.10,
    n_retrieved: int = 1,
) -> Samples:
    """Draw samples from `labels` and retrieve their lines from `evidence`. `O(t log t)`.

    The line are the top successors of the pair by shrunk evidence, or of `c2` where c1 is left out: as rows are asked.

    Parameters
    ----------
    evidence : Evidence
        Of other users than `labels`.
    labels : SuccessorCounts
    seed : int
        Decides every draw: equal input and seed give equal samples.
    n_samples : int
        The most to draw, at most one per transition.
    without_line, without_c1 : float
        Shares of samples whose retrieved line, or c1, is left out.
    n_retrieved : int
        Clusters of a line, 8 at most.

    Returns
    -------
    Samples
    """
    generator = np.random.default_rng(seed)
    entries, weight = draw_capped(labels.successors, labels.counts, n_samples, generator)
    pairs = np.repeat(labels.pairs, np.diff(labels.offsets))[entries]
    asked = ask(evidence, pairs, generator, without_line=without_line, without_c1=without_c1, n_retrieved=n_retrieved)
    return Samples(asked.c1, asked.c2, asked.retrieved, labels.successors[entries], weight)


def ask(
    evidence: Evidence,
    pairs: Int64s,
    generator: np.random.Generator,
    *,
    without_line: float = 0.0,
    without_c1: float = 0.0,
    n_retrieved: int = 1,
) -> RowContexts:
    """Ask for pairs (int64[n]) as rows are asked, with lines from `evidence`; some without their line, or c1."""
    c1, c2 = unpack_pairs(pairs)
    lines = evidence.rank(pairs, n_retrieved).clusters
    is_backoff = generator.random(pairs.size) < without_c1
    lines[is_backoff] = evidence.backoff(n_retrieved).clusters[c2[is_backoff]]
    lines[generator.random(pairs.size) < without_line] = -1
    return RowContexts(np.where(is_backoff, np.int32(-1), c1), c2, lines)


def split_samples(samples: Samples, held_out: float, *, seed: int) -> tuple[Samples, Samples]:
    """Split into (training, held-out) at random."""
    is_held_out = np.random.default_rng((seed, 1)).random(len(samples)) < held_out
    return samples[~is_held_out], samples[is_held_out]


def draw_capped(
    successors: Int32s, counts: Int64s, n_samples: int, generator: np.random.Generator
) -> tuple[Int64s, NDArray[np.float32]]:
    """Draw transitions so that heads do not drown tails. `O(t log t)`.

    Each cluster gives its transitions, up to the cap that makes `n_samples` in all.

    Parameters
    ----------
    successors : int32[t]     of each entry
    counts : int64[t]         how often it was seen

    Returns
    -------
    int64[n], float32[n]
        Entries, one for each draw, and its weight: 1 on average, its square goes by what the cap took away.
    """
    order = np.lexsort((generator.random(successors.size), successors))
    counts = counts[order]
    clusters, starts = np.unique(successors[order], return_index=True)
    if not clusters.size:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    traffic = np.add.reduceat(counts, starts)
    n_drawn = np.minimum(traffic, cap_for(traffic, n_samples))
    # The j-th of k draws falls at a random point of the j-th of k equal stretches of the cluster's traffic.
    cluster = np.repeat(np.arange(clusters.size), n_drawn)
    j = np.arange(cluster.size) - np.repeat(np.cumsum(n_drawn) - n_drawn, n_drawn)
    point = (j + generator.random(cluster.size)) * (traffic / np.maximum(1, n_drawn))[cluster]
    base = (np.cumsum(traffic) - traffic)[cluster]
    unit = base + np.minimum(point.astype(np.int64), traffic[cluster] - 1)
    entries = order[np.searchsorted(np.cumsum(counts), unit, side="right")]
    weight = ((traffic / np.maximum(1, n_drawn)) ** _WEIGHT_EXPONENT)[cluster]
    return entries, (weight / weight.mean()).astype(np.float32)


def cap_for(traffic: Int64s, n_samples: int) -> int:
    """Return the largest cap with ``sum(min(traffic, cap)) <= n_samples``, 1 at least. `O(C log C)`.

    Examples
    --------
    >>> cap_for(np.array([100, 5, 1]), 20)
    14
    """
    ascending = np.sort(traffic)
    n_left = ascending.size - np.arange(ascending.size)
    taken = np.cumsum(ascending) - ascending
    caps = (n_samples - taken) // n_left  # if the clusters before i give all they have and the others are capped
    fits = caps < ascending  # so that the clusters from i on are capped; equal ones give all they have
    return max(1, int(caps[np.argmax(fits)])) if fits.any() else int(ascending[-1])
