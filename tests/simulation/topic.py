"""The topic: one log a partition, drawn from the seed, with everything that real logs hold.

Times are skewed from partition to partition and out of order within the allowed lateness; some events come late, some
lie far ahead of the clock, some messages are no events at all, and producers that did not hear an answer wrote some
twice. Offsets have gaps, as compaction and transaction markers leave them; a partition may be empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import msgspec

from tests.simulation.scenario import CLUSTERS, PANE_MS, Scenario

NOW_MS = 1_700_000_000_000
BEGIN_MS = NOW_MS // PANE_MS * PANE_MS - 40 * PANE_MS
MAX_AHEAD_MS = 3_600_000
_FAR_AHEAD_MS = 40 * MAX_AHEAD_MS
_NONSENSE = (b"", b"{nonsense", b"[]", b'{"user_id": 7}', b'{"user_id": 7, "category": "jazz", "timestamp": "soon"}')
_POSITIVE_FROM = 0.5


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a log, and what its producer meant.

    Attributes
    ----------
    time_ms : int | None     None where it is no event
    event_id : str | None
    is_positive : bool
    """

    offset: int
    key: bytes
    value: bytes
    user: str = ""
    cluster: str = ""
    time_ms: int | None = None
    event_id: str | None = None
    is_positive: bool = True

    @property
    def is_ahead(self) -> bool:
        """Whether it lies further ahead of the clock than is allowed, whatever the clock's skew."""
        return self.time_ms is not None and self.time_ms > NOW_MS + 10 * MAX_AHEAD_MS


@dataclass(slots=True)
class Log:
    """One partition. `n_visible` records have been written so far.

    Attributes
    ----------
    earliest, end : int     offsets at which it begins, and will end
    """

    partition: int
    earliest: int
    records: Sequence[Record]
    end: int
    n_visible: int

    @property
    def end_now(self) -> int:
        """Offset at which the log ends for now."""
        if self.n_visible == len(self.records):
            return self.end
        return self.records[self.n_visible - 1].offset + 1 if self.n_visible else self.earliest

    def fetch(self, position: int, n_most: int) -> list[Record]:
        """Return at most `n_most` visible records from offset `position` on."""
        return [record for record in self.records[: self.n_visible] if record.offset >= position][:n_most]


def logs_of(scenario: Scenario) -> list[Log]:
    """Draw the logs; at least one holds an event that counts."""
    draw = Random(f"topic {scenario.seed}")
    n_records = draw.randint(15, 50)
    logs = []
    for partition in range(scenario.n_partitions):
        share = 1 if partition == 0 else draw.choice([0, 0.3, 1, 1, 1.5])
        logs.append(_log(scenario, draw, partition, int(share * n_records / scenario.n_partitions) + (partition == 0)))
    return logs


def _log(scenario: Scenario, draw: Random, partition: int, n_records: int) -> Log:
    earliest = offset = draw.choice([0, 0, 7])
    records: list[Record] = []
    writer = _Writer(scenario, draw, partition)
    for _ in range(n_records):
        offset += draw.randint(1, 3) if draw.random() < 0.12 else 0
        records.append(writer.next_record(offset))
        offset += 1
    end = offset + (draw.randint(1, 3) if draw.random() < 0.3 else 0)
    return Log(partition, earliest, records, end, 0 if scenario.follows else n_records)


class _Writer:
    """Producers of one partition."""

    def __init__(self, scenario: Scenario, draw: Random, partition: int) -> None:
        self._scenario, self._draw, self._partition = scenario, draw, partition
        self._users = [f"user {partition}.{number}" for number in range(draw.choice([1, 2, 3, 6]))]
        self._step_ms = draw.choice([6_000, 15_000, 30_000])
        self._latest_ms = BEGIN_MS + draw.choice([0, 0, 1, 3]) * PANE_MS // 2 + draw.randint(0, 50_000)
        self._rates = draw.choice([(0.0, 0.0, 0.0), (0.08, 0.05, 0.05)])
        self._written: list[Record] = []

    def next_record(self, offset: int) -> Record:
        """Draw the record that is written next."""
        late, ahead, nonsense = self._rates
        kind = self._draw.random() if self._written else 1.0
        if kind < nonsense:
            return Record(offset, b"key %d" % offset, self._draw.choice(_NONSENSE))
        if self._scenario.has_ids and self._draw.random() < 0.15:
            again = [r for r in self._written if self._is_remembered(r)]
            if again:
                return self._event_like(self._draw.choice(again), offset)
        if kind < nonsense + ahead:
            time_ms = NOW_MS + _FAR_AHEAD_MS
        elif kind < nonsense + ahead + late:
            time_ms = self._latest_ms - self._scenario.lateness_ms - self._draw.randint(1, 2 * PANE_MS)
        else:
            time_ms = self._in_time_ms()
        record = self._event(offset, time_ms)
        if not record.is_ahead:
            self._written.append(record)
        return record

    def _is_remembered(self, record: Record) -> bool:
        span_ms = self._scenario.duplicates_ms
        assert span_ms is not None
        assert record.time_ms is not None
        return record.event_id is not None and record.is_positive and record.time_ms > self._latest_ms - span_ms

    def _in_time_ms(self) -> int:
        draw = self._draw
        if draw.random() < 0.25:
            return self._latest_ms - draw.randint(0, self._scenario.lateness_ms)  # out of order, or in the same instant
        time_ms = self._latest_ms + draw.randint(0, self._step_ms) * (6 if draw.random() < 0.05 else 1)
        self._latest_ms = max(self._latest_ms, time_ms)
        return time_ms

    def _event(self, offset: int, time_ms: int) -> Record:
        draw = self._draw
        event_id = f"{self._partition}/{offset}" if self._scenario.has_ids and draw.random() < 0.9 else None
        is_positive = not (self._scenario.has_negatives and draw.random() < 0.2)
        draft = Record(
            offset, b"", b"", draw.choice(self._users), draw.choice(CLUSTERS), time_ms, event_id, is_positive
        )
        return self._event_like(draft, offset)

    @staticmethod
    def _event_like(record: Record, offset: int) -> Record:
        fields: dict[str, object] = {"user_id": record.user, "category": record.cluster, "timestamp": record.time_ms}
        fields |= {"engagement": _POSITIVE_FROM if record.is_positive else 0.1}
        fields |= {} if record.event_id is None else {"event_id": record.event_id}
        return Record(
            offset,
            b"key %d" % offset,
            msgspec.json.encode(fields),
            record.user,
            record.cluster,
            record.time_ms,
            record.event_id,
            record.is_positive,
        )
