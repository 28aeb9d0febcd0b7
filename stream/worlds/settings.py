"""What a synthetic world is made of: the parameters, with their checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from tidegate.errors import ConfigError

MIN_CLUSTERS, MAX_CLUSTERS = 24, 1_024
SECONDS_PER_DAY = 86_400


class DriftKind(StrEnum):
    """How a pair goes from its successors before to those after."""

    ABRUPT = "abrupt"  # at one midnight
    GRADUAL = "gradual"  # by linear mixing, day by day
    SEASONAL = "seasonal"  # to and fro, half a period each
    RELATIONS = "relations"  # at one midnight, clusters move to other groups, and all their pairs with them


@dataclass(frozen=True, slots=True)
class Drift:
    """One planted change. Three of the five first successors of each of its pairs are replaced, the first always.

    Where relations change, the pairs are all those of some ``c1``, and they are followed by what follows another group.

    Attributes
    ----------
    kind : DriftKind
    traffic_share : float   expected share of all transitions that its pairs have before any drift
    start, end : float      when, as shares of the world's span, rounded to midnights; a change at once has no `end`
    period_days : int       of seasonal drift
    """

    kind: DriftKind
    traffic_share: float
    start: float = 0.0
    end: float = 1.0
    period_days: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.traffic_share < 1 and 0 <= self.start <= self.end <= 1):
            raise ConfigError(
                f"{self.kind} drift of {self.traffic_share:g} of the traffic from {self.start:g} to {self.end:g}",
                "All three are shares between 0 and 1, and the start is not after the end",
                place="drift",
            )
        if (self.kind is DriftKind.SEASONAL) != (self.period_days > 1):
            raise ConfigError(
                f"{self.kind} drift with a period of {self.period_days} days",
                "Seasonal drift, and no other, has a period of two days or more",
                place="drift",
            )

    def days(self, n_days: int) -> tuple[int, int]:
        """First day of the change, and the day it is complete, in a world of `n_days`."""
        start = round(self.start * n_days)
        is_at_once = self.kind in (DriftKind.ABRUPT, DriftKind.RELATIONS)
        return start, start if is_at_once else max(start + 1, round(self.end * n_days))

    def weight(self, day: int, n_days: int) -> float:
        """Share of the successors after in those of `day`.

        Examples
        --------
        >>> gradual = Drift(DriftKind.GRADUAL, traffic_share=0.2, start=0.5, end=1.0)
        >>> [gradual.weight(day, 8) for day in (3, 4, 5, 8)]
        [0.0, 0.0, 0.25, 1.0]
        """
        start, end = self.days(n_days)
        if day < start:
            return 0.0
        if self.kind is DriftKind.SEASONAL:
            return float((day - start) % self.period_days >= self.period_days / 2) if day < end else 0.0
        return min(1.0, (day - start) / (end - start)) if end > start else 1.0


@dataclass(frozen=True)
class WorldSettings:
    """Parameters of a world. The same settings make the same bytes.

    Attributes
    ----------
    name : str
    n_clusters, n_users, days : int
    sessions_per_day : int        on the first day
    seed : int
    growth : float                sessions of the last day over those of the first; in between, exponential
    diurnal : float               amplitude of the day cycle, 0 (none) to 1 (nobody at night)
    pareto : float                shape of the users' activity, small is unequal; 0: all alike
    drifts : tuple of Drift       no two share a pair
    min_watches, max_watches      positive watches of a session
    n_successors : int            support of a pair's successors, Zipf-weighted
    n_first : int                 support of a cluster's first transition
    tail : float                  share of transitions that go anywhere
    own_order : float             how far a pair's order leaves that of its c2: 0 not, 1 by about one rank octave
    n_groups : int                groups of which a pair's successors follow that of c1 alone; 0: each pair has its own
    loyalty : float               share of sessions that start at one of the user's favourites
    habit : float                 share of transitions where the user does what they always do there
    negative_share : float        share of events with engagement below 0.5
    items_per_cluster : int
    start_s : int                 first midnight, Unix seconds
    """

    name: str
    n_clusters: int = 64
    n_users: int = 3_000
    days: int = 28
    sessions_per_day: int = 2_600
    seed: int = 0
    growth: float = 1.0
    diurnal: float = 0.0
    pareto: float = 0.0
    drifts: tuple[Drift, ...] = ()
    min_watches: int = 3
    max_watches: int = 8
    n_successors: int = 20
    n_first: int = 8
    tail: float = 0.03
    own_order: float = 1.0
    n_groups: int = 0
    loyalty: float = 0.6
    habit: float = 0.25
    negative_share: float = 0.15
    items_per_cluster: int = 20
    start_s: int = 1_704_067_200  # 2024-01-01

    def __post_init__(self) -> None:
        if not MIN_CLUSTERS <= self.n_clusters <= MAX_CLUSTERS:
            raise ConfigError(
                f"{self.n_clusters} clusters",
                f"Choose {MIN_CLUSTERS} to {MAX_CLUSTERS}",
                place="n_clusters",
            )
        for name in ("n_users", "days", "sessions_per_day", "growth", "items_per_cluster"):
            self._require(name, getattr(self, name) > 0, "more than 0")
        self._require("items_per_cluster", self.items_per_cluster <= 1_000, "1,000 at most")
        for name in ("diurnal", "tail", "loyalty", "habit"):
            self._require(name, 0 <= getattr(self, name) <= 1, "a share from 0 to 1")
        for name in ("pareto", "own_order", "seed"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("negative_share", 0 <= self.negative_share < 1, "a share below 1")
        self._require("start_s", self.start_s % SECONDS_PER_DAY == 0, "a UTC midnight")
        bounds = (3, self.min_watches, self.max_watches, self.n_clusters // 2)
        self._require("max_watches", all(a <= b for a, b in pairwise(bounds)), "at least min_watches, at least 3")
        self._require("n_successors", 12 <= self.n_successors <= self.n_clusters - 3, "from 12 to n_clusters - 3")
        self._require("n_first", 1 <= self.n_first <= self.n_successors, "from 1 to n_successors")
        self._require("n_groups", self.n_groups == 0 or 2 <= self.n_groups <= self.n_clusters, "0, or 2 to n_clusters")
        is_related = self.n_groups > 0 or all(drift.kind is not DriftKind.RELATIONS for drift in self.drifts)
        self._require("n_groups", is_related, "2 or more where relations change")
        self._require("drifts", sum(drift.traffic_share for drift in self.drifts) <= 0.9, "0.9 of the traffic at most")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"{getattr(self, name)!r}", f"It must be {rule}", place=name)

    @property
    def cluster_names(self) -> list[str]:
        """Names by cluster id.

        Examples
        --------
        >>> WorldSettings("flat").cluster_names[17]
        'interest-017'
        """
        return [f"interest-{cluster:03d}" for cluster in range(self.n_clusters)]

    def sessions_of_day(self, day: int) -> int:
        """Sessions that start on `day`."""
        progress = day / (self.days - 1) if self.days > 1 else 0.0
        return round(self.sessions_per_day * float(self.growth**progress))
