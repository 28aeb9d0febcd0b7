"""Small logs in memory: each day many users watch three clusters in a row, and what comes third may change."""

from __future__ import annotations

import numpy as np

from stream.events import Outcome
from stream.sequences import SequenceOptions
from stream.study.windows import StudiedLog
from stream.watch_log import Watches, WatchLog

DAY_MS = 86_400_000
N_PAIRS, N_SUCCESSORS = 3, 12
NAMES = [f"interest {i}" for i in range(2 * N_PAIRS + N_SUCCESSORS)]


def sequence_options(window_days: int = 2) -> SequenceOptions:
    return SequenceOptions(pane_ms=DAY_MS, window_ms=window_days * DAY_MS, gap_ms=3_600_000)


def watch_log(n_days: int, *, shift_day: int | None = None, a_day: int = 900, n_users: int = 3_000, seed: int = 0):
    """Make a log whose successors follow a Zipf law; from `shift_day` on other clusters lead it."""
    generator = np.random.default_rng(seed)
    chances = 1 / np.arange(1, N_SUCCESSORS + 1)
    n = n_days * a_day
    day = np.repeat(np.arange(n_days), a_day)
    pair = generator.integers(0, N_PAIRS, n)
    rank = generator.choice(N_SUCCESSORS, n, p=chances / chances.sum())
    if shift_day is not None:
        rank = np.where(day >= shift_day, (rank + 6) % N_SUCCESSORS, rank)
    # Once a day each, and never within an hour of midnight's other side: every sequence is three watches.
    users_of_days = [generator.permutation(max(n_users, a_day))[:a_day] for _ in range(n_days)]
    start_ms = day * DAY_MS + DAY_MS // 12 + (np.arange(n) % a_day) * (DAY_MS // 12 * 11 // a_day)
    clusters = np.stack([2 * pair, 2 * pair + 1, 2 * N_PAIRS + (rank + pair) % N_SUCCESSORS], axis=1)
    times_ms = start_ms[:, None] + np.arange(3) * 1_000
    users = np.broadcast_to(np.concatenate(users_of_days).astype(np.uint64)[:, None], (n, 3))
    hashed = (users * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(7)
    order = np.argsort(times_ms.ravel(), kind="stable")
    watches = Watches(
        hashed.ravel()[order], clusters.ravel().astype(np.int32)[order], times_ms.ravel().astype(np.int64)[order]
    )
    return of_watches(watches, n_days, NAMES)


def of_watches(watches: Watches, n_days: int, names: list[str]) -> WatchLog:
    return WatchLog(
        watches=watches,
        cluster_names=names,
        n_known=np.full(n_days, len(names), np.int64),
        pane_ms=DAY_MS,
        first_pane=0,
        last_pane=n_days - 1,
        outcomes={Outcome.COUNTED: watches.users.shape[0]},
    )


def studied(n_days: int, window_days: int = 2, **how: int | None) -> StudiedLog:
    return StudiedLog.of_log(watch_log(n_days, **how), sequence_options(window_days))
