"""Stand-ins for what is outside: a source made of lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream.events import EventBatch, Outcome, RecordIssue
from tidegate.errors import SourceError
from tidegate.hashing import hash_text


@dataclass(frozen=True, slots=True)
class FakeEvent:
    """One record: an event, or (with another outcome than COUNTED) one that the decoder sets aside."""

    user: str
    cluster: str
    time_ms: int
    outcome: Outcome = Outcome.COUNTED

    @property
    def is_timed(self) -> bool:
        """Whether its event time counts towards the span of the log."""
        return self.outcome in (Outcome.COUNTED, Outcome.NEGATIVE)


class FakeSource:
    """Lists of records as partitions, cut into batches as told.

    Parameters
    ----------
    partitions : by number
    schedule : sequence of (partition, n)
        Batches to yield first; an unknown partition, or one at its end, is passed over. The rest follows in batches
        of `batch_records`.
    fails_after : int, optional
        Batches after which a SourceError is raised.
    """

    identity = "fake"
    n_records_expected = None

    def __init__(
        self,
        partitions: Mapping[int, Sequence[FakeEvent]],
        schedule: Iterable[tuple[int, int]] = (),
        *,
        batch_records: int = 1_000,
        fails_after: int | None = None,
    ) -> None:
        self._records = {number: list(events) for number, events in partitions.items()}
        self._schedule = [(partition, n) for partition, n in schedule if partition in self._records]
        self._batch_records = batch_records
        self._fails_after = fails_after
        self._codes: dict[str, int] = {}
        self.cluster_names: list[str] = []
        self.paused_ahead_of_ms: list[int | None] = []

    @property
    def partitions(self) -> tuple[int, ...]:
        return tuple(self._records)

    def batches(self, start: Mapping[int, int]) -> Iterator[EventBatch]:
        at = {number: start.get(number, 0) for number in self._records}
        ended: set[int] = set()
        for n_yielded, (partition, n) in enumerate(self._steps(at)):
            if n_yielded == self._fails_after:
                raise SourceError("the line was cut", "Plug it in", place=self.identity)
            if partition not in ended:
                first, at[partition] = at[partition], min(at[partition] + n, len(self._records[partition]))
                yield self._batch(partition, first, at[partition])
                if at[partition] == len(self._records[partition]):
                    ended.add(partition)

    def _steps(self, at: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        yield from self._schedule
        for partition, records in self._records.items():
            yield partition, self._batch_records  # at least one batch each, if only to say that it has ended
            while at[partition] < len(records):
                yield partition, self._batch_records

    def _batch(self, partition: int, first: int, end: int) -> EventBatch:
        records = self._records[partition][first:end]
        good = [event for event in records if event.outcome is Outcome.COUNTED]
        bad = [(first + i, event) for i, event in enumerate(records) if event.outcome is not Outcome.COUNTED]
        times_ms = [event.time_ms for event in records if event.is_timed]
        set_aside: dict[Outcome, int] = {}
        for _, event in bad:
            set_aside[event.outcome] = set_aside.get(event.outcome, 0) + 1
        return EventBatch(
            partition=partition,
            next_offset=end,
            n_records=len(records),
            users=np.array([hash_text(event.user) for event in good], np.uint64),
            clusters=np.array([self._code(event.cluster) for event in good], np.int32),
            times_ms=np.array([event.time_ms for event in good], np.int64),
            latest_ms=max(times_ms, default=None),
            set_aside=set_aside,
            issues=tuple(
                RecordIssue(event.outcome, f"fake[{partition}]@{number}", "it is unreadable", "Mend it")
                for number, event in bad
                if event.outcome is Outcome.MALFORMED
            ),
            at_end=end == len(self._records[partition]),
        )

    def _code(self, name: str) -> int:
        code = self._codes.setdefault(name, len(self._codes))
        if code == len(self.cluster_names):
            self.cluster_names.append(name)
        return code

    def pause_ahead_of(self, time_ms: int | None) -> None:
        self.paused_ahead_of_ms.append(time_ms)

    def close(self) -> None:
        """Nothing is open."""
