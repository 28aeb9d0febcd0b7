"""One window against its reference: every pair measured, the window judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.drift.discoveries import flag_discoveries
from stream.drift.options import DriftOptions
from stream.drift.parts import DriftPart, MatchedPairs
from stream.drift.permutation import PairResults
from stream.drift.table import table_shift
from tidegate.counts import BucketedCounts


@dataclass(frozen=True, slots=True)
class WindowDrift:
    """Drift of the pairs with enough support on both sides, in ascending order of the pair.

    Attributes
    ----------
    pairs : int64[p]                    pair keys
    n_window, n_reference : int64[p]    transitions
    jaccard : float64[p]                expected Jaccard of the top-k successors, at full counts
    null : float64[p]                   the Jaccard that the pair's traffic would show with no drift, at equal sizes
    drift : float64[p]                  ``1 - J / null``, J at the sizes of `null` (so not from `jaccard` as reported)
    p_value : float64[p]                mid-p of the exchange of users
    flagged : bool[p]                   by false discovery rate
    table_z : float or None             standard deviations of the table's sum above its permutation mean
    table_p : float                     its permutation p-value (1 where nothing can be exchanged)
    alarmed : bool                      whether the window as a whole drifts
    """

    pairs: NDArray[np.int64]
    n_window: NDArray[np.int64]
    n_reference: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    null: NDArray[np.float64]
    drift: NDArray[np.float64]
    p_value: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    table_z: float | None
    table_p: float
    alarmed: bool

    @property
    def jaccard_mean(self) -> float | None:
        """Unweighted mean over pairs; None without pairs."""
        return float(self.jaccard.mean()) if self.pairs.size else None

    @property
    def jaccard_variance(self) -> float | None:
        """Population variance over pairs; None without pairs."""
        return float(self.jaccard.var()) if self.pairs.size else None

    @property
    def null_mean(self) -> float | None:
        """Unweighted mean over pairs; None without pairs."""
        return float(self.null.mean()) if self.pairs.size else None

    @property
    def matched_mean(self) -> float | None:
        """Unweighted mean over pairs of J at the counts that the null is measured at; None without pairs."""
        return float(((1.0 - self.drift) * self.null).mean()) if self.pairs.size else None

    @property
    def drift_mean(self) -> float | None:
        """Unweighted mean over pairs; None without pairs."""
        return float(self.drift.mean()) if self.pairs.size else None

    @property
    def drift_traffic_mean(self) -> float | None:
        """Mean weighted by the pairs' transitions in the window; None without pairs."""
        return float(np.average(self.drift, weights=self.n_window)) if self.pairs.size else None


def measure_drift(
    window: BucketedCounts, reference: BucketedCounts, cluster_seeds: NDArray[np.uint64], options: DriftOptions
) -> WindowDrift:
    """Measure each pair with enough support on both sides, and the window as a whole.

    Parameters
    ----------
    window, reference : BucketedCounts
    cluster_seeds : uint64[C]           follow the clusters' names; the result does not depend on their numbering
    options : DriftOptions

    Raises
    ------
    RequestError
        A count names a user bucket or a cluster that is not there.
    """
    matched = MatchedPairs(window, reference, cluster_seeds, options)
    return judge_window(matched, [matched.measure(0, 1)], options)


def judge_window(matched: MatchedPairs, parts: Sequence[DriftPart], options: DriftOptions) -> WindowDrift:
    """Judge the window as a whole, from all parts of its pairs in their order."""
    results, form = matched.join(parts)
    shift = table_shift(form, options.seed, options.table_permutations)
    return WindowDrift(
        pairs=matched.pairs,
        n_window=matched.window.totals,
        n_reference=matched.reference.totals,
        jaccard=results.jaccard,
        null=results.null,
        drift=_effect(results),
        p_value=results.p_value,
        flagged=flag_discoveries(results.p_value, options.fdr),
        table_z=shift.z,
        table_p=shift.p_value,
        alarmed=shift.p_value <= options.alarm_p,
    )


def _effect(results: PairResults) -> NDArray[np.float64]:
    """``1 - J / null``; 0 where even exchanged users share no successor, since nothing can be told from it."""
    ratio = np.ones_like(results.null)
    np.divide(results.matched, results.null, out=ratio, where=results.null > 0)
    return 1.0 - ratio
