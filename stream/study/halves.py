"""The null of a study: random halves of the users, of the same window and of two.

Two halves of the users in one window agree less than a window agrees with itself, by chance alone: their overlap is
the *floor*. *Half* compares half of the users in one window with the other half in the next, at the same counts. What
half falls short of the floor by is drift; both are free of users who repeat themselves, since no user is on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.study.overlap import Overlaps, compare_windows
from stream.study.windows import half_of_users, users_of
from tidegate.counts import BucketedCounts, SuccessorCounts

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Halves:
    """Two windows, each cut into the same two halves of the users."""

    first: SuccessorCounts
    second: SuccessorCounts

    @classmethod
    def of_window(cls, window: BucketedCounts, is_first: NDArray[np.bool_]) -> Halves:
        """Cut a window by the users' buckets, bool[N_BUCKETS]."""
        return cls(users_of(window, is_first).without_buckets(), users_of(window, ~is_first).without_buckets())


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over random splits of the users.

    Attributes
    ----------
    mean : float
    spread : float      standard deviation over splits
    """

    mean: float
    spread: float

    @classmethod
    def of_splits(cls, values: Sequence[float] | Floats) -> Spread | None:
        """Sum splits up; those without a compared pair (nan) do not count. None where none is left."""
        known = np.asarray(values, np.float64)
        known = known[np.isfinite(known)]
        return cls(float(known.mean()), float(known.std())) if known.size else None


@dataclass(frozen=True, slots=True)
class HalfOverlaps:
    """Overlaps of halves in one split, of all compared windows together."""

    floor: Overlaps
    half: Overlaps


def compare_halves(
    couples: Sequence[tuple[BucketedCounts, BucketedCounts]],
    seed: int,
    split: int,
    min_support: int,
    depths: tuple[int, ...] = (5,),
) -> HalfOverlaps:
    """Compare halves of the users in both windows of each couple, and across them, both ways.

    Parameters
    ----------
    couples : one or more of (window, later window)
    seed, split : decide which users are in which half
    min_support : transitions that a pair needs in both halves that are compared
    """
    is_first = half_of_users(seed, split)
    floor: list[Overlaps] = []
    half: list[Overlaps] = []
    cut: dict[int, Halves] = {}
    for couple in couples:
        now, later = (cut.setdefault(id(each), Halves.of_window(each, is_first)) for each in couple)
        floor += [compare_windows(each.first, each.second, min_support, depths) for each in (now, later)]
        half.append(compare_windows(now.first, later.second, min_support, depths))
        half.append(compare_windows(now.second, later.first, min_support, depths))
    return HalfOverlaps(Overlaps.concatenate(floor), Overlaps.concatenate(half))


def mean_or_nan(values: Floats) -> float:
    """Mean of all values; nan where there is none."""
    return float(values.mean()) if values.size else float("nan")
