"""Rows that were measured, pairs or clusters of the backoff, and the means over them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRows:
    """Drift of rows, in ascending order of their key. Means are None without rows, and sums exactly rounded.

    Drift of many rows is ``1 - mean(matched) / mean(null)``: the mean of their drifts, each weighed by its null, since
    where exchanged users hardly agree either, a row's own ratio says next to nothing.

    Attributes
    ----------
    keys : int64[p]
    n_window, n_reference : int64[p]    transitions
    jaccard : float64[p]                expected Jaccard of the top-k successors, at full counts
    matched : float64[p]                the same at counts that are matched to the quieter side's
    null : float64[p]                   what `matched` would be with no drift
    drift : float64[p]                  ``1 - matched / null``
    rbo, rbo_matched, rbo_null : float64[p]   the same of rank-biased overlap
    p_value : float64[p]                mid-p of the exchange of users
    flagged : bool[p]                   by false discovery rate
    """

    keys: NDArray[np.int64]
    n_window: NDArray[np.int64]
    n_reference: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    matched: NDArray[np.float64]
    null: NDArray[np.float64]
    drift: NDArray[np.float64]
    rbo: NDArray[np.float64]
    rbo_matched: NDArray[np.float64]
    rbo_null: NDArray[np.float64]
    p_value: NDArray[np.float64]
    flagged: NDArray[np.bool_]

    @property
    def jaccard_mean(self) -> float | None:
        """Unweighted mean over rows."""
        return mean(self.jaccard)

    @property
    def jaccard_variance(self) -> float | None:
        """Population variance over rows."""
        center = self.jaccard_mean
        return None if center is None else mean((self.jaccard - center) ** 2)

    @property
    def matched_mean(self) -> float | None:
        """Unweighted mean over rows of J at the counts that the null is measured at."""
        return mean(self.matched)

    @property
    def null_mean(self) -> float | None:
        """Unweighted mean over rows."""
        return mean(self.null)

    @property
    def drift_mean(self) -> float | None:
        """``1 - matched_mean / null_mean``."""
        return effect(self.matched, self.null)

    @property
    def drift_traffic_mean(self) -> float | None:
        """The same with means weighted by the rows' transitions in the window."""
        return effect(self.matched * self.n_window, self.null * self.n_window)

    @property
    def rbo_mean(self) -> float | None:
        """Unweighted mean over rows, at full counts."""
        return mean(self.rbo)

    @property
    def rbo_null_mean(self) -> float | None:
        """Unweighted mean over rows."""
        return mean(self.rbo_null)

    @property
    def rbo_drift_mean(self) -> float | None:
        """``1 - rbo_matched / rbo_null``, of means over rows."""
        return effect(self.rbo_matched, self.rbo_null)


def mean(values: NDArray[np.float64]) -> float | None:
    """Mean, its sum exactly rounded: so it does not depend on the order of rows. None without values.

    Examples
    --------
    >>> mean(np.array([1e16, 1.0, -1e16, 1.0]))
    0.5
    """
    return math.fsum(values) / values.shape[0] if values.size else None


def effect(matched: NDArray[np.float64], null: NDArray[np.float64]) -> float | None:
    """``1 - sum(matched) / sum(null)``; 0 where that is no ratio, None without rows.

    Examples
    --------
    >>> effect(np.array([0.25, 0.125]), np.array([0.5, 0.25]))
    0.5
    """
    if not matched.size:
        return None
    expected = math.fsum(null)
    return 1.0 - math.fsum(matched) / expected if expected > 0.0 else 0.0


def effect_of_each(matched: NDArray[np.float64], null: NDArray[np.float64]) -> NDArray[np.float64]:
    """``1 - matched / null`` by row; 0 where even exchanged users share no successor: nothing can be told from it."""
    ratio = np.ones_like(null)
    np.divide(matched, null, out=ratio, where=null > 0)
    return 1.0 - ratio
