"""The figures that are known of real logs, found again by the study's own code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from stream.drift.options import DriftOptions
from stream.study.adjacent import compare_adjacent
from stream.study.windows import StudiedLog
from tidegate.cli.log_reading import read_log
from tidegate.cli.stream_settings import sequence_options
from tidegate.cli.watching import Bars
from tidegate.config import load_settings


@dataclass(frozen=True)
class Known:
    """What the logs' own page says: Jaccard of adjacent windows; floor, half and their difference with its spread."""

    log: str
    window: str
    jaccard: float
    floor: float
    half: float
    beyond_noise: float
    spread: float
    drifts: bool


KNOWN = (
    Known("kuairand_pure", "7d", 0.511, 0.497, 0.500, -0.003, 0.007, drifts=False),
    Known("kuairand_pure", "1d", 0.469, 0.452, 0.448, +0.006, 0.005, drifts=False),
    Known("foursquare_nyc", "30d", 0.340, 0.238, 0.239, -0.004, 0.009, drifts=False),
    Known("movietweetings", "30d", 0.166, 0.289, 0.183, +0.100, 0.032, drifts=True),
)


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: f"{known.log} {known.window}")
def test_floor_and_half_of_a_real_log_are_those_that_are_known(real_logs: Path, known: Known) -> None:
    settings = load_settings(
        {
            "source": str(real_logs / known.log / "events.csv.gz"),
            "pane": "1d",
            "window": known.window,
            "gap": "none",
            "dedup": "adjacent",
            "allow_return": True,
        }
    )
    log, _ = read_log(settings, Bars(Console(quiet=True)))
    # The window's own test of drift is not looked at here, and its permutations are what costs time.
    drift = DriftOptions(n_permutations=20, max_permutations=20, table_permutations=100)
    found = compare_adjacent(StudiedLog.of_log(log, sequence_options(settings)), drift, seed=0)
    floor, half, beyond = found.halves.floor, found.halves.half, found.halves.beyond_noise
    assert abs(found.jaccard_mean - known.jaccard) <= 0.012
    for ours, theirs in ((floor, known.floor), (half, known.half), (beyond, known.beyond_noise)):
        assert abs(ours.mean - theirs) <= 2 * np.hypot(ours.spread, known.spread)
    assert (beyond.mean > 2 * beyond.spread) == known.drifts
