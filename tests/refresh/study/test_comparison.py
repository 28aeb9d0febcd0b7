from __future__ import annotations

import numpy as np
import pytest

from refresh.study.comparison import GROUPS, compare_ways
from refresh.study.origins import Rows
from refresh.study.reader import Reader
from tests.refresh.study.engines import ToldEngine, always, the_line
from tests.refresh.study.origins import origin

# (1, 2) is dense and leads to 3, (4, 2) is thin and leads to 5; c2 = 2 leads to 3; (6, 2) was never seen.
WINDOW = {(1, 2, 3): 30, (1, 2, 4): 2, (4, 2, 5): 1}
FOLLOWING = {(1, 2, 3, 0): 6, (1, 2, 5, 1): 2, (4, 2, 3, 0): 3, (4, 2, 5, 2): 1, (6, 2, 3, 3): 4, (6, 9, 3, 3): 1}


def test_rows_are_the_next_windows_pairs_with_their_support_in_this_one() -> None:
    rows = Rows.of_origin(origin(WINDOW, FOLLOWING | {(1, 40, 3, 0): 7}))
    assert rows.pairs.tolist() == [1 << 16 | 2, 4 << 16 | 2, 6 << 16 | 2, 6 << 16 | 9]
    assert rows.support.tolist() == [32, 1, 0, 0] and rows.n_of_new_clusters == 7


def test_every_group_of_pairs_is_scored_by_hand_without_a_model() -> None:
    found = compare_ways([origin(WINDOW, FOLLOWING)], None, min_support=20)
    assert set(found.groups) == set(GROUPS) and set(found.groups["all"].ways) == {
        "backoff",
        "frequency",
        "frequency_shrunk",
    }
    rates = {
        (group, way): result.hit_rate.mean for group, each in found.groups.items() for way, result in each.ways.items()
    }
    assert rates["dense", "frequency"] == rates["dense", "backoff"] == 6 / 8
    assert rates["thin", "frequency"] == 1 / 4 and rates["thin", "backoff"] == 3 / 4
    assert rates["unseen", "frequency"] == rates["unseen", "backoff"] == 4 / 5  # nobody knows what follows 9
    assert rates["all", "frequency"] == 11 / 17 and rates["all", "backoff"] == 13 / 17
    assert found.groups["unseen"].ways["backoff"].coverage == 4 / 5
    assert found.groups["thin"].gains["frequency - backoff"].hit_rate.mean == pytest.approx(-2 / 4)
    assert found.groups["thin"].rows == 1 and found.groups["all"].line_repeated is None


def test_a_model_that_repeats_its_line_adds_exactly_nothing() -> None:
    found = compare_ways([origin(WINDOW, FOLLOWING)], Reader(ToldEngine(the_line)), min_support=20)
    for group in found.groups.values():
        assert group.line_repeated == 1.0
        for name in ("model - frequency", "model_shrunk - frequency_shrunk"):
            assert group.gains[name].hit_rate.mean == group.gains[name].hit_information_bits.mean == 0.0


def test_a_model_that_knows_better_is_seen_on_the_pairs_where_it_does() -> None:
    def knows(contexts):
        return np.where(contexts.c1 == 4, 3, contexts.retrieved[:, 0]).astype(np.int32)

    found = compare_ways([origin(WINDOW, FOLLOWING)] * 2, Reader(ToldEngine(knows)), min_support=20)
    gains = {group: each.gains["model - frequency"].hit_rate.mean for group, each in found.groups.items()}
    assert gains == {"dense": 0.0, "thin": pytest.approx(0.5), "unseen": 0.0, "all": pytest.approx(2 / 17)}
    assert found.windows == 2 and found.groups["thin"].rows == 2 and found.groups["thin"].line_repeated == 0.0


def test_rows_beyond_the_codebook_are_not_asked_stay_with_their_backoff_and_are_counted() -> None:
    engine = ToldEngine(always(5), n_clusters=4, capacity=4)
    found = compare_ways([origin(WINDOW, FOLLOWING)], Reader(engine), min_support=20)
    groups = found.groups
    assert groups["all"].rows_beyond_codebook == 3 and groups["dense"].rows_beyond_codebook == 0
    assert groups["thin"].ways["model"].hit_rate == groups["thin"].ways["backoff"].hit_rate
    assert groups["dense"].ways["model"].hit_rate.mean == 2 / 8
    assert engine.n_asked == 2  # (1, 2) with its line, which is the shrunk one too, and without a line


def test_no_origin_at_all_leaves_every_figure_absent() -> None:
    found = compare_ways([origin(WINDOW, {})], Reader(ToldEngine(the_line)), min_support=20)
    assert found.groups["all"].ways["model"].hit_rate is None and found.groups["all"].line_repeated is None
