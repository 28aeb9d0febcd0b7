"""The statistics of detectors over many series at once, for calibration: what the objects would hold at each value.

Each is the recursion of its detector, a vector of series at a time, and bit for bit the detector's own where its
statistic can be seen (the tests compare them). None of them depends on the threshold before the first signal, so that
one pass gives the run times for every threshold.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from stream.drift.detectors.cusum import ALLOWANCE
from stream.drift.detectors.from_river import (
    KSWIN_NEWEST,
    KSWIN_SEED,
    KSWIN_VALUES,
    MAX_KSWIN_VALUES,
    MAX_VALUES,
    PAGE_HINKLEY_ALLOWANCE,
)

Floats = NDArray[np.float64]
_Statistics = Callable[[Floats], Floats]


def cusum_statistics(scores: Floats) -> Floats:
    """Cumulative sums of `stream.drift.detectors.cusum`: float64[n_paths, n_windows]."""
    out, held = np.empty_like(scores), np.zeros(scores.shape[0])
    for t in range(scores.shape[1]):
        held = np.maximum(0.0, held + scores[:, t] - ALLOWANCE)
        out[:, t] = held
    return out


def page_hinkley_statistics(scores: Floats) -> Floats:
    """Excess of the sum over its minimum, with what is kept of a series forgotten by halves: float64[n_paths, n]."""
    return _by_halves(scores, MAX_VALUES, _page_hinkley)


def kswin_statistics(scores: Floats) -> Floats:
    """Minus log10 of KSWIN's p-value, 0 for a fall and until its window is full: float64[n_paths, n_windows]."""
    return _by_halves(scores, MAX_KSWIN_VALUES, _kswin)


def _by_halves(scores: Floats, most: int, statistics: _Statistics) -> Floats:
    """Let the older half be forgotten each time that `most` values are kept."""
    out, half = np.empty_like(scores), most // 2
    out[:, :most] = statistics(scores[:, :most])
    for start in range(most, scores.shape[1], half):
        out[:, start : start + half] = statistics(scores[:, start - half : start + half])[:, half:]
    return out


def _page_hinkley(scores: Floats) -> Floats:
    out = np.empty_like(scores)
    mean, total = np.zeros(scores.shape[0]), np.zeros(scores.shape[0])
    least = np.full(scores.shape[0], np.inf)
    for t in range(scores.shape[1]):
        mean += (scores[:, t] - mean) / (t + 1)
        total = total + (scores[:, t] - mean) - PAGE_HINKLEY_ALLOWANCE
        least = np.minimum(least, total)
        out[:, t] = total - least
    return out


def _kswin(scores: Floats) -> Floats:
    out = np.zeros_like(scores)
    tails = _kolmogorov_tails(KSWIN_NEWEST)
    rng, n_older = random.Random(KSWIN_SEED), KSWIN_VALUES - KSWIN_NEWEST
    signs = np.repeat([1, -1], KSWIN_NEWEST)
    for end in range(KSWIN_VALUES, scores.shape[1] + 1):
        older = scores[:, end - KSWIN_VALUES : end - KSWIN_NEWEST]
        newest = scores[:, end - KSWIN_NEWEST : end]
        drawn = older[:, rng.sample(range(n_older), KSWIN_NEWEST)]
        order = np.argsort(np.concatenate([drawn, newest], axis=1), axis=1)
        distance = np.abs(np.cumsum(signs[order], axis=1)).max(axis=1)
        is_rise = newest.mean(axis=1) > older.mean(axis=1)
        out[:, end - 1] = np.where(is_rise, tails[distance], 0.0)
    return out


def _kolmogorov_tails(n: int) -> Floats:
    """Minus log10 of the p-value of each distance ``d / n`` of two samples of `n`: float64[n + 1]."""
    from scipy.stats import ks_2samp  # takes a second to import

    low = np.arange(n, dtype=np.float64)
    return np.array([-np.log10(ks_2samp(low, low + d - 0.5 * (d > 0)).pvalue) for d in range(n + 1)])
