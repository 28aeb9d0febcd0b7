"""Comma-separated files, read as text by pyarrow's parser, block by block."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from stream.decoding.columns import DecodeOptions, map_columns
from stream.decoding.texts import as_text
from stream.sources.files import BATCH_RECORDS, existing_file
from stream.sources.lines import LineFile
from stream.sources.text import BadLine, ParsedLines, TextSource
from tidegate.clock import Clock

_MEND = "Correct the line; a value with a comma is quoted, and no value may contain a line break"


class CsvSource(TextSource):
    """``.csv`` and ``.csv.gz`` with a header.

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
    EmptySourceError
        If it has no line but the header.
    MissingColumnError
        If a column is not in the header.
    """

    def __init__(
        self, path: str | Path, options: DecodeOptions, clock: Clock, *, batch_records: int = BATCH_RECORDS
    ) -> None:
        absolute = existing_file(path)
        lines = LineFile(absolute, has_header=True)
        names = _fields(lines.header.rstrip(b"\r")) or []
        columns = map_columns((name.strip() for name in names), options, str(absolute))
        parser = CsvParser([name.strip() for name in names], columns.needed)
        super().__init__(absolute, lines, parser, options, columns, clock, batch_records)


class CsvParser:
    r"""Parses lines of a known width and keeps the wanted columns.

    Parameters
    ----------
    names : list of str        the header
    wanted : tuple of str      names to keep; of two equal names the first counts

    Examples
    --------
    >>> parsed = CsvParser(["user", "time"], ("time",)).parse(b"7,12\n8")
    >>> parsed.columns["time"].to_pylist(), parsed.bad[0].found
    (['12'], 'the line has 1 value, the header 2')
    """

    def __init__(self, names: list[str], wanted: tuple[str, ...]) -> None:
        self._n_columns = len(names)
        self._index_of = {name: names.index(name) for name in wanted}

    def parse(self, data: bytes) -> ParsedLines:
        """Parse lines that are joined by line feeds. A carriage return before the line feed is cut off."""
        text, numbers = _without_empty_lines(_without_carriage_returns(data))
        if not len(numbers):
            return ParsedLines({name: pa.array([], pa.string()) for name in self._index_of}, numbers, [])
        bad_rows: list[Any] = []
        table = self._read(text, bad_rows)
        if table is None or table.num_rows + len(bad_rows) != len(numbers):
            return self._parse_line_by_line(text, numbers)  # a stray quote has swallowed line breaks
        bad = [BadLine(int(numbers[row.number - 1]), self._wrong_width(row.actual_columns), _MEND) for row in bad_rows]
        good = np.delete(numbers, [row.number - 1 for row in bad_rows]) if bad_rows else numbers
        return ParsedLines(self._columns(table), good, bad)

    def _read(self, text: bytes, bad_rows: list[Any]) -> Any:
        def keep_bad_row(row: Any) -> str:
            bad_rows.append(row)
            return "skip"

        # pyarrow hands a bad row over as text: one that is not UTF-8 would fail in its callback, where no one catches.
        handler = keep_bad_row if _is_utf8(text) else None
        names = [str(index) for index in range(self._n_columns)]
        wanted = [str(index) for index in self._index_of.values()]
        try:
            return pyarrow.csv.read_csv(
                pa.BufferReader(text),
                # One block and one thread: only so do bad rows know their number.
                pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(text) + 1),
                pyarrow.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=handler),
                # As bytes: one value that is not UTF-8 must not fail the block.
                pyarrow.csv.ConvertOptions(include_columns=wanted, column_types=dict.fromkeys(wanted, pa.binary())),
            )
        except pa.ArrowInvalid:
            return None

    def _columns(self, table: Any) -> Mapping[str, Any]:
        return {name: as_text(table.column(str(at)).combine_chunks()) for name, at in self._index_of.items()}

    def _parse_line_by_line(self, text: bytes, numbers: NDArray[np.int64]) -> ParsedLines:
        rows, good, bad = [], [], []
        for line, number in zip(text.split(b"\n"), numbers.tolist(), strict=True):
            fields = _fields(line)
            if fields is None:
                bad.append(BadLine(number, "a quoted value does not end on its line", _MEND))
            elif len(fields) != self._n_columns:
                bad.append(BadLine(number, self._wrong_width(len(fields)), _MEND))
            else:
                rows.append(fields)
                good.append(number)
        columns = {name: _encoded([row[at] for row in rows]) for name, at in self._index_of.items()}
        return ParsedLines(columns, np.array(good, dtype=np.int64), bad)

    def _wrong_width(self, n_values: int) -> str:
        return f"the line has {n_values} value{'s' * (n_values != 1)}, the header {self._n_columns}"


def _is_utf8(text: bytes) -> bool:
    if text.isascii():  # as fast as memory, and nearly always so
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _without_carriage_returns(data: bytes) -> bytes:
    if b"\r" not in data:
        return data
    # One that stands alone would end a line for the parser, but not for the numbering.
    return data.replace(b"\r\n", b"\n").removesuffix(b"\r").replace(b"\r", b" ")


def _without_empty_lines(data: bytes) -> tuple[bytes, NDArray[np.int64]]:
    if data and b"\n\n" not in data and not data.startswith(b"\n") and not data.endswith(b"\n"):
        return data, np.arange(data.count(b"\n") + 1)
    lines = data.split(b"\n")
    numbers = np.array([number for number, line in enumerate(lines) if line], dtype=np.int64)
    return b"\n".join(line for line in lines if line), numbers


def _fields(line: bytes) -> list[str] | None:
    """Split one line; None where a quote is left open. Undecodable bytes survive as surrogates."""
    text = line.decode(errors="surrogateescape")
    if text.count('"') % 2:
        return None
    try:
        return next(csv.reader([text]), [])
    except csv.Error:
        return None


def _encoded(values: list[str]) -> Any:
    return as_text(pa.array([value.encode(errors="surrogateescape") for value in values], pa.binary()))
