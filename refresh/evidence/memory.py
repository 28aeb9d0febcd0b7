"""What is remembered between panes of how far back to look: the stream itself tells, pane by pane.

Each level of the evidence foretells every new pane with every length of the past and several strengths of the prior.
The bits by which they failed, older ones fading, choose what is used until the next pane. That is prequential
validation (Dawid, JRSS A 147, 1984): nothing is scored on what it was fitted to.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

STRENGTHS: NDArray[np.float64] = np.exp2(np.arange(-1, 13, dtype=np.float64))
"""Candidates for the transitions that a prior weighs."""
_LENGTHS_IN_WINDOWS = (1, 2, 4, 8)
_CHOSEN_PRIOR = 0.7  # weight of the chosen length before a group shows otherwise; the others share the rest

Losses = tuple[tuple[float, ...], ...]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Faded losses in bits by level, length and strength; empty before the second pane."""

    popularity: Losses = ()
    clusters: Losses = ()
    pairs: Losses = ()


def memory_lengths(window_panes: int) -> list[int]:
    """Lengths of the past that compete, in panes: from one pane to eight windows.

    Examples
    --------
    >>> memory_lengths(3)
    [1, 2, 3, 6, 12, 24]
    """
    return sorted({1, -(-window_panes // 2), *(n * window_panes for n in _LENGTHS_IN_WINDOWS)})


def faded(losses: Losses, fresh: NDArray[np.float64], half_life_panes: float) -> Losses:
    """Add a pane's losses, float64[k, s], to what is left of the earlier ones."""
    kept = np.array(losses) * 0.5 ** (1.0 / half_life_panes) if losses else np.zeros_like(fresh)
    return tuple(tuple(row) for row in (kept + fresh).tolist())


def choose(losses: Losses) -> tuple[int, float] | None:
    """Index of the length and the strength that failed least; None before anything was foretold.

    Examples
    --------
    >>> choose(((9.0, 8.0), (7.0, 9.0)))
    (1, 0.5)
    """
    table = np.array(losses)
    if not table.any():
        return None
    length, strength = np.unravel_index(int(np.argmin(table)), table.shape)
    return int(length), float(STRENGTHS[strength])


def length_prior(chosen: int, n_lengths: int) -> NDArray[np.float64]:
    """Weight of each length before a group's newest pane has its say: float64[k]."""
    if n_lengths == 1:
        return np.ones(1)
    prior = np.full(n_lengths, (1.0 - _CHOSEN_PRIOR) / (n_lengths - 1))
    prior[chosen] = _CHOSEN_PRIOR
    return prior
