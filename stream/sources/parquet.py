"""Parquet files: only the needed columns of only the needed row groups are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from stream.decoding.columns import DecodeOptions, map_columns
from stream.decoding.decoder import RawRecords
from stream.events import EventBatch
from stream.sources.files import BATCH_RECORDS, FILE_PARTITION, FileSource, end_batch, existing_file
from tidegate.clock import Clock
from tidegate.errors import EmptySourceError, SourceError


class ParquetSource(FileSource):
    """A ``.parquet`` file; an offset is a record's number, from 0.

    Parameters
    ----------
    path : str or Path
    options : DecodeOptions
    clock : Clock
    batch_records : int

    Raises
    ------
    RequestError
        If there is no such file.
    SourceError
        If it is not Parquet, or cut off (its index is its last part).
    EmptySourceError
        If it holds no record.
    MissingColumnError
        If a column is not in its schema.
    """

    def __init__(
        self, path: str | Path, options: DecodeOptions, clock: Clock, *, batch_records: int = BATCH_RECORDS
    ) -> None:
        absolute = existing_file(path)
        try:
            with pa.parquet.ParquetFile(absolute) as file:
                self._n_records = int(file.metadata.num_rows)
                names = file.schema_arrow.names
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(absolute, error) from error
        if self._n_records == 0:
            raise EmptySourceError("the file holds no record", "Check how it was written", place=str(absolute))
        super().__init__(absolute, options, map_columns(names, options, str(absolute)), clock)
        self._batch_records = batch_records

    @property
    def n_records_expected(self) -> int | None:
        """Records that the file's index tells of."""
        return self._n_records

    def batches(self, start: Mapping[int, int]) -> Iterator[EventBatch]:
        """Yield batches from a record on; the last one is empty and at the end.

        Raises
        ------
        SourceError
            If the file is damaged, or shorter than where the run stood.
        """
        first = self._start(start)
        self._refuse_beyond_end(first, self._n_records)
        try:
            yield from self._read(first)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self._path, error) from error
        yield end_batch(FILE_PARTITION, self._n_records)

    def _read(self, first: int) -> Iterator[EventBatch]:
        needed = self._columns.needed
        with pa.parquet.ParquetFile(self._path, read_dictionary=[self._columns.label]) as file:
            at, groups = _groups_from(file.metadata, first)
            for table in file.iter_batches(self._batch_records, row_groups=groups, columns=list(needed)):
                skipped = min(max(first - at, 0), table.num_rows)
                if skipped < table.num_rows:
                    yield self._decode(table.slice(skipped), at + skipped)
                at += table.num_rows

    def _decode(self, table: Any, first: int) -> EventBatch:
        def place_of(row: int) -> str:
            return f"{self._path}#{first + row}"

        records = RawRecords({name: table.column(name) for name in self._columns.needed}, table.num_rows, place_of)
        return self._decoder.decode(records, partition=FILE_PARTITION, next_offset=first + table.num_rows)


def _groups_from(metadata: Any, first: int) -> tuple[int, list[int]]:
    """Find the row groups that hold records from `first` on, and the number of their first record."""
    at = 0
    for group in range(metadata.num_row_groups):
        n_rows = metadata.row_group(group).num_rows
        if at + n_rows > first:
            return at, list(range(group, metadata.num_row_groups))
        at += n_rows
    return at, []


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(
        f"it cannot be read as Parquet ({error})", "Fetch or write the file again, whole", place=str(path)
    )
