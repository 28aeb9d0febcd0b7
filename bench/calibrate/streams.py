"""Streams without drift, window after window: how often a whole window alarms.

Users keep their tastes: of a pair, a user goes on to a successor of his own in seven of ten transitions. Windows of
three panes slide by one and overlap, as in a run; each is compared with the adjacent one before it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.calibrate.verdicts import Verdict, judged
from bench.calibrate.worlds import N_BUCKETS, SEEDS, Floats, Int64s, counted, successors_of
from stream.drift.options import DriftOptions
from stream.drift.parts import MatchedPairs
from stream.drift.table import table_shift
from tidegate.counts import BucketedCounts
from tidegate.hashing import mix64_array

N_PAIRS, N_USERS, PANE_TRANSITIONS, WINDOW_PANES, N_WINDOWS = 600, 6_000, 12_000, 3, 300
OWN_TASTE = 0.7
_FEW_MASKS = 2_048


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream's traffic.

    Attributes
    ----------
    name : str
    skew : float           exponent of Zipf's law of users' activity: 0 alike, 1 a few users make much of the traffic
    levels : tuple         traffic of the panes, over and over
    by_users : bool        whether more traffic is more users, or more transitions of the same
    turns : bool           whether pairs have a daily cycle each, of their own phase and a period of six panes
    """

    name: str
    skew: float = 0.0
    levels: tuple[float, ...] = (1.0,)
    by_users: bool = True
    turns: bool = False


_STEPS = (1.0, 1.0, 1.0, 3.0, 3.0, 3.0)
STREAMS = (
    Stream("flat"),
    Stream("diurnal", turns=True),
    Stream("heavy users", skew=1.0),
    Stream("traffic x3 by users", levels=_STEPS),
    Stream("traffic x3 by transitions", levels=_STEPS, by_users=False),
    Stream("heavy users, traffic x3 by users", skew=1.0, levels=_STEPS),
    Stream("heavy users, traffic x3 by transitions, diurnal", skew=1.0, levels=_STEPS, by_users=False, turns=True),
)


def alarms() -> list[Verdict]:
    """Count alarms over all streams; a decision can be reasoned with drift only in a window that alarms."""
    verdicts: list[Verdict] = []
    n_alarms = 0
    for number, stream in enumerate(STREAMS):
        scores, alarmed = zip(*_judged_windows(stream, number), strict=True)
        n_alarms += sum(alarmed)
        print(f"{stream.name}: {sum(alarmed)} of {len(alarmed)} windows alarm", file=sys.stderr, flush=True)
        verdicts.append(
            judged(
                f"no drift, {stream.name}: windows that alarm",
                sum(alarmed),
                f"of {len(alarmed)}",
                conditions=f"z of the table: mean {np.mean(scores):+.2f}, deviation {np.std(scores):.2f},"
                f" {np.min(scores):+.1f} to {np.max(scores):+.1f}",
            )
        )
    n_windows = N_WINDOWS * len(STREAMS)
    of = (
        f"{n_windows:,} overlapping windows of {WINDOW_PANES} panes, {N_PAIRS} pairs, {N_USERS:,} users,"
        f" {PANE_TRANSITIONS:,} transitions a pane at level 1; alarm at p <= {DriftOptions().alarm_p:g}"
    )
    return [
        *verdicts,
        judged("no drift: alarms in 1,000 windows", 1_000 * n_alarms / n_windows, "windows", high=1.0, conditions=of),
    ]


def _judged_windows(stream: Stream, number: int) -> Iterator[tuple[float, bool]]:
    """Score of each window's table, and whether it alarms."""
    options = DriftOptions(seed=number)
    for reference, window, _ in windows_of(np.random.default_rng([number, 0xA1]), stream, N_WINDOWS):
        form = MatchedPairs(window, reference, SEEDS, options).form()
        few = table_shift(form, options.seed, _FEW_MASKS)
        assert few.z is not None
        # Masks are the same ones, so what ten of the first few exceed cannot be rarer than 1 in 10,000 of them all.
        is_close = few.p_value * (_FEW_MASKS + 1) <= options.alarm_p * (options.table_permutations + 1)
        p_value = table_shift(form, options.seed, options.table_permutations).p_value if is_close else 1.0
        yield few.z, p_value <= options.alarm_p


def windows_of(
    rng: np.random.Generator, stream: Stream, n_windows: int
) -> Iterator[tuple[BucketedCounts, BucketedCounts, BucketedCounts]]:
    """Slide over the stream by a pane: each window's reference, the window, and its newest pane."""
    panes: list[BucketedCounts] = []
    for at in range(n_windows + 2 * WINDOW_PANES - 1):
        panes.append(pane_of(rng, stream, at))
        if len(panes) == 2 * WINDOW_PANES:
            reference, window = (BucketedCounts.merge(panes[i : i + WINDOW_PANES]) for i in (0, WINDOW_PANES))
            yield reference, window, panes[-1]
            del panes[0]


def pane_of(rng: np.random.Generator, stream: Stream, at: int) -> BucketedCounts:
    """Count the stream's pane number `at`."""
    level = stream.levels[at % len(stream.levels)]
    n = int(rng.poisson(PANE_TRANSITIONS * level))
    n_active = round(N_USERS * level / max(stream.levels)) if stream.by_users else N_USERS
    activity = (1.0 + np.random.default_rng(1).permutation(N_USERS)) ** -stream.skew
    user = _drawn(rng, activity[:n_active], n)
    pair = _drawn(rng, _popularity(stream, at), n)
    own, fresh = _uniform(user * N_PAIRS + pair), rng.random(n)
    rank = successors_of(np.where(rng.random(n) < OWN_TASTE, own, fresh))
    bucket = (_uniform(user + (1 << 40)) * N_BUCKETS).astype(np.int64)
    return counted(pair, rank, bucket)


def _popularity(stream: Stream, at: int) -> Floats:
    """Traffic of the pairs in a pane, in proportion: float64[p]."""
    popularity = (1.0 + np.arange(N_PAIRS)) ** -0.5
    if not stream.turns:
        return popularity
    phase = np.random.default_rng(2).random(N_PAIRS)
    return popularity * 3.0 ** (0.5 * np.sin(2 * np.pi * (phase + at / (2 * WINDOW_PANES))))


def _drawn(rng: np.random.Generator, weights: Floats, n: int) -> Int64s:
    chances = np.cumsum(weights)
    return np.searchsorted(chances, rng.random(n) * chances[-1]).astype(np.int64)


def _uniform(values: Int64s) -> Floats:
    """Numbers in [0, 1) that follow `values`."""
    return (mix64_array(values.astype(np.uint64)) >> np.uint64(11)) * 2.0**-53
