"""Sources whose records are lines; the formats differ only in how lines become columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stream.decoding.columns import ColumnMap, DecodeOptions
from stream.decoding.decoder import MAX_ISSUES, RawRecords
from stream.events import EventBatch, Outcome, RecordIssue
from stream.sources.files import FILE_PARTITION, FileSource, end_batch
from stream.sources.lines import LineBlock, LineFile
from tidegate.clock import Clock


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no record: its number in the block, what is wrong, what to do."""

    number: int
    found: str
    mend: str


@dataclass(frozen=True, slots=True)
class ParsedLines:
    """Lines as columns.

    Attributes
    ----------
    columns : mapping       name -> pyarrow.Array[n]
    numbers : int64[n]      number of each row's line in the block
    bad : list of BadLine   all that did not parse; empty lines are in neither
    """

    columns: Mapping[str, Any]
    numbers: NDArray[np.int64]
    bad: list[BadLine]


class LineParser(Protocol):
    """How a format turns lines into columns."""

    def parse(self, data: bytes) -> ParsedLines:
        """Parse lines that are joined by line feeds."""
        ...


class TextSource(FileSource):
    """A file of lines as a source; an offset is a line's number, from 0 after the header."""

    def __init__(
        self,
        path: Path,
        lines: LineFile,
        parser: LineParser,
        options: DecodeOptions,
        columns: ColumnMap,
        clock: Clock,
        batch_records: int,
    ) -> None:
        super().__init__(path, options, columns, clock)
        self._lines = lines
        self._parser = parser
        self._batch_records = batch_records

    def batches(self, start: Mapping[int, int]) -> Iterator[EventBatch]:
        """Yield batches from a line on; the last one is empty and at the end.

        Raises
        ------
        TruncatedSourceError
            After everything readable, if the gzip stream is damaged.
        SourceError
            If the file cannot be read, or is shorter than where the run stood.
        """
        first = self._start(start)
        for block in self._lines.blocks(first, self._batch_records):
            yield self._decode(block)
        self._refuse_beyond_end(first, self._lines.n_lines)
        yield end_batch(FILE_PARTITION, self._lines.n_lines)

    def _decode(self, block: LineBlock) -> EventBatch:
        parsed = self._parser.parse(block.data)

        def place_of(row: int) -> str:
            return self._lines.place_of(block.first + int(parsed.numbers[row]))

        unreadable = tuple(
            RecordIssue(Outcome.MALFORMED, self._lines.place_of(block.first + line.number), line.found, line.mend)
            for line in parsed.bad[:MAX_ISSUES]
        )
        records = RawRecords(parsed.columns, len(parsed.numbers), place_of, unreadable, len(parsed.bad))
        return self._decoder.decode(records, partition=FILE_PARTITION, next_offset=block.first + block.n_lines)
