from __future__ import annotations

import numpy as np

from refresh.engines.frequency import FrequencyEngine
from refresh.prompts import RowContexts
from tests.refresh.tiny_world import NAMES

CONTEXTS = RowContexts(
    c1=np.array([0, -1], np.int32),
    c2=np.array([1, 1], np.int32),
    retrieved=np.array([[0, 5, 5, 7], [-1, -1, -1, -1]], np.int32),
    retrieved_share=np.array([[0.4, 0.3, 0.2, 0.1], [0, 0, 0, 0]], np.float32),
)


def test_it_answers_the_line_without_context_and_repetitions() -> None:
    answers = FrequencyEngine(NAMES, n_retrieved=4).infer(CONTEXTS, top_n=3)
    assert answers.clusters.tolist() == [[5, 7, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(answers.probabilities, np.array([[0.3, 0.1, 0], [0, 0, 0]], np.float32))
    assert answers.label_mass.tolist() == [1, 0]


def test_it_reads_no_more_than_the_prompt_names() -> None:
    answers = FrequencyEngine(NAMES, n_retrieved=2).infer(CONTEXTS, top_n=3)
    assert answers.clusters[0].tolist() == [5, -1, -1]


def test_without_shares_probability_is_one_over_rank() -> None:
    contexts = RowContexts(CONTEXTS.c1, CONTEXTS.c2, CONTEXTS.retrieved)
    answers = FrequencyEngine(NAMES, n_retrieved=4).infer(contexts, top_n=2)
    assert answers.probabilities.tolist() == [[1, 0.5], [0, 0]]
