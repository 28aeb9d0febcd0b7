"""Seeded windows of pairs whose successors follow Zipf's law (exponent 1.0), with users of several kinds.

Pairs are alike but for their successors' names and their traffic. `single` users make one transition of a pair. What
others make is Poisson: of `repeating` ones about a rate of their own, exponential of mean 2, all to one successor; of
`heavy` ones one in twenty makes 20 on average and the others one, to three successors of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidegate.counts import BucketedCounts, pack_transitions
from tidegate.hashing import cluster_seeds

N_CLUSTERS, N_BUCKETS = 761, 64
SEEDS = cluster_seeds([f"interest {c}" for c in range(N_CLUSTERS)])
KINDS = ("single", "repeating", "heavy")
_HEAVY_SHARE, _HEAVY_MEAN, _REPEATING_MEAN = 0.05, 20.0, 2.0
_CHANCES = np.cumsum(1.0 / np.arange(1, N_CLUSTERS - 1))

Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Growth:
    """How many times the users there are, and how many times the transitions each makes."""

    users: float = 1.0
    transitions: float = 1.0


def successors_of(uniform: Floats) -> Int64s:
    """Ranks of successors for numbers in [0, 1): int64[...]."""
    return np.searchsorted(_CHANCES, uniform * _CHANCES[-1]).astype(np.int64)


def side(
    rng: np.random.Generator,
    means: Floats,
    users: str,
    growth: Growth | None = None,
    moved: NDArray[np.bool_] | None = None,
) -> BucketedCounts:
    """Count one side.

    Parameters
    ----------
    means : float64[p]      mean transitions of each pair before growth
    users : str             of `KINDS`
    moved : bool[p]         pairs whose ranks 0, 2 and 4 give way to three successors from outside the top five
    """
    growth = growth or Growth()
    n_users = rng.poisson(means * growth.users / _mean_of(users))
    pair = np.repeat(np.arange(means.shape[0]), n_users)
    sizes = _sizes(rng, pair.shape[0], users, growth.transitions)
    n_tastes = 3 if users == "heavy" else 1
    tastes = successors_of(rng.random((pair.shape[0], n_tastes)))
    user = np.repeat(np.arange(pair.shape[0]), sizes)
    rank = tastes[user, rng.integers(0, n_tastes, user.shape[0])]
    bucket = rng.integers(0, N_BUCKETS, pair.shape[0])[user]
    pair = pair[user]
    if moved is not None:
        gives_way = moved[pair] & ((rank == 0) | (rank == 2) | (rank == 4))
        rank = np.where(gives_way, rank + 200, rank)
    return counted(pair, rank, bucket)


def _mean_of(users: str) -> float:
    heavy = 1.0 - _HEAVY_SHARE + _HEAVY_SHARE * _HEAVY_MEAN
    return {"single": 1.0, "repeating": _REPEATING_MEAN, "heavy": heavy}[users]


def _sizes(rng: np.random.Generator, n: int, users: str, times: float) -> Int64s:
    if users == "single":
        return np.ones(n, dtype=np.int64) if times == 1.0 else rng.poisson(times, n)
    if users == "repeating":
        return rng.poisson(rng.exponential(_REPEATING_MEAN, n) * times)
    return rng.poisson(np.where(rng.random(n) < _HEAVY_SHARE, _HEAVY_MEAN, 1.0) * times)


def counted(pair: Int64s, rank: Int64s, bucket: Int64s) -> BucketedCounts:
    """Count transitions of pairs by number, successors by rank and user buckets: int64[t] each."""
    successor = (rank * 7 + pair) % N_CLUSTERS
    keys = pack_transitions(pair % N_CLUSTERS, pair // N_CLUSTERS, successor, bucket)
    known, counts = np.unique(keys, return_counts=True)
    return BucketedCounts(known, counts.astype(np.int64))
