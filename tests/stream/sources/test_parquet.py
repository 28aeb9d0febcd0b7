from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.decoding.columns import DecodeOptions
from stream.sources.parquet import ParquetSource
from tidegate.clock import ManualClock
from tidegate.errors import EmptySourceError, MissingColumnError, SourceError

_CLOCK = ManualClock(1_700_000_000_000)


def _write(folder: Path, table: pa.Table, **options: int) -> Path:
    path = folder / "e.parquet"
    pq.write_table(table, path, **options)
    return path


def _events(n: int) -> pa.Table:
    return pa.table({"user_id": list(range(n)), "category": ["a"] * n, "timestamp": list(range(n))})


def test_timestamp_columns_need_no_unit(tmp_path: Path) -> None:
    instant = datetime.datetime(2022, 4, 24, 15, 5, 41, tzinfo=datetime.UTC)
    table = pa.table({"user_id": ["u"], "category": ["a"], "timestamp": pa.array([instant], pa.timestamp("ns", "UTC"))})
    batch = next(ParquetSource(_write(tmp_path, table), DecodeOptions(), _CLOCK).batches({}))
    assert batch.times_ms.tolist() == [1650812741000]


def test_batches_are_no_larger_than_asked_and_cover_all_row_groups(tmp_path: Path) -> None:
    source = ParquetSource(_write(tmp_path, _events(100), row_group_size=30), DecodeOptions(), _CLOCK, batch_records=25)
    batches = list(source.batches({0: 31}))
    assert max(batch.n_records for batch in batches) <= 25
    assert [time for batch in batches for time in batch.times_ms.tolist()] == [k * 1_000 for k in range(31, 100)]


def test_a_truncated_file_cannot_be_read(tmp_path: Path) -> None:
    path = _write(tmp_path, _events(1_000))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match="it cannot be read as Parquet"):
        ParquetSource(path, DecodeOptions(), _CLOCK)


def test_damage_in_the_middle_is_told_when_it_is_met(tmp_path: Path) -> None:
    path = _write(tmp_path, _events(1_000))
    content = bytearray(path.read_bytes())
    content[4:200] = b"\xff" * 196
    path.write_bytes(content)
    source = ParquetSource(path, DecodeOptions(), _CLOCK)
    with pytest.raises(SourceError, match="it cannot be read as Parquet"):
        list(source.batches({}))


def test_a_file_without_records_or_columns_is_told(tmp_path: Path) -> None:
    with pytest.raises(EmptySourceError):
        ParquetSource(_write(tmp_path, _events(0)), DecodeOptions(), _CLOCK)
    with pytest.raises(MissingColumnError, match="the columns are: x"):
        ParquetSource(_write(tmp_path, pa.table({"x": [1]})), DecodeOptions(), _CLOCK)
