"""Randomness of synthetic worlds: seeded generators, and draws that a user always repeats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tidegate.hashing import mix64
from tidegate.jit import kernel

Floats = NDArray[np.float64]

WORLD_STREAM, DAY_STREAM = 0, 1
_TO_UNIT = 2.0**-53


def generator(seed: int, stream: int, part: int = 0) -> np.random.Generator:
    """Give a generator of its own to each part of each stream, so that any day can be made without those before it."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, stream, part])))


def zipf_cdf(n: int, exponent: float = 1.0) -> Floats:
    """Cumulative Zipf weights of n ranks, float64[n], ending at 1.

    Examples
    --------
    >>> zipf_cdf(3).round(3).tolist()
    [0.545, 0.818, 1.0]
    """
    weights = 1.0 / np.arange(1, n + 1) ** exponent
    return np.asarray(np.cumsum(weights) / weights.sum())


def pick(cdf: Floats, uniforms: Floats) -> NDArray[np.int64]:
    """Draw indices from a cumulative distribution by uniforms in [0, 1), int64 of their shape."""
    return np.asarray(np.minimum(np.searchsorted(cdf, uniforms, side="right"), cdf.shape[0] - 1))


@kernel
def repeated_draws(users: NDArray[np.int64], pairs: NDArray[np.int64], seed: int) -> Floats:
    """Uniforms in [0, 1) that follow from user and pair alone. `O(n)`, allocates the result.

    Over users they are independent and uniform: habits do not move what all users together do.

    Parameters
    ----------
    users, pairs : int64[n]

    Returns
    -------
    float64[n]
    """
    out = np.empty(users.shape[0], np.float64)
    for i in range(users.shape[0]):
        key = mix64(mix64(np.uint64(seed)) ^ np.uint64(users[i])) ^ np.uint64(pairs[i])
        out[i] = np.float64(mix64(key) >> np.uint64(11)) * _TO_UNIT
    return out
