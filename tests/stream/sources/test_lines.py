from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.sources import lines
from stream.sources.lines import LineFile
from tidegate.errors import EmptySourceError, SourceError, TruncatedSourceError


def _file(folder: Path, content: bytes, name: str = "f.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _lines(file: LineFile, start: int = 0, max_lines: int = 1 << 20) -> list[bytes]:
    out: list[bytes] = []
    for block in file.blocks(start, max_lines):
        cut = block.data.split(b"\n")
        assert len(cut) == block.n_lines <= max_lines
        assert block.first == start + len(out)
        out += cut
    return out


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.text("ab ", max_size=5).map(str.encode), min_size=1, max_size=30).filter(
        lambda r: any(map(bytes.strip, r))
    ),
    block_bytes=st.integers(1, 40),
    max_lines=st.integers(1, 9),
    start=st.integers(0, 30),
    is_gzip=st.booleans(),
    has_header=st.booleans(),
)
def test_lines_are_the_same_however_they_are_cut(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[bytes],
    block_bytes: int,
    max_lines: int,
    start: int,
    is_gzip: bool,
    has_header: bool,
) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", block_bytes)
    content = b"\n".join([b"head"] * has_header + rows) + b"\n"
    path = _file(tmp_path, gzip.compress(content) if is_gzip else content, "f.gz" if is_gzip else "f")
    file = LineFile(path, has_header=has_header)
    assert file.header == b"head" * has_header
    assert _lines(file, start, max_lines) == rows[start:]
    assert file.n_lines == len(rows)


def test_the_last_line_needs_no_line_break_and_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    file = LineFile(_file(tmp_path, b"\xef\xbb\xbfh\nx\ny"), has_header=True)
    assert (file.header, _lines(file)) == (b"h", [b"x", b"y"])
    assert _lines(LineFile(_file(tmp_path, b"\xef\xbb\xbfx"), has_header=False)) == [b"x"]


def test_places_count_like_editors(tmp_path: Path) -> None:
    path = _file(tmp_path, b"h\nx\n")
    assert LineFile(path, has_header=True).place_of(0) == f"{path}:2"
    assert LineFile(path, has_header=False).place_of(0) == f"{path}:1"


@pytest.mark.parametrize("content", [b"", b"head", b"head\n", b"head\n\n \n"])
def test_a_file_without_records_is_empty(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(EmptySourceError, match="holds no record"):
        LineFile(_file(tmp_path, content), has_header=True)


def test_a_concatenation_of_gzip_streams_is_one_file(tmp_path: Path) -> None:
    path = _file(tmp_path, gzip.compress(b"h\na\n") + gzip.compress(b"b\n"), "f.gz")
    assert _lines(LineFile(path, has_header=True)) == [b"a", b"b"]


def _big() -> tuple[list[bytes], bytes]:
    rows = [f"{k},{k * 7919 % 10007}".encode() for k in range(20_000)]
    return rows, gzip.compress(b"h\n" + b"\n".join(rows) + b"\n", mtime=0)


def test_truncated_gzip_keeps_what_came_before_and_goes_on_when_it_is_whole(tmp_path: Path) -> None:
    rows, packed = _big()
    path = _file(tmp_path, packed[: len(packed) // 2], "f.gz")
    file, got = LineFile(path, has_header=True), []
    with pytest.raises(TruncatedSourceError, match=r"ends in the middle, (\d+) whole records came before") as caught:
        for block in file.blocks(0, 1_000):
            got += block.data.split(b"\n")
    assert got == rows[: len(got)]
    assert len(got) > 5_000
    assert str(len(got)) in caught.value.found
    assert "goes on from there" in caught.value.mend

    path.write_bytes(packed)
    assert got + _lines(file, len(got)) == rows


def test_a_wrong_checksum_is_told_after_every_line(tmp_path: Path) -> None:
    rows, packed = _big()
    path = _file(tmp_path, packed[:-8] + b"\0\0\0\0" + packed[-4:], "f.gz")
    got: list[bytes] = []
    with pytest.raises(TruncatedSourceError, match="is damaged"):
        for block in LineFile(path, has_header=True).blocks(0, 1_000):
            got += block.data.split(b"\n")
    assert got == rows


def test_damaged_bytes_keep_what_came_before(tmp_path: Path) -> None:
    rows, packed = _big()
    middle = len(packed) // 2
    path = _file(tmp_path, packed[:middle] + b"\xff" * 64 + packed[middle + 64 :], "f.gz")
    got: list[bytes] = []
    with pytest.raises(TruncatedSourceError):
        for block in LineFile(path, has_header=True).blocks(0, 1_000):
            got += block.data.split(b"\n")
    assert len(got) > 1_000
    assert got[:1_000] == rows[:1_000]


def test_a_gzip_stream_that_ends_in_its_header_is_truncated(tmp_path: Path) -> None:
    with pytest.raises(TruncatedSourceError, match="0 whole records"):
        LineFile(_file(tmp_path, gzip.compress(b"h\nx\n")[:5], "f.gz"), has_header=True)


def test_what_is_not_gzip_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="it is not a gzip file") as caught:
        LineFile(_file(tmp_path, b"h\nx\n", "f.gz"), has_header=True)
    assert "take .gz from its name" in caught.value.mend


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK_BYTES", 8)
    monkeypatch.setattr(lines, "_MAX_LINE_BYTES", 20)
    with pytest.raises(SourceError, match="a line is longer than"):
        LineFile(_file(tmp_path, b"x" * 100), has_header=False)


def test_an_unreadable_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="it cannot be read"):
        LineFile(tmp_path, has_header=False)
