"""One day of a world: all its sessions in lockstep, then the events in the order of their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.worlds.draws import DAY_STREAM, Floats, generator, pick, repeated_draws
from stream.worlds.interests import Clusters, Interests
from stream.worlds.population import Population
from stream.worlds.settings import SECONDS_PER_DAY, WorldSettings

FIRST_USER_ID = 100_000
ITEMS_STRIDE = 1_000
MIN_PAUSE_S, MAX_PAUSE_S = 30, 120
ENGAGEMENT_STEPS = 1_000  # engagement is in thousandths, so that text and float32 agree on which side of 0.5 it is
_TRIES = 4
_DIURNAL_GRID = 289  # five minutes

Int64s = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class DayOfEvents:
    """Watch events of one UTC day, in the order of their times.

    Attributes
    ----------
    user_id, item_id : int64[n]
    cluster : int32[n]
    time_s : int64[n]           Unix seconds, ascending
    engagement : float32[n]     thousandths; positive from 0.5 on
    """

    user_id: Int64s
    item_id: Int64s
    cluster: NDArray[np.int32]
    time_s: Int64s
    engagement: NDArray[np.float32]


def make_day(settings: WorldSettings, population: Population, interests: Interests, day: int) -> DayOfEvents:
    """Make the events of one day; no other day is needed for it.

    A session lies within its day.
    """
    rng = generator(settings.seed, DAY_STREAM, day)
    users = np.sort(pick(population.activity_cdf, rng.random(settings.sessions_of_day(day))))
    walks = _walk(settings, population, interests, day, users, rng)
    pauses = rng.integers(MIN_PAUSE_S, MAX_PAUSE_S + 1, walks.shape)
    pauses[:, 0] = _session_starts(settings, users, rng)
    is_watch = walks >= 0
    n_watches = np.count_nonzero(is_watch, axis=1)
    watched = (np.repeat(users, n_watches), walks[is_watch], np.cumsum(pauses, axis=1)[is_watch])
    return _events(settings, day, watched, rng)


def _session_starts(settings: WorldSettings, users: Int64s, rng: np.random.Generator) -> Int64s:
    """Seconds into the day at which the sessions of `users` (sorted) start, int64[n].

    A user's k sessions have a k-th of the day's activity each, so that they are usually hours apart.
    """
    n_of_user = np.bincount(users)
    first_of_user = np.cumsum(n_of_user) - n_of_user
    ordinal = np.arange(users.shape[0]) - first_of_user[users]
    share_of_day = (ordinal + rng.random(users.shape[0])) / n_of_user[users]
    grid = np.linspace(0.0, 1.0, _DIURNAL_GRID)
    # Integral of 1 - amplitude * cos(2 pi t): quietest at midnight, busiest at noon.
    passed = grid - settings.diurnal * np.sin(2 * np.pi * grid) / (2 * np.pi)
    latest = SECONDS_PER_DAY - settings.max_watches * MAX_PAUSE_S
    return (np.interp(share_of_day, passed, grid) * latest).astype(np.int64)


def _walk(
    settings: WorldSettings,
    population: Population,
    interests: Interests,
    day: int,
    users: Int64s,
    rng: np.random.Generator,
) -> Clusters:
    """Clusters of each session, int16[n, max_watches]; -1 after its end."""
    lengths = rng.integers(settings.min_watches, settings.max_watches + 1, users.shape[0])
    walks = np.full((users.shape[0], settings.max_watches), -1, np.int16)
    walks[:, 0] = population.start_clusters(users, settings.loyalty, rng)
    weights = [planted.drift.weight(day, settings.days) for planted in interests.planted]
    after_share = np.array([*weights, 0.0])[interests.drift_of_pair] if weights else np.zeros(1)
    for step in range(1, settings.max_watches):
        alive = np.flatnonzero((lengths > step) & (walks[:, step - 1] >= 0))
        for trial in range(_TRIES):
            habit = settings.habit if trial == 0 else 0.0  # a habit that leads back would do so again
            drawn = _draw(settings, interests, after_share, users[alive], walks[alive, :step], habit, rng)
            is_new = np.all(walks[alive, :step] != drawn[:, None], axis=1)
            walks[alive[is_new], step] = drawn[is_new]
            alive = alive[~is_new]
            if not alive.shape[0]:
                break
    return walks


def _draw(
    settings: WorldSettings,
    interests: Interests,
    after_share: Floats,
    users: Int64s,
    watched: Clusters,
    habit: float,
    rng: np.random.Generator,
) -> Clusters:
    """Next clusters of sessions that watched `watched`, int16[n]; some were watched before."""
    n: int = watched.shape[0]
    step = watched.shape[1]
    last = watched[:, -1].astype(np.int64)
    pairs = last if step == 1 else watched[:, -2].astype(np.int64) * settings.n_clusters + last
    uniforms = rng.random(n)
    by_habit = rng.random(n) < habit
    # Odd keys for starts and even ones for pairs: a user's habits at either do not meet.
    uniforms[by_habit] = repeated_draws(users[by_habit], 2 * pairs[by_habit] + (step == 1), settings.seed)
    if step == 1:
        return _successor(interests.first_cdf, interests.first, pairs, uniforms, settings)
    drawn = _successor(interests.rank_cdf, interests.before, pairs, uniforms, settings)
    coins = rng.random(n)  # tossed in any world, so that worlds without and before drift show the same
    if interests.planted:
        moved = np.flatnonzero(coins < after_share[pairs])
        drawn[moved] = _successor(interests.rank_cdf, interests.after, pairs[moved], uniforms[moved], settings)
    return drawn


def _successor(cdf: Floats, table: Clusters, rows: Int64s, uniforms: Floats, settings: WorldSettings) -> Clusters:
    """Clusters of `table` by rank where a uniform lies below ``1 - tail``, else any cluster, int16[n]."""
    drawn = table[rows, pick(cdf, uniforms)]
    head = 1 - settings.tail
    anywhere = np.flatnonzero(uniforms >= head)
    share_of_tail = (uniforms[anywhere] - head) / max(settings.tail, np.finfo(float).tiny)
    drawn[anywhere] = np.minimum(share_of_tail * settings.n_clusters, settings.n_clusters - 1).astype(np.int16)
    return drawn


def _events(
    settings: WorldSettings, day: int, watched: tuple[Int64s, Clusters, Int64s], rng: np.random.Generator
) -> DayOfEvents:
    """Put a day's watches and its noise in the order of their times; noise falls between a session's watches."""
    users, clusters, seconds = watched
    n_watches = users.shape[0]
    n_noise = round(n_watches * settings.negative_share / (1 - settings.negative_share))
    near = rng.integers(0, n_watches, n_noise)
    noise_seconds = seconds[near] + rng.integers(1, MIN_PAUSE_S, n_noise)
    noise_clusters = rng.integers(0, settings.n_clusters, n_noise)
    half = ENGAGEMENT_STEPS // 2
    thousandths = np.concatenate([rng.integers(half, ENGAGEMENT_STEPS + 1, n_watches), rng.integers(0, half, n_noise)])
    all_seconds = np.concatenate([seconds, noise_seconds])
    all_clusters = np.concatenate([clusters, noise_clusters]).astype(np.int32)
    all_users = np.concatenate([users, users[near]])
    items = rng.integers(0, settings.items_per_cluster, all_users.shape[0])
    order = np.argsort(all_seconds, kind="stable")
    return DayOfEvents(
        user_id=FIRST_USER_ID + all_users[order],
        item_id=all_clusters[order].astype(np.int64) * ITEMS_STRIDE + items,
        cluster=all_clusters[order],
        time_s=settings.start_s + day * SECONDS_PER_DAY + all_seconds[order],
        engagement=(thousandths[order] / ENGAGEMENT_STEPS).astype(np.float32),
    )
