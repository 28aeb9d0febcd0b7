from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from stream.study.halves import Spread, compare_halves, mean_or_nan
from tests.stream.study.logs import N_PAIRS, studied


def test_halves_of_one_window_and_of_two_agree_alike_where_nothing_drifts() -> None:
    windows = studied(8).windows
    splits = [compare_halves(list(pairwise(windows)), 0, split, 20) for split in range(6)]
    floor, half = (np.mean([getattr(each, side).jaccard.mean() for each in splits]) for side in ("floor", "half"))
    assert floor == pytest.approx(half, abs=0.04) and floor < 1


def test_halves_of_two_windows_agree_less_where_interests_moved() -> None:
    windows = studied(4, shift_day=2).windows
    split = compare_halves([(windows[0], windows[1])], 0, 0, 20)
    assert split.half.jaccard.mean() < split.floor.jaccard.mean() - 0.3


def test_both_windows_make_the_floor_and_both_ways_across_make_the_half() -> None:
    windows = studied(4).windows
    split = compare_halves([(windows[0], windows[1])], 0, 0, 20)
    assert split.floor.pairs.shape == split.half.pairs.shape == (2 * N_PAIRS,)


def test_seed_and_number_decide_a_split() -> None:
    couple = [(*studied(4).windows,)]
    jaccard = [compare_halves(couple, *which, 20).half.jaccard.tolist() for which in ((3, 1), (3, 1), (3, 2), (4, 1))]
    assert jaccard[0] == jaccard[1] and jaccard[0] != jaccard[2] and jaccard[0] != jaccard[3]


def test_splits_without_a_compared_pair_do_not_count() -> None:
    windows = studied(4).windows
    none = compare_halves([(windows[0], windows[1])], 0, 0, 100_000)
    assert np.isnan(mean_or_nan(none.floor.jaccard[:, 0]))
    assert Spread.of_splits([float("nan"), 0.5, 0.7]) == Spread(pytest.approx(0.6), pytest.approx(0.1))
    assert Spread.of_splits([float("nan")]) is None
