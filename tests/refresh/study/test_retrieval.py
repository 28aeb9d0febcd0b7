from __future__ import annotations

import numpy as np
import pytest

from refresh.study.reader import Reader
from refresh.study.retrieval import TOP_N, ablate_retrieval
from tests.refresh.study.engines import ToldEngine, the_line
from tests.refresh.study.origins import origin

BEFORE = {(1, 2, 3): 10, (4, 5, 6): 10}
WINDOW = {(1, 2, 3): 6, (1, 2, 7): 4, (4, 5, 6): 9, (4, 5, 3): 1, (8, 9, 3): 9}
FOLLOWING = {(1, 2, 3, 0): 5, (1, 2, 7, 1): 3, (4, 5, 6, 2): 7, (4, 5, 8, 3): 5, (6, 7, 8, 4): 9}


def _ways(found):
    return {(way.level, way.kind, way.top_n): way for way in found.ways}


def test_lines_are_scored_on_the_pairs_that_come_again() -> None:
    found = ablate_retrieval([origin(WINDOW, FOLLOWING, BEFORE)], None)
    ways = _ways(found)
    assert found.windows == 1 and found.rows == 2 and found.has_trend
    assert ways["instance", "frequency", 1].among.transitions == 20
    rates = {key: way.among.hit_rate.mean for key, way in ways.items()}
    assert rates["instance", "frequency", 1] == 12 / 20 and rates["instance", "frequency", 3] == 15 / 20
    assert rates["instance", "trend", 1] == 3 / 20  # 7 is new after (1, 2), 3 is new after (4, 5)
    assert rates["global", "frequency", 1] == 5 / 20  # 3 leads everywhere
    assert rates["c2", "frequency", 1] == 12 / 20
    assert all(way.model is None and way.model_gain is None for way in found.ways)


def test_gains_are_against_the_papers_choice_on_the_same_transitions() -> None:
    found = _ways(ablate_retrieval([origin(WINDOW, FOLLOWING, BEFORE)], Reader(ToldEngine(the_line))))
    default = found["instance", "frequency", 1]
    assert default.among_gain.hit_rate.mean == default.model_gain.hit_rate.mean == 0.0
    assert found["global", "frequency", 1].among_gain.hit_rate.mean == pytest.approx(-7 / 20)
    assert found["global", "frequency", 1].model_gain.hit_rate.mean == pytest.approx(-7 / 20)


def test_a_model_that_repeats_its_lines_answers_the_first_of_them_whatever_n() -> None:
    ways = _ways(ablate_retrieval([origin(WINDOW, FOLLOWING, BEFORE)], Reader(ToldEngine(the_line))))
    for n in TOP_N:
        model = ways["instance", "frequency", n].model
        assert model.hit_rate.mean == ways["instance", "frequency", 1].among.hit_rate.mean


def test_answers_to_several_lines_are_weighed_by_the_lines_shares() -> None:
    def merges(contexts):  # lines 7 and 3 of (1, 2) lead to 7; alone, 3 would win with 0.6
        return np.where(contexts.retrieved[:, 0] == 3, 7, contexts.retrieved[:, 0]).astype(np.int32)

    ways = _ways(ablate_retrieval([origin(WINDOW, FOLLOWING, BEFORE)], Reader(ToldEngine(merges))))
    assert ways["instance", "frequency", 3].model.hit_rate.mean == (3 + 7) / 20


def test_without_a_window_before_only_what_is_frequent_is_retrieved() -> None:
    found = ablate_retrieval([origin(WINDOW, FOLLOWING)], None)
    assert not found.has_trend and {way.kind for way in found.ways} == {"frequency"}
    both = ablate_retrieval([origin(WINDOW, FOLLOWING), origin(WINDOW, FOLLOWING, BEFORE)], None)
    assert both.has_trend and both.windows == 1


def test_rows_without_a_code_are_answered_by_their_line() -> None:
    engine = ToldEngine(the_line, n_clusters=4, capacity=4)
    ways = _ways(ablate_retrieval([origin(WINDOW, FOLLOWING, BEFORE)], Reader(engine)))
    assert ways["instance", "frequency", 1].model.hit_rate.mean == 12 / 20


def test_pairs_that_never_come_again_leave_every_figure_absent() -> None:
    found = ablate_retrieval([origin(WINDOW, {(6, 7, 8, 0): 1})], Reader(ToldEngine(the_line)))
    assert found.rows == 0 and found.ways[0].among.hit_rate is None
