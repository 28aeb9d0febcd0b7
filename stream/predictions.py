"""What the serving table answers, in the form that the sequencing kernel asks it.

The transition table itself lives in another room; this is the view of it that hit rates are scored with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tidegate.hashing import KeyIndex, find_slot
from tidegate.jit import kernel

NO_ANSWER = -1


class Predictions(NamedTuple):
    """Top answers of one table version (a named tuple, so that kernels take it whole).

    Attributes
    ----------
    index_keys : uint64[m]      open-addressing cells of the pair keys
    index_slots : int64[m]
    answers : int32[r]          top-1 cluster by slot
    backoff : int32[C, k]       ranked answers by c2, -1 where there is none
    microbits : int64[m]        information of a hit on each cluster in millionths of a bit; the last entry stands
                                for all clusters beyond
    is_serving : bool           False before the first table: transitions are counted but not scored
    """

    index_keys: NDArray[np.uint64]
    index_slots: NDArray[np.int64]
    answers: NDArray[np.int32]
    backoff: NDArray[np.int32]
    microbits: NDArray[np.int64]
    is_serving: bool


def no_predictions() -> Predictions:
    """Nothing serves yet."""
    none = np.zeros(0, np.int64)
    no_backoff = np.full((0, 1), NO_ANSWER, np.int32)
    return _index(none, none.astype(np.int32), no_backoff, np.zeros(1, np.int64), is_serving=False)


def index_predictions(
    pairs: NDArray[np.int64],
    answers: NDArray[np.int32],
    backoff: NDArray[np.int32],
    microbits: NDArray[np.int64],
) -> Predictions:
    """Index the rows of a serving table. `O(r)`.

    Parameters
    ----------
    pairs : int64[r]       distinct pair keys
    answers : int32[r]     top-1 cluster of each
    backoff : int32[C, k]  ranked answers of each c2
    microbits : int64[m]   see `hit_microbits`
    """
    return _index(pairs, answers, backoff, microbits, is_serving=True)


def hit_microbits(successor_totals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Information of a hit: ``-log2`` of the cluster's add-half smoothed share among the first window's successors.

    Always predicting the most popular cluster scores a high hit rate and little information.

    Parameters
    ----------
    successor_totals : int64[C]    how often each cluster was the successor

    Returns
    -------
    int64[C + 1]                   millionths of a bit; the last entry stands for clusters not yet known then

    Examples
    --------
    >>> (hit_microbits(np.array([3, 0])) / 1e6).round(3).tolist()
    [0.193, 3.0, 3.0]
    """
    smoothed = np.r_[successor_totals, 0] + 0.5
    total = successor_totals.sum() + 0.5 * successor_totals.shape[0]
    microbits: NDArray[np.int64] = np.rint(-np.log2(smoothed / total) * 1e6).astype(np.int64)
    return microbits


def _index(
    pairs: NDArray[np.int64],
    answers: NDArray[np.int32],
    backoff: NDArray[np.int32],
    microbits: NDArray[np.int64],
    *,
    is_serving: bool,
) -> Predictions:
    index = KeyIndex(max(16, pairs.shape[0]))
    index.slots(pairs.astype(np.uint64))
    return Predictions(
        index.table_keys,
        index.table_slots,
        np.ascontiguousarray(answers, dtype=np.int32),
        np.ascontiguousarray(backoff, dtype=np.int32),
        microbits,
        is_serving,
    )


@kernel
def predict_one(c1: int, c2: int, predictions: Predictions) -> int:
    """Answer one pair: its own row, else the best answer of its `c2` that is not c1, else -1. `O(1)` expected."""
    slot = find_slot(np.uint64((np.int64(c1) << 16) | np.int64(c2)), predictions.index_keys, predictions.index_slots)
    if slot >= 0:
        return int(predictions.answers[slot])
    if c2 < predictions.backoff.shape[0]:
        for rank in range(predictions.backoff.shape[1]):
            candidate = predictions.backoff[c2, rank]
            if candidate not in (c1, c2):
                return int(candidate)
    return NO_ANSWER
