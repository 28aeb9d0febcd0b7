"""An engine that keeps account of what it is asked, and fails or waits on demand."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from refresh.engines import Answers, Engine, Usage, open_engine
from refresh.prompts import PromptBuilder, RowContexts
from refresh.row_key import row_keys
from tests.refresh.tiny_world import N_CLUSTERS, NAMES


class CountingEngine:
    """The frequency engine with usage, and a note of each row that it is asked for.

    Parameters
    ----------
    before : called before each answer with the number of calls so far
    """

    name = "counting"

    def __init__(
        self, before: Callable[[int], None] = lambda _: None, *, engine: Engine | None = None, fingerprint: str = "1"
    ) -> None:
        self._engine = engine or open_engine("frequency", NAMES)
        self._before, self.fingerprint = before, fingerprint
        self._lock = threading.Lock()
        self.asked: Counter[tuple[int, int]] = Counter()
        self.n_calls = 0

    @property
    def prompts(self) -> PromptBuilder:
        return self._engine.prompts

    def grow(self, names: Sequence[str]) -> None:
        self._engine.grow(names)

    def infer(self, contexts: RowContexts, *, top_n: int, on_progress: Callable[[int], None] | None = None) -> Answers:
        with self._lock:
            n_before, self.n_calls = self.n_calls, self.n_calls + 1
        self._before(n_before)
        with self._lock:
            self.asked.update(zip(contexts.c1.tolist(), contexts.c2.tolist(), strict=True))
        answers = self._engine.infer(contexts, top_n=top_n, on_progress=on_progress)
        usage = Usage(len(contexts), 10 * len(contexts), 7 * len(contexts), len(contexts))
        return Answers(answers.clusters, answers.probabilities, answers.label_mass, usage)


def all_pairs(n_clusters: int = N_CLUSTERS, seed: int = 3) -> RowContexts:
    """Every pair once, shuffled, each with a retrieved line of its own: 380 rows."""
    c1, c2 = np.divmod(np.arange(n_clusters * n_clusters), n_clusters)
    keep = c1 != c2
    c1, c2 = c1[keep].astype(np.int32), c2[keep].astype(np.int32)
    order = np.random.default_rng(seed).permutation(c1.shape[0])
    c1, c2 = c1[order], c2[order]
    return RowContexts(c1, c2, ((c1 + c2 + 5) % n_clusters).astype(np.int32)[:, None])


def keys_of(engine: Engine, contexts: RowContexts) -> np.ndarray:
    return row_keys(contexts, engine.prompts, engine.fingerprint)
