"""Hit rates of a mapping that is held or exchanged on a schedule, pane by pane, scored as production scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.predictions import Predictions, no_predictions
from stream.sequence_kernel import ANSWERED, HIT_MICROBITS, HITS_NEXT, HITS_SEQUENCE, SCORED
from stream.sequences import SequenceState
from stream.study.windows import StudiedLog
from tidegate.clock import iso_utc

Exchange = Callable[[int], Predictions | None]
"""Says what serves after a pane (by its index); None leaves what serves."""


@dataclass(frozen=True, slots=True)
class PaneScore:
    """What a mapping scored in one pane."""

    pane_end: str
    scored: int
    answered: int
    hits_next: int
    hits_sequence: int
    hit_bits: float


@dataclass(frozen=True, slots=True)
class Trajectory:
    """What a mapping scored on everything after the first window; rates are None where nothing was scored.

    Attributes
    ----------
    scored : int
    hit_rate_next, hit_rate_sequence, hit_information_bits, coverage
    exchanges : int      how often another mapping came to serve, the first one left out
    by_pane : list of PaneScore
    """

    scored: int
    hit_rate_next: float | None
    hit_rate_sequence: float | None
    hit_information_bits: float | None
    coverage: float | None
    exchanges: int
    by_pane: list[PaneScore]


def follow_mapping(studied: StudiedLog, exchange: Exchange) -> Trajectory:
    """Go over the log with the mappings that `exchange` hands out from the end of the first window on."""
    state, predictions, n_exchanges = SequenceState(studied.sequences), no_predictions(), -1
    first = studied.last_pane_of(0)
    for at, (_, watches) in enumerate(studied.log.panes()):
        state.extend(watches.users, watches.clusters, watches.times_ms, predictions)
        if first <= at < studied.log.n_panes - 1:
            fresh = exchange(at)
            n_exchanges += fresh is not None
            predictions = predictions if fresh is None else fresh
    panes = range(first + 1, studied.log.n_panes)
    figures = {at: state.stats.of_pane(studied.log.first_pane + at) for at in panes}
    total = np.sum([*figures.values()], axis=0) if figures else state.stats.of_pane(-1)
    return Trajectory(
        scored=int(total[SCORED]),
        hit_rate_next=_rate(total, HITS_NEXT),
        hit_rate_sequence=_rate(total, HITS_SEQUENCE),
        hit_information_bits=_rate(total, HIT_MICROBITS, 1e6),
        coverage=_rate(total, ANSWERED),
        exchanges=n_exchanges,
        by_pane=[_score(studied.end_ms(at), each) for at, each in figures.items()],
    )


def _rate(figures: NDArray[np.int64], column: int, unit: float = 1.0) -> float | None:
    return float(figures[column] / unit / figures[SCORED]) if figures[SCORED] else None


def _score(end_ms: int, figures: NDArray[np.int64]) -> PaneScore:
    return PaneScore(
        pane_end=iso_utc(end_ms),
        scored=int(figures[SCORED]),
        answered=int(figures[ANSWERED]),
        hits_next=int(figures[HITS_NEXT]),
        hits_sequence=int(figures[HITS_SEQUENCE]),
        hit_bits=float(figures[HIT_MICROBITS] / 1e6),
    )
