from __future__ import annotations

import msgspec
import pytest
from scipy.stats import norm

from stream.drift.detectors.score import DEEPEST_P, HIGHEST_SCORE, LOWEST_SCORE, score_of, tail_of, window_score
from tests.stream.drift.reports import report


@pytest.mark.parametrize("p_value", [0.9, 0.5, 0.05, 1e-3, 2e-5])
def test_a_score_is_the_normal_quantile_of_the_p_value_whatever_z_says(p_value: float):
    assert window_score(z=50.0, p_value=p_value) == pytest.approx(norm.isf(p_value))


def test_at_the_deepest_p_value_z_tells_how_strong_a_shift_is():
    assert window_score(z=9.0, p_value=1 / 100_001) == 9.0
    assert window_score(z=3.0, p_value=1 / 100_001) == pytest.approx(norm.isf(DEEPEST_P))


def test_scores_stay_within_their_bounds():
    assert window_score(z=-80.0, p_value=1.0) == LOWEST_SCORE
    assert window_score(z=800.0, p_value=1e-6) == HIGHEST_SCORE


def test_a_tail_is_never_below_what_permutations_can_tell():
    assert tail_of(2.0) == pytest.approx(norm.sf(2.0))
    assert tail_of(HIGHEST_SCORE) == DEEPEST_P


def test_a_window_without_a_comparison_has_no_score():
    assert score_of(None) is None
    assert score_of(report(z=None, p_value=1.0)) is None
    assert score_of(msgspec.structs.replace(report(z=1.0, p_value=0.2), table_p=None)) is None
    assert score_of(report(z=1.0, p_value=0.2)) == pytest.approx(norm.isf(0.2))
