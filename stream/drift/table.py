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
_PIECE = 6  # bits of a mask that are looked up together: a table of two pieces lies in the nearest cache
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
    parts, n_pieces = _parts_of(off_diagonal), -(-form.shape[0] // _PIECE)
    n_reached, n_done, first_step = 1, 0, 1 << 11
    while n_done < n_permutations and n_reached <= _ENOUGH_REACHED:
        n = min(first_step if not n_done else _STEP, n_permutations - n_done)
        sums = _sums_under(parts, _table_pieces(seed ^ 0x7AB1E, n_done, n, n_pieces))
        n_reached += int((sums >= observed - _ROUNDING * deviation).sum())
        n_done += n
    return TableShift(observed / deviation, n_reached / (n_done + 1))


def _parts_of(form: NDArray[np.float64]) -> list[tuple[int, int, NDArray[np.float64]]]:
    """Split a form by pieces of a mask: two pieces, and what their buckets add to the sum for all that they may be.

    A sum is then a look-up for each two pieces, a tenth of the work of the product with its signs.
    """
    n_pieces = -(-form.shape[0] // _PIECE)
    whole = np.zeros((n_pieces * _PIECE,) * 2)
    whole[: form.shape[0], : form.shape[0]] = form
    blocks = whole.reshape(n_pieces, _PIECE, n_pieces, _PIECE).transpose(0, 2, 1, 3)
    signs = signs_of_masks(np.arange(1 << _PIECE, dtype=np.uint64), _PIECE).astype(np.float64)
    return [
        (a, b, (signs.T @ (blocks[a, b] + blocks[b, a].T if a < b else blocks[a, a]) @ signs).ravel())
        for a in range(n_pieces)
        for b in range(a, n_pieces)
    ]


def _sums_under(parts: list[tuple[int, int, NDArray[np.float64]]], pieces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the form under each mask, float64[n]. `O(pieces^2 x n)`."""
    sums = np.zeros(pieces.shape[1])
    for a, b, part in parts:
        sums += part.take((pieces[a] << _PIECE) | pieces[b])
    return sums


@lru_cache(maxsize=16)
def _table_pieces(seed: int, first: int, n: int, n_pieces: int) -> NDArray[np.int64]:
    """Pieces of the table's masks, the same for every window of a run: int64[n_pieces, n]."""
    shifts = np.arange(n_pieces, dtype=np.uint64)[:, None] * np.uint64(_PIECE)
    return ((permutation_masks(seed, first, n)[None, :] >> shifts) & np.uint64((1 << _PIECE) - 1)).astype(np.int64)
