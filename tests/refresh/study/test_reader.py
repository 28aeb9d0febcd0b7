from __future__ import annotations

import numpy as np

from refresh.study.reader import Reader
from tests.refresh.study.engines import ToldEngine, the_line


def _column(*values: int):
    return np.array(values, np.int32)


def test_equal_rows_are_asked_once_and_answers_keep_the_order_of_the_rows() -> None:
    engine = ToldEngine(the_line)
    reader = Reader(engine)
    rows = (_column(5, 1, 5, 1), _column(2, 2, 2, 2), _column(9, 3, 9, 4))
    assert reader.read(*rows).clusters.tolist() == [9, 3, 9, 4] and engine.n_asked == 3
    assert reader.read(*rows).clusters.tolist() == [9, 3, 9, 4] and engine.n_asked == 3


def test_rows_that_name_a_cluster_without_a_code_are_not_asked() -> None:
    engine = ToldEngine(the_line, n_clusters=4, capacity=4)
    reading = Reader(engine).read(_column(1, 7, 1, 1), _column(2, 2, 7, 2), _column(3, 3, 3, 7))
    assert reading.has_code.tolist() == [True, False, False, False] and engine.n_asked == 1
    assert reading.clusters.tolist() == [3, -1, -1, -1]


def test_no_row_at_all_asks_nobody() -> None:
    engine = ToldEngine(the_line)
    assert Reader(engine).read(_column(), _column(), _column()).clusters.shape == (0,) and engine.n_asked == 0
