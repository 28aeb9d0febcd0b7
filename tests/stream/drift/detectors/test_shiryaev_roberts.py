from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from stream.drift.detectors.score import HIGHEST_SCORE
from stream.drift.detectors.shiryaev_roberts import ShiryaevRoberts, e_value


def test_the_bet_on_a_p_value_gains_nothing_on_average():
    mean, _ = quad(lambda p: e_value(float(norm.isf(p))), 0.0, 1.0, points=[1e-5, 1e-3], limit=200)
    assert 0.6 < mean <= 1.0  # less than 1, since p-values below the deepest are not told apart


def test_windows_that_share_a_pane_never_multiply():
    detector = ShiryaevRoberts(threshold=1e12, window_panes=3)
    for _ in range(6):
        detector.update(2.0)
    assert detector.state.numbers == pytest.approx([e_value(2.0)] * 6)
    detector.update(2.0)
    assert detector.state.numbers[0] == pytest.approx((e_value(2.0) + 1.0) * e_value(2.0))
    assert detector.state.numbers[1:] == pytest.approx([e_value(2.0)] * 5)


def test_run_times_keep_their_bound_even_where_all_sets_of_windows_say_the_same():
    rng, run_times = np.random.default_rng(4), []
    for _ in range(400):
        detector = ShiryaevRoberts(threshold=2 * 50.0, window_panes=2)
        scores = np.repeat(rng.standard_normal(200), 4)  # each fair bet is made four times
        run_times.append(next((i + 1 for i, score in enumerate(scores.tolist()) if detector.update(score)), 800))
    assert np.mean(run_times) >= 50.0


def test_one_window_alone_is_no_proof_however_strong_where_it_could_be_chance():
    detector = ShiryaevRoberts(threshold=2 * 2_000.0, window_panes=1)
    assert not detector.update(HIGHEST_SCORE)
