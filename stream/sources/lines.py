"""Text files in blocks of whole lines, plain or gzip, resumable by line and honest about damage.

A line is a record, so that its number is a stable offset: a quoted value cannot span lines, and an empty line counts
in the numbering but is no record.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np

from tidegate.errors import EmptySourceError, SourceError, TruncatedSourceError

BLOCK_BYTES = 8 << 20
_MAX_LINE_BYTES = 64 << 20  # what has no line break for so long is not a text file; bounds the memory
_BOM = b"\xef\xbb\xbf"
_NEWLINE = 10


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Consecutive lines.

    Attributes
    ----------
    first : int      number of the first line, from 0 after the header
    n_lines : int
    data : bytes     the lines, joined by a line feed, without one at the end
    """

    first: int
    n_lines: int
    data: bytes


class LineFile:
    """Lines of ``.csv``, ``.jsonl`` and the like, through gzip where the name ends in ``.gz``.

    Parameters
    ----------
    path : Path
    has_header : bool     whether the first line is not a record

    Raises
    ------
    EmptySourceError
        If there is no line but the header.
    SourceError
        If the file cannot be read at all.
    """

    def __init__(self, path: Path, *, has_header: bool) -> None:
        self._path = path
        self._has_header = has_header
        self.header = b""
        if not any(block.data.strip() for block in self.blocks(0, 1 << 31)):
            raise EmptySourceError("the file holds no record", "Check that it was written completely", place=str(path))

    def place_of(self, number: int) -> str:
        """Name a line as editors count: from 1, the header included."""
        return f"{self._path}:{number + 1 + self._has_header}"

    def blocks(self, start: int, max_lines: int) -> Iterator[LineBlock]:
        """Yield the lines from number `start` on, at most `max_lines` at a time.

        Raises
        ------
        TruncatedSourceError
            After all whole lines, if a gzip stream ends early or does not check out. The line that was cut is left
            for the next run, which finds it whole.
        SourceError
            If the file cannot be read, is not gzip, or has no line breaks.
        """
        self.n_lines = 0
        try:
            with self._path.open("rb") as file:
                stream = _Stream(file, is_gzip=self._path.suffix == ".gz")
                for data in self._whole_lines(stream):
                    text = data.removesuffix(b"\n")
                    n_lines = text.count(b"\n") + 1
                    block = LineBlock(self.n_lines, n_lines, text)
                    self.n_lines += n_lines
                    yield from _cut(block, start, max_lines)
        except OSError as error:
            raise SourceError(
                f"it cannot be read ({error})", "Check the file and its disk", place=str(self._path)
            ) from error
        if stream.damage is not None:
            raise self._damage_error(stream)

    def _whole_lines(self, stream: _Stream) -> Iterator[bytes]:
        rest = b""
        has_header = self._has_header
        is_first = True
        while chunk := stream.read(BLOCK_BYTES):
            whole, newline, tail = chunk.rpartition(b"\n")
            if not newline and len(rest) + len(chunk) > _MAX_LINE_BYTES:
                found = f"a line is longer than {_MAX_LINE_BYTES >> 20} MiB"
                raise SourceError(found, "Give a text file with one record a line", place=str(self._path))
            if not newline:
                rest += chunk
                continue
            data, rest = rest + whole + newline, tail
            data = data.removeprefix(_BOM) if is_first else data
            if is_first and has_header:
                self.header, _, data = data.partition(b"\n")
            is_first = False
            if data:
                yield data
        if rest and stream.damage is None:
            rest = rest.removeprefix(_BOM) if is_first else rest
            if is_first and has_header:
                self.header = rest
            else:
                yield rest

    def _damage_error(self, stream: _Stream) -> SourceError:
        if stream.n_bytes == 0 and isinstance(stream.damage, gzip.BadGzipFile):
            found = f"it is not a gzip file, although its name ends in .gz ({stream.damage})"
            return SourceError(found, "Compress it with gzip, or take .gz from its name", place=str(self._path))
        how = "ends in the middle" if isinstance(stream.damage, EOFError) else f"is damaged ({stream.damage})"
        return TruncatedSourceError(
            f"the gzip stream {how}, {self.n_lines} whole records came before",
            "Fetch the file again and repeat the command: it goes on from there, no finished record is read twice",
            place=str(self._path),
        )


class _Stream:
    """Bytes of a file; damage of a gzip stream ends it like its end would, and is remembered."""

    def __init__(self, file: IO[bytes], *, is_gzip: bool) -> None:
        self._file: IO[bytes] | gzip.GzipFile = gzip.GzipFile(fileobj=file) if is_gzip else file
        self._is_gzip = is_gzip
        self.damage: Exception | None = None
        self.n_bytes = 0

    def read(self, n_bytes: int) -> bytes:
        data = self._read_gzip(n_bytes) if self._is_gzip else self._file.read(n_bytes)
        self.n_bytes += len(data)
        return data

    def _read_gzip(self, n_bytes: int) -> bytes:
        pieces: list[bytes] = []
        missing = n_bytes
        stream = cast(gzip.GzipFile, self._file)
        while missing > 0 and self.damage is None:
            try:
                # read1, because read() throws away what it has when the stream breaks under it
                piece = stream.read1(missing)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                self.damage = error
                break
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)


def _cut(block: LineBlock, start: int, max_lines: int) -> Iterator[LineBlock]:
    """Leave out lines before `start` and cut the rest into blocks of `max_lines`."""
    skipped = min(max(start - block.first, 0), block.n_lines)
    if skipped == 0 and block.n_lines <= max_lines:
        yield block
        return
    breaks = np.flatnonzero(np.frombuffer(block.data, dtype=np.uint8) == _NEWLINE)
    bounds = np.concatenate(([-1], breaks, [len(block.data)]))
    for line in range(skipped, block.n_lines, max_lines):
        stop = min(line + max_lines, block.n_lines)
        yield LineBlock(block.first + line, stop - line, block.data[int(bounds[line]) + 1 : int(bounds[stop])])
