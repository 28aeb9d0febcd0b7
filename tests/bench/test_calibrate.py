"""What holds figures against goals, and the worlds that they are measured in."""

from __future__ import annotations

import numpy as np
import pytest

from bench.calibrate.verdicts import judged
from bench.calibrate.worlds import KINDS, Growth, side
from tidegate.counts import bucket_of_key, pair_of_key


@pytest.mark.parametrize(
    ("value", "low", "high", "goal", "is_met"),
    [
        (0.55, 0.55, None, ">= 0.55: met", True),
        (0.02, None, 0.01, "<= 0.01: MISSED", False),
        (0.02, 0.03, 0.07, "0.03 to 0.07: MISSED", False),
        (0.5, None, None, "", None),
    ],
)
def test_a_value_is_held_against_its_bounds(
    value: float, low: float | None, high: float | None, goal: str, is_met: bool | None
) -> None:
    verdict = judged("a figure", np.float64(value), "ratio", low=low, high=high)
    assert (verdict.figure.goal, verdict.is_met) == (goal, is_met)
    assert type(verdict.figure.value) is float  # as JSON knows it


@pytest.mark.parametrize("users", KINDS)
@pytest.mark.parametrize("growth", [Growth(), Growth(users=3.0), Growth(transitions=3.0)])
def test_a_side_has_the_traffic_that_it_should_however_it_grew(users: str, growth: Growth) -> None:
    counts = side(np.random.default_rng(0), np.full(2_000, 40.0), users, growth)
    assert counts.total == pytest.approx(2_000 * 40 * growth.users * growth.transitions, rel=0.05)
    assert np.unique(pair_of_key(counts.keys)).shape[0] == 2_000
    assert bucket_of_key(counts.keys).max() < 64


def test_moved_pairs_have_other_top_successors_and_the_others_the_same() -> None:
    means = np.full(2, 20_000.0)
    moved = np.array([True, False])
    sides = [side(np.random.default_rng(1), means, "single", moved=each) for each in (None, moved)]
    tops = []
    for counts in sides:
        by_pair = counts.without_buckets()
        starts, ends = by_pair.offsets[:-1], by_pair.offsets[1:]
        order = [
            by_pair.successors[a:b][np.argsort(-by_pair.counts[a:b])[:5]] for a, b in zip(starts, ends, strict=True)
        ]
        tops.append([set(top.tolist()) for top in order])
    assert len(tops[0][0] & tops[1][0]) == 2
    assert len(tops[0][1] & tops[1][1]) == 5
