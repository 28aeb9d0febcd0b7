from __future__ import annotations

import numpy as np
import pytest

from refresh.study.scores import Asked, Estimate, Gain, Result, Scores, estimate
from stream.predictions import hit_microbits
from tests.refresh.study.origins import bucketed
from tidegate.counts import MAX_BUCKETS

WINDOW = {(1, 2, 3, 0): 4, (1, 2, 4, 0): 1, (1, 2, 3, 9): 2, (5, 6, 7, 9): 3, (8, 9, 1, 1): 5}
PAIRS = np.array([1 << 16 | 2, 5 << 16 | 6])
MICROBITS = hit_microbits(np.array([0, 0, 0, 6, 1, 0, 0, 3]))


def _scores(answers: list[int] | list[list[int]], which: list[bool] | None = None) -> Scores:
    asked = Asked.of_pairs(bucketed(WINDOW), PAIRS)
    return Scores.of_answers(
        asked, np.array(answers, np.int32), MICROBITS, None if which is None else np.array(which, np.bool_)
    )


def test_hits_are_counted_over_all_transitions_of_the_pairs_asked_by_bucket() -> None:
    scores = _scores([3, -1])
    assert scores.n[[0, 1, 9]].tolist() == [5, 0, 5] and scores.n.sum() == 10
    assert scores.answered[[0, 9]].tolist() == [5, 2]
    assert scores.hits[[0, 9]].tolist() == [4, 2]
    assert scores.bits.sum() == pytest.approx(6 * MICROBITS[3] / 1e6)
    result = Result.of_scores(scores)
    assert (result.transitions, result.coverage) == (10, 0.7)
    assert result.hit_rate.mean == pytest.approx(0.6) and result.hit_rate.margin is None


def test_any_of_several_answers_may_hit_and_only_chosen_rows_score() -> None:
    assert _scores([[3, 4], [1, -1]]).hits.sum() == 7
    assert _scores([[3, 4], [7, 1]], which=[False, True]).hits.sum() == 3
    assert _scores([[3, 4], [7, 1]], which=[False, True]).n.sum() == 3


def test_pairs_without_a_transition_and_no_pairs_at_all_score_nothing() -> None:
    nothing = Asked.of_pairs(bucketed(WINDOW), np.zeros(0, np.int64))
    assert Scores.of_answers(nothing, np.zeros(0, np.int32), MICROBITS).n.sum() == 0
    assert Result.of_scores(Scores.none()).hit_rate is None and Result.of_scores(Scores.none()).coverage is None
    assert Gain.of_scores(Scores.none(), Scores.none()) == Gain(None, None)


def test_clusters_nobody_knew_in_the_first_window_carry_the_last_entry() -> None:
    asked = Asked.of_pairs(bucketed({(1, 2, 400, 0): 2}), PAIRS[:1])
    bits = Scores.of_answers(asked, np.array([400], np.int32), MICROBITS).bits.sum()
    assert bits == pytest.approx(2 * MICROBITS[-1] / 1e6)


def test_the_interval_of_a_ratio_over_users_covers_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    is_covered = []
    for _ in range(400):
        n = generator.integers(1, 40, MAX_BUCKETS)
        taste = generator.beta(2, 8, MAX_BUCKETS)  # users differ: transitions of one bucket are alike
        found = estimate(generator.binomial(n, taste).astype(float), n.astype(float))
        is_covered.append(abs(found.mean - 0.2) <= found.margin)
    assert 0.92 <= np.mean(is_covered) <= 0.98


def test_a_difference_in_every_bucket_is_proven_and_none_is_not() -> None:
    hits, n = np.arange(MAX_BUCKETS) % 3 + 1.0, np.full(MAX_BUCKETS, 9.0)
    ours, theirs = (Scores(n, n, each, each) for each in (hits + 1, hits))
    assert Gain.of_scores(ours, theirs).hit_rate.is_proven
    assert Gain.of_scores(ours, ours).hit_rate == Estimate(0.0, 0.0) and not Estimate(0.0, 0.0).is_proven
    assert not Estimate(0.5, None).is_proven
