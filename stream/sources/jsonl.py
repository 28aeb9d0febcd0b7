"""JSON lines: one object a line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from stream.decoding.columns import DecodeOptions, map_columns
from stream.decoding.messages.json_rows import JsonRows
from stream.sources.files import BATCH_RECORDS, existing_file
from stream.sources.lines import LineFile
from stream.sources.text import BadLine, ParsedLines, TextSource
from tidegate.clock import Clock

_N_PEEKED = 1_000
_MEND = 'Write one object a line with text, numbers or booleans: {"user_id": 7, "category": "news", "timestamp": 0}'


class JsonlSource(TextSource):
    """``.jsonl`` and ``.ndjson``, also ``.gz``.

    Columns are the members of the objects among the first thousand lines.

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
        If it has no line.
    MissingColumnError
        If no object at the file's beginning has a mapped member.
    """

    def __init__(
        self, path: str | Path, options: DecodeOptions, clock: Clock, *, batch_records: int = BATCH_RECORDS
    ) -> None:
        absolute = existing_file(path)
        lines = LineFile(absolute, has_header=False)
        columns = map_columns(_members(lines), options, str(absolute))
        parser = JsonLineParser(columns.needed)
        super().__init__(absolute, lines, parser, options, columns, clock, batch_records)


class JsonLineParser:
    r"""Parses lines and keeps the wanted members.

    Examples
    --------
    >>> parsed = JsonLineParser(("user",)).parse(b'{"user": 7}\n\n{"user": 8}')
    >>> parsed.columns["user"].to_pylist(), parsed.numbers.tolist()
    ([7, 8], [0, 2])
    """

    def __init__(self, wanted: tuple[str, ...]) -> None:
        self._objects = JsonRows({name: (name,) for name in wanted})

    def parse(self, data: bytes) -> ParsedLines:
        """Parse lines that are joined by line feeds."""
        lines = data.split(b"\n")
        numbers = [number for number, line in enumerate(lines) if line and not line.isspace()]
        values = lines if len(numbers) == len(lines) else [lines[number] for number in numbers]
        rows = self._objects.decode(values)
        line_of = np.array(numbers, dtype=np.int64)
        bad = [BadLine(numbers[at], f"the line is no readable object ({fault})", _MEND) for at, fault in rows.bad]
        return ParsedLines(rows.columns, line_of if rows.positions is None else line_of[rows.positions], bad)


def _members(lines: LineFile) -> list[str]:
    names: dict[str, None] = {}
    for line in next(lines.blocks(0, _N_PEEKED)).data.split(b"\n"):
        try:
            names.update(dict.fromkeys(msgspec.json.decode(line, type=dict[str, msgspec.Raw])))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # it is counted and shown when it is read
    return list(names)
