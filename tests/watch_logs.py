"""Logs in memory, made of what each pane is to count."""

from __future__ import annotations

from collections.abc import Sequence

from stream.sequences import SequenceOptions
from stream.shard import ShardOptions
from stream.watch_log import WatchLog, read_watch_log
from tests.fakes import FakeEvent, FakeSource
from tests.refresh.logs import NAMES, Log

PANE_MS = 3_600_000
FIRST_PANE = 100


def sequences(window_panes: int = 2) -> SequenceOptions:
    return SequenceOptions(pane_ms=PANE_MS, window_ms=window_panes * PANE_MS)


def events_of(panes: Sequence[Log], first_pane: int = FIRST_PANE) -> list[FakeEvent]:
    """Three watches of a user of their own for each transition, all within its pane."""
    events = []
    for at, log in enumerate(panes):
        visits = [triple for triple, n in sorted(log.items()) for _ in range(n)]
        for number, triple in enumerate(visits):
            start_ms = (first_pane + at) * PANE_MS + number * 10
            user = f"user {at} {number}"
            events += [FakeEvent(user, NAMES[c], start_ms + step) for step, c in enumerate(triple)]
    return sorted(events, key=lambda event: event.time_ms)


def log_of(panes: Sequence[Log], *, knows_all: bool = True) -> WatchLog:
    """Read them as a source is read; with `knows_all` clusters have the ids of `NAMES`."""
    source = FakeSource({0: events_of(panes)})
    return read_watch_log(source, ShardOptions(sequences()), NAMES if knows_all else ())
