"""The messages that all peers read: one log, and for slow peers the part of it that its first users wrote.

A part has the same clusters, gaps and transitions for each message as the whole, only fewer users.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream.worlds.draws import pick, zipf_cdf

N_CLUSTERS, N_DAYS, MESSAGES_OF_A_USER, SEED = 761, 5, 15, 7
_EPOCH_SECONDS = 1_704_067_200


@dataclass(frozen=True, slots=True)
class Log:
    """Watches in the order of their time.

    Attributes
    ----------
    users, clusters : int64[n]
    times_s : int64[n]           seconds since the Unix epoch, not descending
    engagement : int64[n]        thousandths
    """

    users: NDArray[np.int64]
    clusters: NDArray[np.int64]
    times_s: NDArray[np.int64]
    engagement: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.users)

    def part(self, n_messages: int) -> Log:
        """Keep the first users, about `n_messages` messages."""
        mine = self.users * MESSAGES_OF_A_USER < n_messages
        return Log(self.users[mine], self.clusters[mine], self.times_s[mine], self.engagement[mine])

    def records(self) -> Iterator[tuple[str, str, int, float]]:
        """User, cluster, seconds and engagement of each message."""
        columns = (self.users, self.clusters, self.times_s, self.engagement)
        for user, cluster, time_s, thousandths in zip(*(column.tolist() for column in columns), strict=True):
            yield f"u{user:07d}", f"interest-{cluster:03d}", time_s, thousandths / 1_000

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        """Key and JSON of each message, about 95 bytes."""
        value = b'{"user_id": "%s", "category": "%s", "timestamp": %d, "engagement": %.3f}'
        for user, cluster, time_s, share in self.records():
            key = user.encode()
            yield key, value % (key, cluster.encode(), time_s, share)


def make_log(n_messages: int, seed: int = SEED) -> Log:
    """Draw a log: clusters by Zipf's law, three in four watches positive, a user's watches eight hours apart."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, max(n_messages // MESSAGES_OF_A_USER, 1), n_messages)
    clusters = pick(zipf_cdf(N_CLUSTERS), rng.random(n_messages))
    times_s = np.sort(rng.integers(0, N_DAYS * 86_400, n_messages)) + _EPOCH_SECONDS
    return Log(users, clusters.astype(np.int64), times_s, rng.integers(350, 1_000, n_messages))
