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
    is_serving : bool           False before the first table: transitions are counted but not scored
    """

    index_keys: NDArray[np.uint64]
    index_slots: NDArray[np.int64]
    answers: NDArray[np.int32]
    backoff: NDArray[np.int32]
    is_serving: bool


def no_predictions() -> Predictions:
    """Nothing serves yet."""
    return _index(np.zeros(0, np.int64), np.zeros(0, np.int32), np.full((0, 1), NO_ANSWER, np.int32), is_serving=False)


def index_predictions(pairs: NDArray[np.int64], answers: NDArray[np.int32], backoff: NDArray[np.int32]) -> Predictions:
    """Index the rows of a serving table. `O(r)`.

    Parameters
    ----------
    pairs : int64[r]       distinct pair keys
    answers : int32[r]     top-1 cluster of each
    backoff : int32[C, k]  ranked answers of each c2
    """
    return _index(pairs, answers, backoff, is_serving=True)


def _index(
    pairs: NDArray[np.int64], answers: NDArray[np.int32], backoff: NDArray[np.int32], *, is_serving: bool
) -> Predictions:
    index = KeyIndex(max(16, pairs.shape[0]))
    index.slots(pairs.astype(np.uint64))
    return Predictions(
        index.table_keys,
        index.table_slots,
        np.ascontiguousarray(answers, dtype=np.int32),
        np.ascontiguousarray(backoff, dtype=np.int32),
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
