"""What every source promises, each promise checked on every source."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.decoding.columns import DecodeOptions
from stream.decoding.engagement import PositiveRule
from stream.events import EventBatch, Outcome, Source
from stream.sources import open_source
from stream.sources.csv import CsvSource
from stream.sources.jsonl import JsonlSource
from stream.sources.kafka import KafkaSource
from stream.sources.parquet import ParquetSource
from tests.mock_broker import MockBroker
from tidegate.clock import ManualClock
from tidegate.errors import SourceError
from tidegate.hashing import hash_text

_NAMES = ("user_id", "category", "timestamp", "engagement")
_KNOWN = frozenset(f"c{k}" for k in range(7))
_NOW = 1_700_000_000
_DAY = 86_400
_BATCH_RECORDS = 16
_Row = tuple[int | None, str | None, int | None, float | None]


def _rows() -> list[_Row]:
    rows: list[_Row] = [(k * k % 23, f"c{k % 7}", _NOW - 200 + k, k % 10 / 10) for k in range(100)]
    rows[3] = (None, "c3", _NOW, 1.0)
    rows[20] = (20, None, _NOW, 1.0)
    rows[37] = (37, "c2", None, 1.0)
    rows[38] = (38, "c2", -5, 1.0)
    rows[50] = (50, "elsewhere", _NOW, 1.0)
    rows[51] = (51, "c1", _NOW + 3 * _DAY, 1.0)
    rows[99] = (99, "c1", _NOW, None)
    return rows


_ROWS = _rows()


@dataclass(frozen=True)
class _Reading:
    """What a source said from an offset on."""

    events: list[tuple[int, str, int]]
    set_aside: Counter[Outcome]


def _expected(rows: Sequence[_Row]) -> _Reading:
    """The rules in plain Python."""
    events, set_aside = [], Counter[Outcome]()
    for user, cluster, time, engagement in rows:
        if user is None or cluster is None or time is None or time < 0:
            set_aside[Outcome.MALFORMED] += 1
        elif time > _NOW + _DAY:
            set_aside[Outcome.FUTURE] += 1
        elif cluster not in _KNOWN:
            set_aside[Outcome.UNKNOWN_CLUSTER] += 1
        elif engagement is None or engagement < 0.5:
            set_aside[Outcome.NEGATIVE] += 1
        else:
            events.append((hash_text(str(user)), cluster, time * 1_000))
    return _Reading(events, set_aside)


def _csv_bytes(rows: Sequence[_Row]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_NAMES)
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue().encode()


def _json_values(rows: Sequence[_Row]) -> list[bytes]:
    return [json.dumps(dict(zip(_NAMES, row, strict=True))).encode() for row in rows]


class _Maker:
    """Makes a source of one kind from rows."""

    def __init__(self, kind: str, folder: Path, broker: MockBroker) -> None:
        self._kind = kind
        self._folder = folder
        self._broker = broker
        self._options = DecodeOptions(positive=PositiveRule.parse("engagement >= 0.5"), known_clusters=_KNOWN)
        self._clock = ManualClock(_NOW * 1_000)
        self.place = {
            "csv": "events.csv:{}",
            "csv.gz": "events.csv.gz:{}",
            "jsonl": "events.jsonl:{}",
            "jsonl.gz": "events.jsonl.gz:{}",
            "parquet": "events.parquet#{}",
            "kafka": "events[0]@{}",
        }[kind]
        self.first_place = {"csv": 2, "csv.gz": 2, "jsonl": 1, "jsonl.gz": 1}.get(kind, 0)

    def write(self, rows: Sequence[_Row]) -> None:
        self._topic = f"{self._folder.name}.events".replace("[", "-").replace("]", "-")
        self._path = self._folder / f"events.{self._kind}"
        if self._kind == "kafka":
            self._broker.produce(self._topic, _json_values(rows))
        elif self._kind == "parquet":
            columns = dict(zip(_NAMES, (list(column) for column in zip(*rows, strict=True)), strict=True))
            pq.write_table(pa.table(columns), self._path, row_group_size=30)
        else:
            content = _csv_bytes(rows) if "csv" in self._kind else b"\n".join(_json_values(rows)) + b"\n"
            self._path.write_bytes(gzip.compress(content) if self._kind.endswith("gz") else content)

    def open(self) -> Source:
        if self._kind == "kafka":
            return KafkaSource(
                self._broker.address, self._topic, self._options, self._clock, batch_records=_BATCH_RECORDS
            )
        makers: dict[str, Any] = {"csv": CsvSource, "jsonl": JsonlSource, "parquet": ParquetSource}
        maker = makers[self._kind.removesuffix(".gz")]
        source: Source = maker(self._path, self._options, self._clock, batch_records=_BATCH_RECORDS)
        return source

    def open_by_name(self) -> Source:
        kafka = f"kafka://{self._broker.address}/{self._topic}"
        return open_source(kafka if self._kind == "kafka" else self._path, self._options, self._clock)


@pytest.fixture(scope="module")
def broker() -> Iterator[MockBroker]:
    with MockBroker() as broker:
        yield broker


@pytest.fixture(params=["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet", "kafka"])
def maker(request: pytest.FixtureRequest, tmp_path: Path, broker: MockBroker) -> _Maker:
    maker = _Maker(request.param, tmp_path, broker)
    maker.write(_ROWS)
    return maker


def _batches(source: Source, offset: int = 0) -> list[EventBatch]:
    try:
        return list(source.batches({0: offset}))
    finally:
        source.close()


def _reading(source: Source, batches: Sequence[EventBatch]) -> _Reading:
    events, set_aside = [], Counter[Outcome]()
    for batch in batches:
        names = [source.cluster_names[code] for code in batch.clusters.tolist()]
        events += list(zip(batch.users.tolist(), names, batch.times_ms.tolist(), strict=True))
        set_aside.update(batch.set_aside)
    return _Reading(events, set_aside)


def test_the_same_records_are_the_same_events_and_outcomes(maker: _Maker) -> None:
    source = maker.open()
    assert _reading(source, _batches(source)) == _expected(_ROWS)


def test_reading_goes_on_from_any_offset_with_exactly_the_rest(maker: _Maker) -> None:
    for offset in (1, 15, 16, 17, 30, 59, 60, 99, 100):
        source = maker.open()
        assert _reading(source, _batches(source, offset)) == _expected(_ROWS[offset:])


def test_every_batch_names_the_offset_that_follows_it(maker: _Maker) -> None:
    source = maker.open()
    n_read = 0
    for batch in _batches(source):
        if batch.partition == 0:
            n_read += batch.n_records
            assert batch.next_offset == n_read
    assert n_read == len(_ROWS)


def test_every_record_of_a_batch_is_accounted_for(maker: _Maker) -> None:
    for batch in _batches(maker.open()):
        n = len(batch.users)
        assert len(batch.clusters) == len(batch.times_ms) == n
        assert batch.n_records == n + sum(batch.set_aside.values())


def test_a_batch_spans_its_well_formed_records_in_time(maker: _Maker) -> None:
    batches = [batch for batch in _batches(maker.open()) if batch.n_records]
    times = [
        time * 1_000
        for user, cluster, time, _ in _ROWS
        if user is not None and cluster is not None and time is not None and 0 <= time <= _NOW + _DAY
    ]
    assert max(batch.latest_ms for batch in batches if batch.latest_ms is not None) == max(times)


def test_issues_name_the_place_of_the_record(maker: _Maker) -> None:
    issues = [issue for batch in _batches(maker.open()) for issue in batch.issues]
    places = [issue.place for issue in issues]
    expected = [maker.place.format(row + maker.first_place) for row in (3, 20, 37, 38, 50, 51)]
    assert all(place.endswith(end) for place, end in zip(places, expected, strict=True)), places
    assert all(issue.found and issue.mend for issue in issues)


def test_every_partition_ends(maker: _Maker) -> None:
    source = maker.open()
    ended = {batch.partition for batch in _batches(source) if batch.at_end}
    assert ended == set(source.partitions)


def test_a_source_is_known_by_an_absolute_name(maker: _Maker) -> None:
    source, again = maker.open(), maker.open()
    assert source.identity == again.identity
    assert source.identity.startswith(("/", "kafka://"))
    source.close()
    again.close()


def test_the_expected_number_of_records_is_right_where_it_is_known(maker: _Maker) -> None:
    source = maker.open()
    assert source.n_records_expected in {None, len(_ROWS)}
    source.close()


def test_an_offset_past_the_end_is_refused(maker: _Maker) -> None:
    with pytest.raises(SourceError, match="101"):
        _batches(maker.open(), 101)


def test_a_name_opens_the_same_source(maker: _Maker) -> None:
    source, named = maker.open(), maker.open_by_name()
    assert named.identity == source.identity
    assert _reading(named, _batches(named)) == _expected(_ROWS)
    source.close()


def test_pausing_and_closing_twice_are_harmless(maker: _Maker) -> None:
    source = maker.open()
    source.pause_ahead_of(0)
    source.pause_ahead_of(None)
    source.close()
    source.close()
