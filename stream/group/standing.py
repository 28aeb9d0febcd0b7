"""Where a worker stands: the shards that it owns, and what is told of them while it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stream.reorder import END_OF_TIME_MS
from stream.shard import Shard


@dataclass(slots=True)
class Owned:
    """A shard that this worker owns, and where it stands."""

    shard: Shard
    position: int
    committed_seconds: float
    at_end_since: float | None = None
    is_idle: bool = False
    is_paused: bool = False
    is_read_up: bool = False  # nothing had come after what was read last, when it was looked at last
    news_since: float | None = None  # when the oldest record was read that is not committed


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a worker stands at an instant, for metrics.

    Attributes
    ----------
    positions : dict[int, int]              offset that is read next, by owned partition
    n_paused, n_idle : int                  owned partitions whose gate is shut; at whose end nothing comes
    n_waiting : int                         events that are admitted and not counted yet
    uncommitted_seconds : float             since the oldest record was read that is not committed; 0 without one
    behind_ms : int | None                  event time reached by the partition furthest behind, of those that are not
                                            read to their end; None where all are
    watermark_ms : int | None               that all owned partitions have passed; None before the first event
    """

    positions: dict[int, int]
    n_paused: int
    n_idle: int
    n_waiting: int
    uncommitted_seconds: float
    behind_ms: int | None
    watermark_ms: int | None


def standing_of(owned: Mapping[int, Owned], now_seconds: float) -> Standing:
    """Tell where the owner of shards stands at `now_seconds` of its monotonic clock."""
    behind = [o.shard.marks.latest_ms[p] for p, o in owned.items() if not o.is_read_up]
    watermarks = [o.shard.marks.stream_ms for o in owned.values()]
    known = [ms for ms in watermarks if abs(ms) < END_OF_TIME_MS]
    since = [o.news_since for o in owned.values() if o.news_since is not None]
    return Standing(
        positions={partition: o.position for partition, o in owned.items()},
        n_paused=sum(o.is_paused for o in owned.values()),
        n_idle=sum(o.is_idle for o in owned.values()),
        n_waiting=sum(o.shard.n_waiting for o in owned.values()),
        uncommitted_seconds=now_seconds - min(since) if since else 0.0,
        behind_ms=min((ms for ms in behind if abs(ms) < END_OF_TIME_MS), default=None),
        watermark_ms=min(known, default=None),
    )
