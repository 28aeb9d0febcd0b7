"""What workers are given whose growing cost is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Load:
    """What a worker is given; `late_share` of the events lag an hour, where five minutes are allowed."""

    n_events: int = 2_000_000
    n_clusters: int = 761
    n_users: int = 200_000
    n_partitions: int = 1
    late_share: float = 0.0
