"""Rank-biased overlap of two rankings of successors, in expectation over random tie-breaks.

Where Jaccard looks at the top-k sets only, rank-biased overlap (Webber, Moffat and Zobel, ACM TOIS 28, 2010) looks at
the whole rankings, depth by depth, each depth weighing `p` times the one above it. Ties are uncertain ranks here, not
equal ones, so this is the variant RBO^a of Corsi and Urbano (SIGIR 2024, arXiv 2406.07121): the overlap at a depth is
its expectation over the tie-breaks of both sides, and the sum is extrapolated (RBO_EXT) where rankings end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidegate.jit import kernel

PERSISTENCE = 0.9
MAX_DEPTH = 100  # what lies deeper weighs less than 3e-5 together


def depth_weights(persistence: float = PERSISTENCE, depth: int = MAX_DEPTH) -> NDArray[np.float64]:
    """Weight of the overlap found at each depth, ``(1 - p) / p p^d / d``: float64[depth + 1], depth 0 weighs `p`.

    Examples
    --------
    >>> depth_weights(0.5, 2).tolist()
    [0.5, 0.5, 0.125]
    """
    depths = np.arange(1, depth + 1)
    weights = np.empty(depth + 1)
    weights[0], weights[1:] = persistence, (1.0 - persistence) / persistence * persistence**depths / depths
    return weights


@kernel
def rank_biased_overlap(a: NDArray[np.int32], b: NDArray[np.int32], n: int, weights: NDArray[np.float64]) -> float:
    """Rank-biased overlap of the rankings by ``a[:n]`` and by ``b[:n]``; 0 where one of them is empty.

    A successor whose tie spans the ranks t to u is among the first d with the chance ``(d - t + 1) / (u - t + 1)``, and
    on both sides with the product of both, for ties are broken independently. `O(n + largest count + common depth)`;
    allocates as much.

    Parameters
    ----------
    a, b : int32[>= n]             counts by successor; those of 0 are not in the ranking
    n : int
    weights : float64[depth + 1]   see `depth_weights`
    """
    depth = weights.shape[0] - 1
    above_a, above_b = _at_least(a, n), _at_least(b, n)
    shorter, longer = min(above_a[1], above_b[1], depth), min(max(above_a[1], above_b[1]), depth)
    if shorter == 0:
        return 0.0
    partly = np.zeros(longer + 2)  # by depth: the successors of ties that reach across it
    wholly = np.zeros(longer + 2)  # by depth: those that are there from it on
    for i in range(n):
        if a[i] == 0 or b[i] == 0:
            continue
        before_a, last_a = above_a[a[i] + 1], above_a[a[i]]
        before_b, last_b = above_b[b[i] + 1], above_b[b[i]]
        last = min(max(last_a, last_b), longer + 1)
        wholly[last] += 1.0
        each_a, each_b = 1.0 / (last_a - before_a), 1.0 / (last_b - before_b)
        for d in range(max(before_a, before_b) + 1, last):
            partly[d] += min(1.0, (d - before_a) * each_a) * min(1.0, (d - before_b) * each_b)
    total = whole = found = at_shorter = 0.0
    for d in range(1, longer + 1):
        whole += wholly[d]
        found = whole + partly[d]
        if d <= shorter:
            at_shorter = found
            total += weights[d] * found
        else:
            total += weights[d] * (found + at_shorter * (d - shorter) / shorter)
    return float(total + ((found - at_shorter) / longer + at_shorter / shorter) * weights[0] ** longer)


@kernel
def _at_least(counts: NDArray[np.int32], n: int) -> NDArray[np.int32]:
    """How many of ``counts[:n]`` reach each value: int32[largest + 2]."""
    largest = 0
    for i in range(n):
        largest = max(largest, counts[i])
    reaching = np.zeros(largest + 2, np.int32)
    for i in range(n):
        reaching[counts[i]] += 1
    for value in range(largest - 1, 0, -1):
        reaching[value] += reaching[value + 1]
    return reaching
