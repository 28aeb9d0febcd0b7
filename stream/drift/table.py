"""The masks that exchange users, and the whole table's shift under them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.drift.evidence import mix_each

MAX_BUCKETS = 64  # one bit of a mask each
_ENOUGH_REACHED = 100  # of the first 2,048 exchanges: then the p-value is above 0.04, and known to a tenth of itself
_STEP = 1 << 14
_ROUNDING = 1e-9  # relative; sums that differ by less are ties


def permutation_masks(seed: int, first: int, n: int) -> NDArray[np.uint64]:
    """Masks `first` to ``first + n - 1`` of a run: uint64[n]."""
    return mix_each(np.arange(first, first + n, dtype=np.uint64), np.uint64(seed % (1 << 64)))


def signs_of_masks(masks: NDArray[np.uint64], n_buckets: int) -> NDArray[np.int8]:
    """-1 where a mask swaps a bucket, else 1: int8[n_buckets, n]."""
    bits = (masks[None, :] >> np.arange(n_buckets, dtype=np.uint64)[:, None]) & np.uint64(1)
    return np.where(bits == 1, -1, 1).astype(np.int8)


class TableShift(NamedTuple):
    """How far the sum over all pairs lies above its permutation distribution."""

    z: float | None
    p_value: float


def table_shift(form: NDArray[np.float64], seed: int, n_permutations: int) -> TableShift:
    """Judge the whole table by its quadratic form, with masks of its own.

    Mean and variance over all masks are exact (the trace; twice the squares off the diagonal). The tail is counted, not
    fitted: where few heavy users fill few buckets, the distribution is far from normal. Counting stops where enough
    exchanges have reached the table's sum to know its p-value well, far from any alarm (Besag and Clifford 1991).

    Parameters
    ----------
    form : float64[buckets, buckets]
    n_permutations : int                 at most; also the finest p-value: ``1 / (n + 1)``
    """
    off_diagonal = form - np.diag(np.diag(form))
    deviation = float(np.sqrt(2.0 * np.square(off_diagonal).sum()))
    observed = float(off_diagonal.sum())
    if deviation <= _ROUNDING * (1.0 + float(np.abs(form).sum())):
        return TableShift(None, 1.0)
    n_reached, n_done, first_step = 1, 0, 1 << 11
    while n_done < n_permutations and n_reached <= _ENOUGH_REACHED:
        n = min(first_step if not n_done else _STEP, n_permutations - n_done)
        signs = _table_signs(seed ^ 0x7AB1E, n_done, n, form.shape[0]).astype(np.float64)
        sums = ((off_diagonal @ signs) * signs).sum(axis=0)
        n_reached += int((sums >= observed - _ROUNDING * deviation).sum())
        n_done += n
    return TableShift(observed / deviation, n_reached / (n_done + 1))


@lru_cache(maxsize=16)
def _table_signs(seed: int, first: int, n: int, n_buckets: int) -> NDArray[np.int8]:
    """Signs of the table's masks, the same for every window of a run: int8[n_buckets, n]."""
    return signs_of_masks(permutation_masks(seed, first, n), n_buckets)
