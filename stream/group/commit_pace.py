"""How often a worker commits because it is time."""

from __future__ import annotations

_LONGEST_COMMIT_SECONDS = 2.0
_COMMIT_SHARE = 0.1  # of a worker's time, at most, for commits that are made because it is time


class CommitPace:
    """Keeps commits apart: as asked for, or longer where many shards or a slow store would take all of the time.

    Parameters
    ----------
    least_seconds : float       between two commits of a shard

    Examples
    --------
    >>> pace = CommitPace(1.0)
    >>> pace.learn(2.0)
    >>> pace.interval_seconds(1), pace.interval_seconds(4)
    (2.5, 10.0)
    """

    def __init__(self, least_seconds: float) -> None:
        self._least_seconds = least_seconds
        self._commit_seconds = 0.0  # of a typical one

    def interval_seconds(self, n_shards: int) -> float:
        """Time between commits of each of `n_shards` shards."""
        return max(self._least_seconds, n_shards * self._commit_seconds / _COMMIT_SHARE)

    def learn(self, seconds: float) -> None:
        """Take in how long one commit took."""
        took_seconds = min(seconds, _LONGEST_COMMIT_SECONDS)  # an outage says nothing
        self._commit_seconds += (took_seconds - self._commit_seconds) / 8
