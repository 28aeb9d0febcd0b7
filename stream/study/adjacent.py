"""Adjacent windows compared: top-5 Jaccard as the paper reports it (section 2.1), with what no drift would show."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stream.drift.options import DriftOptions
from stream.drift.window import measure_drift
from stream.study.halves import Spread, compare_halves, mean_or_nan
from stream.study.overlap import Overlaps, compare_windows
from stream.study.windows import StudiedLog, in_fewer_buckets
from tidegate.clock import iso_utc

N_SPLITS = 20


@dataclass(frozen=True, slots=True)
class WindowOverlap:
    """One window against the one before it; means are over pairs with enough transitions in both, None without any.

    Attributes
    ----------
    window_end : str
    pairs : int
    jaccard_mean, jaccard_variance : over pairs, at all their transitions
    matched_mean, null_mean : Jaccard at matched counts, and what it would be with no drift (users exchanged)
    drift_mean : ``1 - J / J0`` over pairs
    flagged_pairs : int      that drift, at the false discovery rate of the settings
    alarmed : bool           the window as a whole drifts
    all_pairs : int          seen in both windows at all
    all_jaccard_mean : over these
    """

    window_end: str
    pairs: int
    jaccard_mean: float | None
    jaccard_variance: float | None
    matched_mean: float | None
    null_mean: float | None
    drift_mean: float | None
    flagged_pairs: int
    alarmed: bool
    all_pairs: int
    all_jaccard_mean: float | None


@dataclass(frozen=True, slots=True)
class HalvesOfUsers:
    """Halves of the users compared, over random splits; None where no pair had enough transitions.

    Attributes
    ----------
    splits : int
    floor, half : Spread              mean Jaccard in the same window, and across adjacent ones
    beyond_noise : Spread             floor less half, split by split: drift
    floor_variance, half_variance : over pairs, mean over splits
    floor_pairs, half_pairs : float   compared in a split, on average
    """

    splits: int
    floor: Spread | None
    half: Spread | None
    beyond_noise: Spread | None
    floor_variance: float | None
    half_variance: float | None
    floor_pairs: float
    half_pairs: float


@dataclass(frozen=True, slots=True)
class AdjacentWindows:
    """All adjacent windows of a log compared.

    Attributes
    ----------
    min_support : int
    windows : list of WindowOverlap
    pairs : int                                   of all windows together
    jaccard_mean, jaccard_variance : over them; None without any
    matched_mean, null_mean : over them, Jaccard at matched counts and what it would be with no drift
    drift_mean : over them
    windows_alarmed : int
    all_pairs, all_jaccard_mean, all_jaccard_variance : whatever their transitions
    halves : HalvesOfUsers
    """

    min_support: int
    windows: list[WindowOverlap]
    pairs: int
    jaccard_mean: float | None
    jaccard_variance: float | None
    matched_mean: float | None
    null_mean: float | None
    drift_mean: float | None
    windows_alarmed: int
    all_pairs: int
    all_jaccard_mean: float | None
    all_jaccard_variance: float | None
    halves: HalvesOfUsers


def compare_adjacent(studied: StudiedLog, drift: DriftOptions, seed: int) -> AdjacentWindows:
    """Compare every full window of a log with the one before it, and halves of their users."""
    couples = list(pairwise(studied.windows))
    alike = [compare_windows(now.without_buckets(), later.without_buckets(), 1) for now, later in couples]
    rows = [_compare(studied, drift, number, overlaps) for number, overlaps in enumerate(alike, start=1)]
    supported = [
        compare_windows(now.without_buckets(), later.without_buckets(), drift.min_support) for now, later in couples
    ]
    at_support, at_all = (Overlaps.concatenate(each).jaccard[:, 0] for each in (supported, alike))
    weights = [row.pairs for row in rows]
    return AdjacentWindows(
        min_support=drift.min_support,
        windows=rows,
        pairs=at_support.shape[0],
        jaccard_mean=_mean(at_support),
        jaccard_variance=_variance(at_support),
        matched_mean=_pooled([row.matched_mean for row in rows], weights),
        null_mean=_pooled([row.null_mean for row in rows], weights),
        drift_mean=_pooled([row.drift_mean for row in rows], weights),
        windows_alarmed=sum(row.alarmed for row in rows),
        all_pairs=at_all.shape[0],
        all_jaccard_mean=_mean(at_all),
        all_jaccard_variance=_variance(at_all),
        halves=_halves(studied, drift.min_support, seed),
    )


def _compare(studied: StudiedLog, drift: DriftOptions, number: int, alike: Overlaps) -> WindowOverlap:
    now, before = (in_fewer_buckets(studied.windows[each], drift.n_buckets) for each in (number, number - 1))
    measured = measure_drift(now, before, studied.seeds, drift)
    return WindowOverlap(
        window_end=iso_utc(studied.end_ms(studied.last_pane_of(number))),
        pairs=measured.pairs.shape[0],
        jaccard_mean=measured.jaccard_mean,
        jaccard_variance=measured.jaccard_variance,
        matched_mean=measured.matched_mean,
        null_mean=measured.null_mean,
        drift_mean=measured.drift_mean,
        flagged_pairs=int(measured.flagged.sum()),
        alarmed=bool(measured.alarmed),
        all_pairs=alike.pairs.shape[0],
        all_jaccard_mean=_mean(alike.jaccard[:, 0]),
    )


def _halves(studied: StudiedLog, min_support: int, seed: int) -> HalvesOfUsers:
    couples = list(pairwise(studied.windows))
    splits = [compare_halves(couples, seed, split, min_support) for split in range(N_SPLITS)]
    floors, halves = ([getattr(each, side).jaccard[:, 0] for each in splits] for side in ("floor", "half"))
    floor_means, half_means = (np.array([mean_or_nan(each) for each in side]) for side in (floors, halves))
    return HalvesOfUsers(
        splits=N_SPLITS,
        floor=Spread.of_splits(floor_means),
        half=Spread.of_splits(half_means),
        beyond_noise=Spread.of_splits(floor_means - half_means),
        floor_variance=_mean(np.array([each.var() for each in floors if each.size])),
        half_variance=_mean(np.array([each.var() for each in halves if each.size])),
        floor_pairs=float(np.mean([each.size for each in floors])),
        half_pairs=float(np.mean([each.size for each in halves])),
    )


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float | None:
    return float(values.mean()) if values.size else None


def _variance(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float | None:
    return float(values.var()) if values.size else None


def _pooled(means: list[float | None], weights: list[int]) -> float | None:
    known = [(mean, weight) for mean, weight in zip(means, weights, strict=True) if mean is not None]
    total = sum(weight for _, weight in known)
    return sum(mean * weight for mean, weight in known) / total if total else None
