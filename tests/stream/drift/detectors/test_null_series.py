from __future__ import annotations

import numpy as np
import pytest

from stream.drift.detectors.null_series import autocorrelation, null_scores


@pytest.mark.parametrize("window_panes", [1, 2, 3, 7])
def test_correlations_are_the_squares_of_those_of_the_contrasts_of_panes(window_panes: int):
    contrast = np.r_[np.ones(window_panes), -np.ones(window_panes)] / np.sqrt(2 * window_panes)
    products = [contrast[lag:] @ contrast[: contrast.shape[0] - lag] for lag in range(2 * window_panes)]
    assert autocorrelation(window_panes) == pytest.approx(np.r_[np.square(products), 0.0])


@pytest.mark.parametrize("window_panes", [1, 3, 7])
def test_series_are_standard_normal_with_the_correlations_of_overlapping_windows(window_panes: int):
    scores = null_scores(window_panes, 3_000, 100, seed=3)
    assert scores.mean() == pytest.approx(0.0, abs=0.02)
    assert scores.std() == pytest.approx(1.0, abs=0.02)
    known = autocorrelation(window_panes)
    lags = range(2 * window_panes + 1)
    measured = [float((scores[:, lag:] * scores[:, : 100 - lag]).mean()) for lag in lags]
    assert measured == pytest.approx(known, abs=0.02)


def test_the_seed_alone_chooses_the_series():
    assert np.array_equal(null_scores(3, 2, 50, seed=1), null_scores(3, 2, 50, seed=1))
    assert not np.array_equal(null_scores(3, 2, 50, seed=1), null_scores(3, 2, 50, seed=2))
