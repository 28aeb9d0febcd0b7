"""Engines that answer as told, to see what a study makes of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from refresh.codebook import Codebook
from refresh.engines import Answers
from refresh.prompts import PromptBuilder, RowContexts, Template

Answer = Callable[[RowContexts], NDArray[np.int32]]


class ToldEngine:
    """Answers with what `answer` says, surely; counts the rows that it was asked."""

    name = "told"
    fingerprint = "told.v1"

    def __init__(self, answer: Answer, n_clusters: int = 20, capacity: int = 64) -> None:
        self._answer, self.n_asked = answer, 0
        names = [f"interest {i}" for i in range(n_clusters)]
        self._prompts = PromptBuilder(Template.packaged(), Codebook.of(names[:capacity], capacity))

    @property
    def prompts(self) -> PromptBuilder:
        return self._prompts

    def grow(self, names: Sequence[str]) -> None:
        self._prompts = self._prompts.grown(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: object = None) -> Answers:
        self.n_asked += len(contexts)
        clusters = np.full((len(contexts), top_n), -1, np.int32)
        clusters[:, 0] = self._answer(contexts)
        probabilities = np.zeros((len(contexts), top_n), np.float32)
        probabilities[:, 0] = 1.0
        return Answers(clusters, probabilities, np.ones(len(contexts), np.float32))


def the_line(contexts: RowContexts) -> NDArray[np.int32]:
    return contexts.retrieved[:, 0]


def always(cluster: int) -> Answer:
    return lambda contexts: np.full(len(contexts), cluster, np.int32)
