"""What the scores of windows look like while nothing drifts: the series that detectors are calibrated on.

A window of `w` panes is held against the `w` panes before it, and both move on by one pane. Seen from the panes, a
window is a contrast with weights +1 (its own panes) and -1 (its reference's); those of windows `k` panes apart
correlate by ``r_k = 1 - 3 k / (2 w)`` up to `w`, then ``-(2 w - k) / (2 w)``, and not at all from ``2 w`` on. The
table's statistic is a quadratic form in the contrasts of thousands of cells, so that windows correlate by the square of
it, and their sum is normal. Panes are assumed to be independent of each other; where users come back and repeat
themselves, exchanging users takes out what they repeat. The worlds of `bench.calibrate` confirm both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def autocorrelation(window_panes: int) -> NDArray[np.float64]:
    """Correlation of the scores of windows ``0, 1, ... 2 w`` panes apart: float64[2 w + 1].

    Examples
    --------
    >>> autocorrelation(3).round(3).tolist()
    [1.0, 0.25, 0.0, 0.25, 0.111, 0.028, 0.0]
    """
    lag, span = np.arange(2 * window_panes + 1), 2.0 * window_panes
    contrast = np.where(lag <= window_panes, 1.0 - 3.0 * lag / span, lag / span - 1.0)
    return np.asarray(contrast**2)


def null_scores(window_panes: int, n_paths: int, n_windows: int, seed: int) -> NDArray[np.float64]:
    """Draw series of scores without drift: float64[n_paths, n_windows].

    By embedding the autocorrelation in a circle (Davies and Harte, Biometrika 74, 1987); its spectrum is never
    negative, being that of such a series. `O(n log n)` a path.
    """
    known = autocorrelation(window_panes)
    n = n_windows + 2 * known.shape[0]
    circle = np.zeros(n)
    circle[: known.shape[0]] = known
    circle[n - known.shape[0] + 1 :] = known[:0:-1]
    amplitude = np.sqrt(np.maximum(np.fft.rfft(circle).real, 0.0))
    rng = np.random.Generator(np.random.Philox(seed))
    noise = np.fft.rfft(rng.standard_normal((n_paths, n)), axis=1)
    return np.asarray(np.fft.irfft(noise * amplitude, n, axis=1)[:, :n_windows])
