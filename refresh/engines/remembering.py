"""An engine that answers equal rows once: several policies over one log ask much the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from refresh.engines.contract import Answers, Engine
from refresh.prompts import PromptBuilder, RowContexts
from refresh.row_cache import RowCache
from refresh.row_key import row_keys


class RememberingEngine:
    """Passes on only rows that nobody has asked before. What counts as a call is not its matter.

    Parameters
    ----------
    engine : Engine
    top_n : int        ranks that are asked for, always the same
    """

    def __init__(self, engine: Engine, top_n: int) -> None:
        self._engine, self._known = engine, RowCache(None, top_n)
        self.name, self.fingerprint = engine.name, engine.fingerprint

    @property
    def prompts(self) -> PromptBuilder:
        """How rows are asked."""
        return self._engine.prompts

    def grow(self, names: Sequence[str]) -> None:
        """Take the catalogue as it is now."""
        self._engine.grow(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        """Answer from memory where it can be."""
        keys = row_keys(contexts, self.prompts, self.fingerprint)
        known = self._known.find(keys, 1)
        asked = np.flatnonzero(~known.is_known)
        clusters, probabilities = known.clusters.copy(), known.probabilities.copy()
        if asked.size:
            answers = self._engine.infer(contexts[asked], top_n=top_n, on_progress=on_progress)
            clusters[asked], probabilities[asked] = answers.clusters, answers.probabilities
            distinct = np.unique(keys[asked], axis=0, return_index=True)[1]
            self._known.keep(keys[asked][distinct], 0, answers.clusters[distinct], answers.probabilities[distinct])
        label_mass = np.asarray((clusters >= 0).any(axis=1), np.float32)
        return Answers(clusters, probabilities, label_mass)
