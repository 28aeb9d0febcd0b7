"""The frequency engine: answers what was retrieved. It costs nothing, and every model has to beat it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from refresh.codebook import Codebook
from refresh.engines.contract import Answers
from refresh.prompts import PromptBuilder, RowContexts, Template
from tidegate.counts import MAX_CLUSTERS


class FrequencyEngine:
    """Answers the retrieved line, best first.

    Probabilities are the retrieved shares (1 / rank where contexts carry none). Shares are no part of the prompt, so
    a row whose key is unchanged keeps those it was inferred with.

    Parameters
    ----------
    names : the catalogue's clusters by id
    n_retrieved : clusters of the retrieved line that are read

    Examples
    --------
    >>> one = np.array([1], np.int32)
    >>> contexts = RowContexts(one * 0, one, np.array([[2]], np.int32))
    >>> FrequencyEngine(["cooking", "chess", "jazz"]).infer(contexts, top_n=1).clusters.tolist()
    [[2]]
    """

    name = "frequency"
    fingerprint = "frequency.v1"

    def __init__(self, names: Sequence[str], *, n_retrieved: int = 1) -> None:
        # There is no vocabulary to run out of: all codes there can be, in one level however many clusters there are.
        self._prompts = PromptBuilder(Template.packaged(), Codebook(tuple(names), MAX_CLUSTERS), n_retrieved)

    @property
    def prompts(self) -> PromptBuilder:
        """How rows are asked."""
        return self._prompts

    def grow(self, names: Sequence[str]) -> None:
        """Take the catalogue as it is now."""
        self._prompts = self._prompts.grown(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        """Answer with what was retrieved, without c1, c2 and repetitions. `O(n k²)`."""
        lines = contexts.columns(self._prompts.n_retrieved)[:, 2:]
        usable = _usable(lines, contexts)
        order = np.argsort(~usable, axis=1, kind="stable")[:, :top_n]
        usable = np.take_along_axis(usable, order, axis=1)
        ranked = np.where(usable, np.take_along_axis(lines, order, axis=1), -1)
        probabilities = np.where(usable, _shares(contexts, order), 0)
        padding = ((0, 0), (0, top_n - order.shape[1]))
        if on_progress is not None:
            on_progress(len(contexts))
        return Answers(
            clusters=np.pad(ranked, padding, constant_values=-1).astype(np.int32),
            probabilities=np.pad(probabilities, padding).astype(np.float32),
            label_mass=np.where(usable.any(axis=1), np.float32(1), np.float32(0)),
        )


def _usable(lines: NDArray[np.int32], contexts: RowContexts) -> NDArray[np.bool_]:
    usable: NDArray[np.bool_] = (lines >= 0) & (lines != contexts.c1[:, None]) & (lines != contexts.c2[:, None])
    for rank in range(1, lines.shape[1]):
        usable[:, rank] &= ~(lines[:, :rank] == lines[:, rank, None]).any(axis=1)
    return usable


def _shares(contexts: RowContexts, order: NDArray[np.int64]) -> NDArray[np.float32]:
    if contexts.retrieved_share is None or not contexts.retrieved_share.shape[1]:
        return np.broadcast_to((1 / (1 + np.arange(order.shape[1]))).astype(np.float32), order.shape)
    last = contexts.retrieved_share.shape[1] - 1  # ranks beyond it are not usable: any share will do
    return np.take_along_axis(contexts.retrieved_share, np.minimum(order, last), axis=1)
