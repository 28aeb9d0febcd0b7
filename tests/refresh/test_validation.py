from __future__ import annotations

import numpy as np
import pytest

from refresh.engines import Answers
from refresh.validation import Fault, validate
from tests.refresh.tiny_world import contexts_of


def answers(clusters: list[int], probabilities: list[float]) -> Answers:
    return Answers(np.array([clusters], np.int32), np.array([probabilities], np.float32), np.ones(1, np.float32))


@pytest.mark.parametrize(
    ("clusters", "probabilities", "fault"),
    [
        ([-1, -1], [0, 0], Fault.NO_ANSWER),
        ([10, 3], [0.5, 0.1], Fault.UNKNOWN_CLUSTER),
        ([3, -2], [0.5, 0.1], Fault.UNKNOWN_CLUSTER),
        ([3, 1], [0.5, 0.1], Fault.NOT_NEW),
        ([2, 3], [0.5, 0.1], Fault.NOT_NEW),
        ([3, 3], [0.5, 0.1], Fault.DUPLICATE),
        ([3, -1, 4], [0.5, 0, 0], Fault.GAP),
        ([3, 4], [0.1, 0.5], Fault.PROBABILITY),
        ([3, 4], [float("nan"), 0.5], Fault.PROBABILITY),
        ([3, 4], [1.5, 0.5], Fault.PROBABILITY),
        ([3, 4], [0.5, -0.1], Fault.PROBABILITY),
    ],
)
def test_each_fault_is_found_and_named(clusters: list[int], probabilities: list[float], fault: Fault) -> None:
    checked = validate(answers(clusters, probabilities), contexts_of([(1, 2, 3)]), n_clusters=10)
    assert checked.valid.tolist() == [False]
    assert checked.faults == {fault: 1}


@pytest.mark.parametrize("clusters", [[3, 4], [3, -1], [9, 0]])
def test_sound_answers_pass(clusters: list[int]) -> None:
    checked = validate(answers(clusters, [0.5, 0.5]), contexts_of([(1, 2, 3)]), n_clusters=10)
    assert checked.valid.all()
    assert not checked.faults


def test_a_backoff_row_without_c1_may_end_early() -> None:
    checked = validate(answers([3, -1], [0.5, 0]), contexts_of([(-1, 2, 3)]), n_clusters=10)
    assert checked.valid.all()


def test_a_row_with_two_faults_is_counted_once() -> None:
    checked = validate(answers([99, 99], [0.1, 0.5]), contexts_of([(1, 2, 3)]), n_clusters=10)
    assert checked.faults == {Fault.UNKNOWN_CLUSTER: 1}
