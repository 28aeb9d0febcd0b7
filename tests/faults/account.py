"""The account of a siege: what was done to it, how fast it was over it, and what the store says of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import func, select

from stream.run_reader import RunReader
from stream.schema import offsets, shards
from tests.faults.watches import Truth
from tests.reference import SEQUENCES, TRANSITIONS
from tests.runs import _triples
from tidegate.errors import StoreError


@dataclass
class Tally:
    """What was done, by name, and which processes ended by themselves and why."""

    done: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    gave_up: list[str] = field(default_factory=list)
    exit_seconds: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Kill:
    """A kill whose consequences are not over: partition -> offset that has to be committed, and since when."""

    ends: dict[int, int]
    since: float
    has_name: bool
    is_disturbed: bool = False


class Recoveries:
    """Seconds from a kill until everything that the log held at that moment is committed.

    A kill that another outage overlaps (store, broker, zombie) says nothing about kills: it is counted apart. Those of
    workers with a name (static members, whose place the group keeps) and without are told apart.
    """

    def __init__(self, reader: RunReader) -> None:
        self._reader = reader
        self._open: list[Kill] = []
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self.n_disturbed = 0

    def note(self, ends: Mapping[int, int], *, has_name: bool) -> None:
        """Begin to wait for the consequences of a kill to be over; `has_name` of a static member of the group."""
        self._open.append(Kill(dict(ends), time.monotonic(), has_name))

    @property
    def is_over(self) -> bool:
        """Whether no kill has consequences left."""
        return not self._open

    def disturb(self) -> None:
        """Tell that something else went wrong meanwhile."""
        for kill in self._open:
            kill.is_disturbed = True

    def look(self) -> dict[int, int]:
        """See what is committed by now; returns it, empty while the store is away."""
        if not (committed := self._committed()):
            return {}
        now, still = time.monotonic(), []
        for kill in self._open:
            if any(committed.get(partition, 0) < end for partition, end in kill.ends.items()):
                still.append(kill)
            elif kill.is_disturbed:
                self.n_disturbed += 1
            else:
                self.seconds[kill.has_name].append(now - kill.since)
        self._open = still
        return committed

    def _committed(self) -> dict[int, int]:
        query = select(offsets.c.partition, offsets.c.next_offset).where(offsets.c.run_id == self._reader.run_id)
        try:
            with self._reader.database.reading() as connection:
                return {row.partition: row.next_offset for row in connection.execute(query)}
        except StoreError:
            return {}


class Found(NamedTuple):
    """What the store holds in the end, and how it came there."""

    truth: Truth
    n_commits: int
    n_takeovers: int
    panes_reported: list[int]


def truth_in(reader: RunReader) -> Truth:
    """Read what a finished run has counted."""
    names, stats = reader.cluster_names(), reader.stats()
    counts = {
        (pane, names[c1], names[c2], names[c3]): n
        for pane in stats
        for c1, c2, c3, n in _triples(reader.counts(pane, pane))
    }
    figures = {
        pane: (int(each[TRANSITIONS]), int(each[SEQUENCES])) for pane, each in stats.items() if each[TRANSITIONS]
    }
    return Truth(counts, figures, {name: n for name, n in reader.outcomes().items() if n})


def found_in(reader: RunReader) -> Found:
    """Read a finished run, and how it came there."""
    totals = select(func.sum(shards.c.commit_number), func.sum(shards.c.epoch))
    with reader.database.reading() as connection:
        n_commits, n_takeovers = connection.execute(totals.where(shards.c.run_id == reader.run_id)).one()
    return Found(truth_in(reader), int(n_commits), int(n_takeovers), list(reader.reports()))


def differences(found: Truth, expected: Truth) -> list[str]:
    """Say in which counts, figures and outcomes two truths differ."""
    lines: list[str] = []
    for what in Truth._fields:
        ours, theirs = getattr(found, what), getattr(expected, what)
        keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key, 0) != theirs.get(key, 0))
        lines += [f"{what} of {key}: {ours.get(key, 0)} instead of {theirs.get(key, 0)}" for key in keys]
    return lines
