"""What a worker of a group has done since it started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stream.events import Outcome
from stream.sequence_kernel import N_STATS


@dataclass(slots=True)
class WorkerFigures:
    """What a worker has done, for metrics; `first_seconds` and `last_seconds` span its first record and last commit."""

    outcomes: dict[str, int] = field(default_factory=dict)
    stats: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_STATS, np.int64))
    n_batches: int = 0
    n_commits: int = 0
    n_fenced: int = 0
    n_takeovers: int = 0
    n_dead_letters: int = 0
    first_seconds: float | None = None
    last_seconds: float = 0.0

    def add(self, outcomes: Mapping[Outcome, int]) -> None:
        """Count records by outcome."""
        for outcome, n in outcomes.items():
            self.outcomes[str(outcome)] = self.outcomes.get(str(outcome), 0) + n
