"""How long the first window's top-k successors hold (the paper's figure 3b), beside what no drift would show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.study.halves import HalfOverlaps, compare_halves
from stream.study.overlap import compare_windows
from stream.study.windows import StudiedLog
from tidegate.clock import iso_utc

DEPTHS = tuple(range(1, 11))
N_SPLITS = 8  # each compares ten depths in every window; more would not show in the drawing


@dataclass(frozen=True, slots=True)
class Held:
    """How much of the first window's top k another window shows, by k = 1 to 10; None without a compared pair.

    Attributes
    ----------
    exact : share of pairs whose ordered top k are equal
    jaccard : of the top-k sets, mean over pairs
    pairs : compared (on average, over splits)
    """

    exact: list[float] | None
    jaccard: list[float] | None
    pairs: float


@dataclass(frozen=True, slots=True)
class WindowHeld:
    """One later window against the first.

    Attributes
    ----------
    all_users : Held     as the paper compares them
    floor : Held         half of the users against the other half in the same window (of both windows, together)
    half : Held          half of the users then against the other half now: below the floor where interests moved
    beyond_noise : floor less half of the exact shares, by k
    beyond_noise_spread : its standard deviation over splits, by k
    """

    window_end: str
    all_users: Held
    floor: Held
    half: Held
    beyond_noise: list[float] | None
    beyond_noise_spread: list[float] | None


@dataclass(frozen=True, slots=True)
class Persistence:
    """The first window's top k against those of every later window.

    Attributes
    ----------
    depths : list of int     the k
    splits : int
    windows : list of WindowHeld
    """

    depths: list[int]
    splits: int
    windows: list[WindowHeld]


def follow_first_window(studied: StudiedLog, min_support: int, seed: int) -> Persistence:
    """Compare the first window with every later one, over pairs with `min_support` transitions on both sides."""
    return Persistence(
        depths=list(DEPTHS),
        splits=N_SPLITS,
        windows=[_compare(studied, number, min_support, seed) for number in range(1, len(studied.windows))],
    )


def _compare(studied: StudiedLog, number: int, min_support: int, seed: int) -> WindowHeld:
    first, later = studied.windows[0], studied.windows[number]
    alike = compare_windows(first.without_buckets(), later.without_buckets(), min_support, DEPTHS)
    splits = [compare_halves([(first, later)], seed, split, min_support, DEPTHS) for split in range(N_SPLITS)]
    beyond = np.array(
        [_means(each.floor.exact) - _means(each.half.exact) for each in splits if _has_both(each)]
    )  # [splits, depths]
    return WindowHeld(
        window_end=iso_utc(studied.end_ms(studied.last_pane_of(number))),
        all_users=_held([alike.exact], [alike.jaccard]),
        floor=_held([each.floor.exact for each in splits], [each.floor.jaccard for each in splits]),
        half=_held([each.half.exact for each in splits], [each.half.jaccard for each in splits]),
        beyond_noise=beyond.mean(axis=0).tolist() if beyond.size else None,
        beyond_noise_spread=beyond.std(axis=0).tolist() if beyond.size else None,
    )


def _has_both(split: HalfOverlaps) -> bool:
    return bool(split.floor.pairs.size and split.half.pairs.size)


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(values.mean(axis=0), np.float64)


def _held(exact: list[NDArray[np.float64]], jaccard: list[NDArray[np.float64]]) -> Held:
    """Average over splits those with a compared pair."""
    n_pairs = float(np.mean([each.shape[0] for each in exact]))
    if not n_pairs:
        return Held(None, None, 0.0)
    means = [np.mean([_means(each) for each in rows if each.size], axis=0).tolist() for rows in (exact, jaccard)]
    return Held(means[0], means[1], n_pairs)
