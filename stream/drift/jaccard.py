"""Jaccard of two top-k successor sets, in expectation over random tie-breaks.

At the rank-k boundary counts are tied more often than not (at 20 transitions per pair in 99 % of pairs), and breaking
ties by id would fake stability. So the k-boundary of each side is broken uniformly at random and independently, and
the Jaccard reported is the expectation, computed exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidegate.jit import inlined_kernel, kernel


def binomial_table(n_max: int, k: int) -> NDArray[np.float64]:
    """Binomial coefficients ``table[n, j] = n over j``: float64[n_max + 1, k + 1].

    Examples
    --------
    >>> binomial_table(4, 2)[4].tolist()
    [1.0, 4.0, 6.0]
    """
    n = np.arange(n_max + 1, dtype=np.float64)
    table = np.ones((n_max + 1, k + 1))
    for j in range(1, k + 1):
        table[:, j] = table[:, j - 1] * np.maximum(n - j + 1, 0) / j
    return table


@inlined_kernel
def kth_largest(counts: NDArray[np.int32], n: int, best: NDArray[np.int32]) -> int:
    """Value at rank k = ``best.shape[0]`` of ``counts[:n]``; 0 when fewer are positive. `O(n k)`, allocates nothing."""
    k = best.shape[0]
    for i in range(k):
        best[i] = 0
    for i in range(n):
        value = counts[i]
        if value > best[k - 1]:
            at = k - 1
            while at > 0 and best[at - 1] < value:
                best[at] = best[at - 1]
                at -= 1
            best[at] = value
    return int(best[k - 1])


@kernel
def expected_jaccard(
    a: NDArray[np.int32], b: NDArray[np.int32], n: int, best: NDArray[np.int32], binomials: NDArray[np.float64]
) -> float:
    """Average the Jaccard of the top-k sets of ``a[:n]`` and ``b[:n]`` over their tie-breaks; 0 where both are empty.

    A side with fewer than k positive counts has the set of all of them. Each successor is *sure* (above its side's
    rank-k value), *tied* (at it) or absent, on each side. Draw side a's tied successors first: `x` of them are sure on
    side b, `y` are tied there (multivariate hypergeometric). Then of side b's tied successors, ``sure_tied + y`` lie in
    the set of side a, and the number drawn among them is hypergeometric. `O(n k + k^3)`, allocates nothing.

    Parameters
    ----------
    a, b : int32[>= n]     counts by successor
    n : int
    best : int32[k]        scratch; its length is k
    binomials : float64[>= n + 1, >= k + 1]
    """
    k = best.shape[0]
    bound_a, bound_b = kth_largest(a, n, best), kth_largest(b, n, best)
    sure_a = sure_b = tied_a = tied_b = both_sure = sure_tied = tied_sure = both_tied = 0
    for i in range(n):
        is_sure_a, is_sure_b = a[i] > bound_a, b[i] > bound_b
        is_tied_a, is_tied_b = a[i] == bound_a and bound_a > 0, b[i] == bound_b and bound_b > 0
        sure_a += is_sure_a
        sure_b += is_sure_b
        tied_a += is_tied_a
        tied_b += is_tied_b
        both_sure += is_sure_a & is_sure_b
        sure_tied += is_sure_a & is_tied_b
        tied_sure += is_tied_a & is_sure_b
        both_tied += is_tied_a & is_tied_b
    drawn_a, drawn_b = min(k - sure_a, tied_a), min(k - sure_b, tied_b)
    sizes = sure_a + drawn_a + sure_b + drawn_b
    if sizes == 0:
        return 0.0
    if drawn_a == tied_a and drawn_b == tied_b:  # nothing to break: the k-boundary falls between two values
        shared = both_sure + sure_tied + tied_sure + both_tied
        return float(shared / (sizes - shared))
    only_a = tied_a - tied_sure - both_tied
    expectation = 0.0
    for x in range(min(tied_sure, drawn_a) + 1):
        for y in range(max(0, drawn_a - x - only_a), min(both_tied, drawn_a - x) + 1):
            weight = binomials[tied_sure, x] * binomials[both_tied, y] * binomials[only_a, drawn_a - x - y]
            inside = sure_tied + y
            outside = tied_b - inside
            for h in range(max(0, drawn_b - outside), min(inside, drawn_b) + 1):
                shared = both_sure + x + h
                chance = weight * binomials[inside, h] * binomials[outside, drawn_b - h]
                expectation += chance * shared / (sizes - shared)
    return float(expectation / (binomials[tied_a, drawn_a] * binomials[tied_b, drawn_b]))
