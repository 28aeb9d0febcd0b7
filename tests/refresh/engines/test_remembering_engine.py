"""An engine that answers equal rows once answers them as the engine behind it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refresh.engines import Answers, Engine, open_engine
from refresh.engines.remembering import RememberingEngine
from refresh.prompts import PromptBuilder, RowContexts
from tests.refresh.tiny_world import NAMES, contexts_of, random_contexts
from tidegate.errors import EngineError

TOP_N = 3


class Counting:
    """The frequency engine, with a note of the rows that reach it."""

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self._engine: Engine = open_engine("frequency", names)
        self.name, self.fingerprint = self._engine.name, self._engine.fingerprint
        self.asked: list[tuple[int, int, int]] = []
        self.fails = False

    @property
    def prompts(self) -> PromptBuilder:
        return self._engine.prompts

    def grow(self, names: Sequence[str]) -> None:
        self._engine.grow(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        if self.fails:
            raise EngineError("no answer", "Start it")
        self.asked += list(
            zip(contexts.c1.tolist(), contexts.c2.tolist(), contexts.retrieved[:, 0].tolist(), strict=True)
        )
        return self._engine.infer(contexts, top_n=top_n, on_progress=on_progress)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 29), max_size=12), max_size=5))
def test_batches_are_answered_as_by_the_engine_behind_it(batches: list[list[int]]):
    rows, counting = random_contexts(30), Counting()
    engine = RememberingEngine(counting, TOP_N)
    for batch in batches:
        contexts = rows[np.array(batch, np.int64)]
        found, expected = engine.infer(contexts, top_n=TOP_N), Counting().infer(contexts, top_n=TOP_N)
        assert found.clusters.tolist() == expected.clusters.tolist()
        assert found.probabilities.tolist() == expected.probabilities.tolist()
        assert (found.label_mass > 0).tolist() == (expected.label_mass > 0).tolist()
        assert (found.clusters.dtype, found.probabilities.dtype) == (np.int32, np.float32)
    assert len(counting.asked) == sum(len(batch) for batch in batches) - _known_before(batches)


def _known_before(batches: list[list[int]]) -> int:
    """Rows that an earlier batch asked."""
    seen: set[int] = set()
    known = 0
    for batch in batches:
        known += sum(row in seen for row in batch)
        seen |= set(batch)
    return known


def test_a_row_with_another_line_is_another_row():
    counting = Counting()
    engine = RememberingEngine(counting, TOP_N)
    for line in (2, 3, 2, 3):
        assert engine.infer(contexts_of([(0, 1, line)]), top_n=TOP_N).clusters[0, 0] == line
    assert counting.asked == [(0, 1, 2), (0, 1, 3)]


def test_no_rows_ask_nothing():
    counting = Counting()
    answers = RememberingEngine(counting, TOP_N).infer(contexts_of([]), top_n=TOP_N)
    assert answers.clusters.shape == (0, TOP_N)
    assert counting.asked == []


def test_it_grows_with_the_engine_behind_it_and_keeps_what_it_knows():
    counting = Counting(NAMES[:5])
    engine = RememberingEngine(counting, TOP_N)
    engine.infer(contexts_of([(0, 1, 2)]), top_n=TOP_N)
    engine.grow(NAMES)
    assert engine.prompts.codebook.names == tuple(NAMES)
    assert engine.infer(contexts_of([(0, 1, 2), (0, 1, 9)]), top_n=TOP_N).clusters[:, 0].tolist() == [2, 9]
    assert counting.asked == [(0, 1, 2), (0, 1, 9)]


def test_a_failure_is_passed_on_and_remembered_by_nobody():
    counting = Counting()
    engine = RememberingEngine(counting, TOP_N)
    counting.fails = True
    with pytest.raises(EngineError, match="no answer"):
        engine.infer(contexts_of([(0, 1, 2)]), top_n=TOP_N)
    counting.fails = False
    assert engine.infer(contexts_of([(0, 1, 2)]), top_n=TOP_N).clusters[0, 0] == 2
