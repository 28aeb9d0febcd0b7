"""Which of many pairs drifted: false discoveries held at a chosen rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def flag_discoveries(p_values: NDArray[np.float64], fdr: float) -> NDArray[np.bool_]:
    """Flag by the step-up rule of Benjamini and Hochberg (JRSS B 57, 1995). `O(p log p)`.

    Parameters
    ----------
    p_values : float64[p]
    fdr : float             expected share of false flags among the flags, at most

    Returns
    -------
    bool[p]

    Examples
    --------
    >>> flag_discoveries(np.array([0.04, 0.001, 0.9, 0.03]), fdr=0.06).tolist()
    [True, True, False, True]
    """
    n = p_values.shape[0]
    ascending = np.sort(p_values)
    passing = np.flatnonzero(ascending <= fdr * np.arange(1, n + 1) / n) if n else np.zeros(0, dtype=np.int64)
    if not passing.size:
        return np.zeros(n, dtype=np.bool_)
    return np.asarray(p_values <= ascending[passing[-1]], dtype=np.bool_)
