"""Whether the model answers the same with and without a retrieved line, and when it is asked again."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refresh.engines import Engine
from refresh.evidence.plain import plain_rank
from refresh.prompts import RowContexts
from tidegate.counts import SuccessorCounts, unpack_pairs
from tidegate.hashing import mix64_array

Int32s = NDArray[np.int32]
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """A share of rows with its 95 % interval (Wilson, JASA 22, 1927)."""

    share: float
    low: float
    high: float

    @classmethod
    def of(cls, holds: NDArray[np.bool_]) -> Share | None:
        """Count where something holds, bool[n]; None without a row.

        Examples
        --------
        >>> Share.of(np.array([True, False])).share
        0.5
        """
        n = holds.shape[0]
        if not n:
            return None
        share = float(holds.mean())
        middle, scale = share + _Z**2 / (2 * n), 1 + _Z**2 / n
        margin = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
        low = (middle - margin) / scale if holds.any() else 0.0
        return cls(share, low, 1.0 if holds.all() else (middle + margin) / scale)


@dataclass(frozen=True, slots=True)
class Repetition:
    """Outputs of the model on all pairs of one window.

    Attributes
    ----------
    rows : int                         asked
    rows_beyond_codebook : int         not asked, since a cluster of theirs has no code
    same_when_repeated : Share         asked again with the same line, in another order and other batches
    same_when_repeated_alone : Share   the same without a line
    same_with_and_without : Share      equal outputs with and without the retrieved line
    repeats_line : Share               output with the line is the line's cluster
    differs_from_both : Share          output with the line is neither the line's cluster nor the output without it
    """

    rows: int
    rows_beyond_codebook: int
    same_when_repeated: Share | None
    same_when_repeated_alone: Share | None
    same_with_and_without: Share | None
    repeats_line: Share | None
    differs_from_both: Share | None


def repeat_window(engine: Engine, window: SuccessorCounts, seeds: NDArray[np.uint64]) -> Repetition:
    """Ask for every pair of a window with its plain top-1 and without, and for both again.

    Parameters
    ----------
    engine : Engine      itself, not one that remembers
    window : SuccessorCounts
    seeds : uint64[C]
    """
    c1, c2 = unpack_pairs(window.pairs)
    line = plain_rank(window, seeds, 1).clusters[:, 0]
    has_code = np.maximum(np.maximum(c1, c2), line) < engine.prompts.codebook.capacity
    c1, c2, line = c1[has_code], c2[has_code], line[has_code]
    with_line, again = (_ask(engine, c1, c2, line, is_shuffled=each) for each in (False, True))
    alone, alone_again = (_ask(engine, c1, c2, np.full_like(line, -1), is_shuffled=each) for each in (False, True))
    return Repetition(
        rows=c1.shape[0],
        rows_beyond_codebook=int((~has_code).sum()),
        same_when_repeated=Share.of(with_line == again),
        same_when_repeated_alone=Share.of(alone == alone_again),
        same_with_and_without=Share.of(with_line == alone),
        repeats_line=Share.of(with_line == line),
        differs_from_both=Share.of((with_line != line) & (with_line != alone)),
    )


def _ask(engine: Engine, c1: Int32s, c2: Int32s, line: Int32s, *, is_shuffled: bool) -> Int32s:
    """Answer rows in their order, or shuffled and in two calls of unequal size; answers in the order of the rows."""
    n = c1.shape[0]
    order = np.argsort(mix64_array(np.arange(n, dtype=np.uint64))) if is_shuffled else np.arange(n)
    contexts = RowContexts(c1, c2, line[:, None])
    answers = np.empty(n, np.int32)
    for rows in (order[: n // 3], order[n // 3 :]) if is_shuffled else (order,):
        if rows.size:
            answers[rows] = engine.infer(contexts[rows], top_n=1).clusters[:, 0]
    return answers
