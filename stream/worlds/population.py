"""The users of a world: how active each is, and where each likes to start."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.worlds.draws import Floats, pick, zipf_cdf
from stream.worlds.settings import WorldSettings

POPULARITY_EXPONENT = 1.0
# A user's sessions must rarely overlap, or they would be one: 12 a day leave two hours for each.
MAX_SESSIONS_PER_USER_DAY = 12
_FAVOURITE_WEIGHTS = np.array([0.5, 0.3, 0.2])


@dataclass(frozen=True, slots=True)
class Population:
    """Users, and the start clusters they share.

    Attributes
    ----------
    activity_cdf : float64[U]      of the user of a session
    favourites : int64[U, 3]       start clusters, the dearest first
    popularity_cdf : float64[C]    of a start that is not a favourite
    """

    activity_cdf: Floats
    favourites: NDArray[np.int64]
    popularity_cdf: Floats

    def start_clusters(self, users: NDArray[np.int64], loyalty: float, rng: np.random.Generator) -> NDArray[np.int64]:
        """First clusters of sessions, int64[n]."""
        n: int = users.shape[0]
        popular = pick(self.popularity_cdf, rng.random(n))
        dear = self.favourites[users, pick(np.cumsum(_FAVOURITE_WEIGHTS), rng.random(n))]
        return np.where(rng.random(n) < loyalty, dear, popular)

    def start_shares(self, loyalty: float) -> Floats:
        """Compute the expected share of each cluster among the starts, float64[C]."""
        popular = np.diff(self.popularity_cdf, prepend=0.0)
        by_favourite = np.outer(np.diff(self.activity_cdf, prepend=0.0), _FAVOURITE_WEIGHTS)
        dear = np.bincount(self.favourites.ravel(), by_favourite.ravel(), popular.shape[0])
        return np.asarray(loyalty * dear + (1 - loyalty) * popular)


def make_population(settings: WorldSettings, rng: np.random.Generator) -> Population:
    """Draw a world's users."""
    popularity = np.diff(zipf_cdf(settings.n_clusters, POPULARITY_EXPONENT), prepend=0.0)
    popularity_cdf = np.cumsum(rng.permutation(popularity))
    favourites = pick(popularity_cdf, rng.random((settings.n_users, _FAVOURITE_WEIGHTS.shape[0])))
    return Population(np.cumsum(_activity(settings, rng)), favourites, popularity_cdf)


def _activity(settings: WorldSettings, rng: np.random.Generator) -> Floats:
    """Share of the sessions that each user has, float64[U]."""
    shares = 1.0 + rng.pareto(settings.pareto, settings.n_users) if settings.pareto else np.ones(settings.n_users)
    shares /= shares.sum()
    ceiling = max(MAX_SESSIONS_PER_USER_DAY / settings.sessions_per_day, 2.0 / settings.n_users)
    for _ in range(32):  # what is cut from some raises others: a few rounds settle it
        shares = np.minimum(shares, ceiling)
        shares /= shares.sum()
    return shares
