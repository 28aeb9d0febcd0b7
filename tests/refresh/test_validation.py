from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refresh.engines import Answers
from refresh.validation import Fault, validate
from tests.refresh.tiny_world import contexts_of
from tidegate.errors import EngineError


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
        ([3, -1], [0.5, float("nan")], Fault.PROBABILITY),
        ([3, -1], [0.5, 0.1], Fault.PROBABILITY),
    ],
)
def test_each_fault_is_found_and_named(clusters: list[int], probabilities: list[float], fault: Fault) -> None:
    checked = validate(answers(clusters, probabilities), contexts_of([(1, 2, 3)]), n_clusters=10)
    assert checked.valid.tolist() == [False]
    assert checked.faults == {fault: 1}


@pytest.mark.parametrize("clusters", [[3, 4], [3, -1], [9, 0]])
def test_sound_answers_pass(clusters: list[int]) -> None:
    checked = validate(answers(clusters, [0.5, 0.5 * (clusters[1] >= 0)]), contexts_of([(1, 2, 3)]), n_clusters=10)
    assert checked.valid.all()
    assert not checked.faults


def test_a_backoff_row_without_c1_may_end_early() -> None:
    checked = validate(answers([3, -1], [0.5, 0]), contexts_of([(-1, 2, 3)]), n_clusters=10)
    assert checked.valid.all()


def test_a_row_with_two_faults_is_counted_once() -> None:
    checked = validate(answers([99, 99], [0.1, 0.5]), contexts_of([(1, 2, 3)]), n_clusters=10)
    assert checked.faults == {Fault.UNKNOWN_CLUSTER: 1}


@pytest.mark.parametrize("mass", [-0.1, 1.1, float("inf")])
def test_a_mass_that_is_none_is_a_fault_and_one_that_nobody_told_is_not(mass: float) -> None:
    for each, faults in ((mass, {Fault.LABEL_MASS: 1}), (float("nan"), {}), (1.0000001, {})):
        told = replace(answers([3, 4], [0.5, 0.1]), label_mass=np.array([each], np.float32))
        assert validate(told, contexts_of([(1, 2, 3)]), n_clusters=10).faults == faults


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"clusters": np.zeros((2, 2), np.int32)}, r"clusters of the answers are int32\[2, 2\], required are integer"),
        ({"clusters": np.zeros((1, 3), np.int32)}, r"int32\[1, 3\], required are integer \[1, 2\]"),
        ({"clusters": np.zeros(1, np.int32)}, r"int32\[1\]"),
        ({"clusters": np.array(3)}, r"int64\[\]"),
        ({"clusters": np.zeros((1, 2), np.float32)}, r"clusters of the answers are float32"),
        ({"clusters": np.array([["jazz", "rock"]])}, r"clusters of the answers are <U4"),
        ({"probabilities": np.zeros((1, 1), np.float32)}, r"probabilities of the answers are float32\[1, 1\]"),
        ({"probabilities": np.array([["1", None]], object)}, r"probabilities of the answers are object"),
        ({"label_mass": np.zeros((1, 1), np.float32)}, r"label_mass of the answers are float32\[1, 1\]"),
    ],
)
def test_answers_of_another_shape_or_kind_are_refused_as_a_whole(wrong: dict[str, Any], found: str) -> None:
    broken = replace(answers([3, 4], [0.5, 0.1]), **wrong)
    with pytest.raises(EngineError, match=found) as refused:
        validate(broken, contexts_of([(1, 2, 3)]), n_clusters=10, top_n=2)
    assert "--engine" in refused.value.mend
