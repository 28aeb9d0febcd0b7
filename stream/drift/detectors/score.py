"""One number per window for detectors: how surprising the whole table is, on the scale of a standard normal."""

from __future__ import annotations

from statistics import NormalDist

from tidegate.contracts import DriftReport

DEEPEST_P = 1e-5
"""The smallest p-value that is told apart: below it, what once in 100,000 windows shows is all the same."""
LOWEST_SCORE, HIGHEST_SCORE = -4.0, 12.0
_NORMAL = NormalDist()
_AT_DEEPEST = DEEPEST_P * (1 + 1e-9)


def score_of(report: DriftReport | None) -> float | None:
    """Score of a window; None where nothing was compared, or nobody could be exchanged.

    The permutation p-value, not `table_z`, is the source: where few users carry the traffic, z has a longer tail than
    a normal variable, and a detector would take it for drift. Under no drift the score is standard normal, whatever the
    traffic. At the deepest p-value z takes over, for it still tells a strong shift from a very strong one, and no drift
    gets there once in 100,000 windows.

    Examples
    --------
    >>> round(window_score(z=1.7, p_value=0.05), 3), window_score(z=9.0, p_value=1e-5)
    (1.645, 9.0)
    """
    if report is None or report.table_z is None or report.table_p is None:
        return None
    return window_score(report.table_z, report.table_p)


def window_score(z: float, p_value: float) -> float:
    """Score of a window from its table's z and p-value."""
    tail = min(max(p_value, DEEPEST_P), 1 - DEEPEST_P)
    score = -_NORMAL.inv_cdf(tail)
    if p_value <= _AT_DEEPEST:
        score = max(score, z)
    return min(max(score, LOWEST_SCORE), HIGHEST_SCORE)


def tail_of(score: float) -> float:
    """p-value of a score, not below `DEEPEST_P`.

    Examples
    --------
    >>> round(tail_of(1.645), 3), tail_of(9.0)
    (0.05, 1e-05)
    """
    return max(_NORMAL.cdf(-score), DEEPEST_P)
