"""How drift is measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stream.drift.table import MAX_BUCKETS
from tidegate.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DriftOptions:
    """How drift is measured.

    Attributes
    ----------
    top_k : int              successors compared by Jaccard
    min_support : int        transitions a pair needs on both sides
    n_permutations : int     exchanges of users behind every p-value
    max_permutations : int   exchanges for pairs whose p-value is too small to tell from the former
    fdr : float              false discovery rate of the flagged pairs
    alarm_p : float          permutation p-value of the whole table at which the window alarms
    front_p : float          that of the newest pane alone (`stream.drift.front`)
    table_permutations : int exchanges behind that p-value (they cost some dozens of look-ups each)
    n_buckets : int          user buckets, 64 at most
    seed : int

    Raises
    ------
    ConfigError
        A number is out of its range.
    """

    top_k: int = 5
    min_support: int = 20
    n_permutations: int = 200
    max_permutations: int = 20_000
    fdr: float = 0.10
    alarm_p: float = 1e-4
    front_p: float = 2e-4
    table_permutations: int = 100_000
    n_buckets: int = MAX_BUCKETS
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "top_k": (1, 32),
            "min_support": (1, np.inf),
            "n_permutations": (20, np.inf),
            "max_permutations": (self.n_permutations, np.inf),
            "fdr": (0.0, 1.0),
            "alarm_p": (0.0, 1.0),
            "front_p": (0.0, 1.0),
            "table_permutations": (1, np.inf),
            "n_buckets": (2, MAX_BUCKETS),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{value} is not within {low} and {high}", "Choose a value in that range", place=name)
