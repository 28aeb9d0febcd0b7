"""A finite source read whole: its positive watches in event-time order, for going over the same log many times.

What is admitted, which watches are late, and which ids clusters get is the same as in `stream.shard`, so a log gone
over in memory counts the same transitions as a run over it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stream.catalogue import ArrivalNames, Catalogue
from stream.event_ids import SeenEvents
from stream.events import EventBatch, Outcome, Source
from stream.reorder import late_events
from stream.shard import ShardOptions
from tidegate.errors import EmptySourceError


@dataclass(frozen=True, slots=True)
class Watches:
    """Positive watches in event-time order.

    Attributes
    ----------
    users : uint64[n]
    clusters : int32[n]     ids
    times_ms : int64[n]     ascending
    """

    users: NDArray[np.uint64]
    clusters: NDArray[np.int32]
    times_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WatchLog:
    """A log in memory, 20 bytes a watch.

    Attributes
    ----------
    watches : Watches
    cluster_names : by id, in the order of first event time
    n_known : int64[panes]   clusters that had been named by the end of each pane
    first_pane, last_pane : int
    outcomes : records by outcome
    """

    watches: Watches
    cluster_names: list[str]
    n_known: NDArray[np.int64]
    pane_ms: int
    first_pane: int
    last_pane: int
    outcomes: dict[Outcome, int]

    @property
    def n_panes(self) -> int:
        """Panes from the first watch's to the last's."""
        return self.last_pane - self.first_pane + 1

    def panes(self) -> Iterator[tuple[int, Watches]]:
        """Yield each pane with its watches; nothing is copied."""
        edges_ms = np.arange(self.first_pane, self.last_pane + 2) * self.pane_ms
        cuts = np.searchsorted(self.watches.times_ms, edges_ms)
        for pane, (start, end) in enumerate(pairwise(cuts), start=self.first_pane):
            yield pane, self._cut(slice(int(start), int(end)))

    def _cut(self, which: slice) -> Watches:
        watches = self.watches
        return Watches(watches.users[which], watches.clusters[which], watches.times_ms[which])


def read_watch_log(
    source: Source,
    options: ShardOptions,
    known_clusters: Iterable[str] = (),
    on_batch: Callable[[int], None] = lambda _: None,
) -> WatchLog:
    """Read `source` to its end.

    Parameters
    ----------
    options : ShardOptions
    known_clusters : the catalogue, where one is given: it fixes the ids
    on_batch : called with the number of records of each batch

    Raises
    ------
    SourceError
        If the source fails.
    EmptySourceError
        If it held no positive watch.
    """
    reading = _Reading(options)
    for batch in source.batches({}):
        reading.admit(batch, source.cluster_names)
        on_batch(batch.n_records)
    return reading.finish(list(known_clusters), source.identity)


class _Reading:
    """What was admitted so far."""

    def __init__(self, options: ShardOptions) -> None:
        self._options = options
        self._latest_ms: dict[int, int] = {}
        self._log_latest_ms: int | None = None
        self._names = ArrivalNames()
        self._seen = SeenEvents(options.duplicates_ms) if options.duplicates_ms is not None else None
        self._parts: list[Watches] = []
        self._outcomes: Counter[Outcome] = Counter()

    def admit(self, batch: EventBatch, source_names: list[str]) -> None:
        """Set duplicates and late watches aside, keep the others."""
        latest_ms = self._latest_ms.get(batch.partition, -(2**62))
        is_duplicate = np.zeros(batch.times_ms.shape[0], np.bool_)
        if self._seen is not None and batch.event_ids is not None:
            is_duplicate = self._seen.admit(batch.event_ids, batch.times_ms, latest_ms)
        is_late = late_events(batch.times_ms, latest_ms, self._options.lateness_ms) & ~is_duplicate
        kept = ~(is_late | is_duplicate)
        self._outcomes.update(batch.set_aside)
        for outcome, which in ((Outcome.LATE, is_late), (Outcome.DUPLICATE, is_duplicate), (Outcome.COUNTED, kept)):
            self._outcomes[outcome] += int(which.sum())
        codes = self._names.translate(batch.clusters[kept], source_names)
        self._parts.append(Watches(batch.users[kept], codes, batch.times_ms[kept]))
        if batch.times_ms.size:
            self._latest_ms[batch.partition] = max(latest_ms, int(batch.times_ms.max()))
        if batch.latest_ms is not None:
            self._log_latest_ms = max(batch.latest_ms, self._log_latest_ms or batch.latest_ms)

    def finish(self, known_clusters: list[str], place: str) -> WatchLog:
        """Put all in the order of event time, and give the clusters their ids."""
        users, codes, times_ms = (
            np.concatenate([getattr(part, name) for part in self._parts] or [np.zeros(0, dtype)])
            for name, dtype in (("users", np.uint64), ("clusters", np.int32), ("times_ms", np.int64))
        )
        if not times_ms.size:
            raise EmptySourceError("no positive watch at all", "Check --source and --positive", place=place)
        order = np.argsort(times_ms, kind="stable")
        users, codes, times_ms = users[order], codes[order], times_ms[order]
        catalogue = Catalogue(known_clusters)
        clusters = catalogue.ids(codes, times_ms, self._names.names)
        pane_ms = self._options.sequences.pane_ms
        first_pane, last_pane = int(times_ms[0]) // pane_ms, int(times_ms[-1]) // pane_ms
        if self._log_latest_ms is not None:  # records that are not positive also tell how far the log goes
            last_pane = max(last_pane, self._log_latest_ms // pane_ms)
        ends = np.searchsorted(times_ms, (np.arange(first_pane, last_pane + 1) + 1) * pane_ms)
        highest = np.maximum.accumulate(clusters)
        n_known = np.maximum(highest[ends - 1].astype(np.int64) + 1, len(known_clusters))
        return WatchLog(
            watches=Watches(users, clusters, times_ms),
            cluster_names=catalogue.names,
            n_known=n_known,
            pane_ms=pane_ms,
            first_pane=first_pane,
            last_pane=last_pane,
            outcomes={outcome: n for outcome, n in self._outcomes.items() if n},
        )
