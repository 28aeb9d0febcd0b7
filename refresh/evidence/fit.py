"""How strongly to shrink where there is no pane yet that could be foretold: by maximum likelihood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Entries that are looked at: the likelihood is a sum over groups, and a part of them says enough.
_MAX_ENTRIES = 50_000
_LOG_BOUNDS = (-2.0, 9.0)
_UNKNOWN = 10.0


def fit_strength(offsets: NDArray[np.int64], counts: NDArray[np.int64], parent: NDArray[np.float64]) -> float:
    """Maximise the Dirichlet-multinomial likelihood of grouped counts over the transitions that the parent weighs.

    Parameters
    ----------
    offsets : int64[g + 1]     entries of each group
    counts : int64[t]
    parent : float64[t]        the parent's share of each entry, above 0

    Examples
    --------
    >>> offsets, alike = np.array([0, 2, 4]), np.array([5, 5, 5, 5])
    >>> unlike = np.array([10, 0, 0, 10])
    >>> fit_strength(offsets, alike, np.full(4, 0.5)) > 100 > 1 > fit_strength(offsets, unlike, np.full(4, 0.5))
    True
    """
    from scipy.optimize import minimize_scalar  # takes half a second to import, and a worker only counts
    from scipy.special import gammaln

    last = int(np.searchsorted(offsets, _MAX_ENTRIES, side="right")) - 1
    offsets = offsets[: max(last, min(1, offsets.shape[0] - 1)) + 1]
    n_entries = int(offsets[-1])
    if not n_entries:
        return _UNKNOWN
    totals = np.add.reduceat(counts[:n_entries], offsets[:-1])
    # A group seen once says nothing about how alike its transitions are.
    is_informative = totals >= 2
    if not is_informative.any():
        return _UNKNOWN
    kept = np.repeat(is_informative, np.diff(offsets))
    n, p, n_group = counts[:n_entries][kept].astype(np.float64), parent[:n_entries][kept], totals[is_informative]

    def negative_log_likelihood(log_m: float) -> float:
        m = float(np.exp(log_m))
        entries = gammaln(n + m * p) - gammaln(m * p)
        groups = gammaln(m) - gammaln(n_group + m)
        return -float(entries.sum() + groups.sum())

    fit = minimize_scalar(negative_log_likelihood, bounds=_LOG_BOUNDS, method="bounded")
    return float(np.exp(fit.x))
