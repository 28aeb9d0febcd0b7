from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.decoding.columns import DecodeOptions
from stream.events import Outcome
from stream.sources.csv import CsvParser, CsvSource
from tidegate.clock import ManualClock
from tidegate.errors import EmptySourceError, MissingColumnError, RequestError, TruncatedSourceError
from tidegate.hashing import hash_text

_CLOCK = ManualClock(1_700_000_000_000)


def _source(folder: Path, content: bytes, name: str = "e.csv", batch_records: int = 1_000) -> CsvSource:
    path = folder / name
    path.write_bytes(content)
    return CsvSource(path, DecodeOptions(), _CLOCK, batch_records=batch_records)


def _parse(data: bytes, width: int = 3) -> tuple[list[list[str | None]], list[int], list[tuple[int, str]]]:
    names = [f"n{k}" for k in range(width)]
    parsed = CsvParser(names, tuple(names)).parse(data)
    rows = [list(row) for row in zip(*(parsed.columns[name].to_pylist() for name in names), strict=True)]
    return rows, parsed.numbers.tolist(), [(line.number, line.found) for line in parsed.bad]


def test_quoted_values_keep_commas_and_quotes() -> None:
    assert _parse(b'1,"a, ""b""",3')[0] == [["1", 'a, "b"', "3"]]


def test_lines_of_another_width_are_bad_and_keep_their_number() -> None:
    rows, numbers, bad = _parse(b"1,2,3\n4,5\n6,7,8\n1,2,3,4\nx\n9,9,9")
    assert [row[0] for row in rows] == ["1", "6", "9"]
    assert numbers == [0, 2, 5]
    assert bad == [
        (1, "the line has 2 values, the header 3"),
        (3, "the line has 4 values, the header 3"),
        (4, "the line has 1 value, the header 3"),
    ]


def test_empty_lines_are_numbered_but_are_no_records() -> None:
    rows, numbers, bad = _parse(b"\n1,2,3\n\n4,5\n\n6,7,8\n")
    assert ([row[0] for row in rows], numbers, [at for at, _ in bad]) == (["1", "6"], [1, 5], [3])
    assert _parse(b"\n\n") == ([], [], [])


def test_carriage_returns_end_no_line_by_themselves() -> None:
    rows, numbers, bad = _parse(b"1,2,3\r\n\r\n4,5\r6,7\r")
    assert (rows, numbers, bad) == ([["1", "2", "3"], ["4", "5 6", "7"]], [0, 2], [])


@pytest.mark.parametrize("stray", [b'4,"5,6', b'4,"5', b'"4,5,6', b'4,5"x,"6'])
def test_an_open_quote_costs_its_own_line_only(stray: bytes) -> None:
    rows, numbers, bad = _parse(b"1,2,3\n" + stray + b'\n7,"8,8",9\nx\n\n0,0,0')
    assert [row[0] for row in rows if row[0] != "4"] == ["1", "7", "0"]
    assert set(numbers) - {1} == {0, 2, 5}
    assert bad[-1] == (3, "the line has 1 value, the header 3")


def test_a_value_with_a_line_break_is_two_bad_lines() -> None:
    rows, numbers, bad = _parse(b'1,"two\nlines",3\n4,5,6')
    assert ([row[0] for row in rows], numbers) == (["4"], [2])
    assert bad == [(0, "a quoted value does not end on its line"), (1, "a quoted value does not end on its line")]


def test_bytes_that_are_not_utf8_are_missing_values_of_their_record_only() -> None:
    assert _parse(b"1,\xff\xfe,3\n4,5,6")[0] == [["1", None, "3"], ["4", "5", "6"]]
    assert _parse(b'1,\xff\xfe,3\n4,5,6\n"')[0] == [["1", None, "3"], ["4", "5", "6"]]


def test_a_value_too_long_for_the_slow_parser_is_a_bad_line() -> None:
    assert [at for at, _ in _parse(b'"\n1,2,' + b"x" * 140_000)[2]] == [0, 1]


@settings(deadline=None)
@given(st.lists(st.text('a1,"\r \n', max_size=8), min_size=1, max_size=8))
def test_every_line_is_a_row_or_bad_or_empty_and_only_by_its_own_text(texts: list[str]) -> None:
    data = "\n".join(texts).replace("\r", "").encode()
    rows, numbers, bad = _parse(data, width=2)
    lines = data.split(b"\n")
    is_bad = {at for at, _ in bad}
    assert len(rows) == len(numbers)
    assert sorted([*numbers, *is_bad]) == [at for at, line in enumerate(lines) if line]
    for at, line in enumerate(lines):
        if line and b'"' not in line:
            assert (at in is_bad) == (line.count(b",") != 1)


def test_issues_count_the_header_and_name_the_column(tmp_path: Path) -> None:
    content = b"user_id,category,timestamp\n1,a,1650812741.5\n2,b\n\n3,,1\n\xff,a,1\n"
    (batch, end) = _source(tmp_path, content).batches({})
    assert batch.times_ms.tolist() == [1650812741500]
    assert batch.set_aside == {Outcome.MALFORMED: 3}
    assert [issue.place.rpartition(":")[2] for issue in batch.issues] == ["3", "5", "6"]
    assert (batch.n_records, batch.next_offset) == (4, 5)
    assert (end.at_end, end.next_offset, end.n_records) == (True, 5, 0)


def test_columns_may_stand_anywhere_and_twice(tmp_path: Path) -> None:
    content = b'x,"timestamp",category , user_id,x\n0,1,a,7,0\n'
    batch = next(_source(tmp_path, content).batches({}))
    assert batch.users.tolist() == [hash_text("7")]


def test_a_truncated_gzip_is_counted_to_its_last_whole_line_and_then_told(tmp_path: Path) -> None:
    rows = "".join(f"{k * 7919 % 10007},c{k % 5},{k}\n" for k in range(20_000))
    packed = gzip.compress(b"user_id,category,timestamp\n" + rows.encode(), mtime=0)
    source = _source(tmp_path, packed[: len(packed) // 2], "e.csv.gz")
    n_events, offset = 0, 0
    with pytest.raises(TruncatedSourceError):
        for batch in source.batches({}):
            n_events, offset = n_events + len(batch.users), batch.next_offset
            assert not batch.at_end
            assert not batch.set_aside
    assert n_events == offset > 5_000

    whole = _source(tmp_path, packed, "e.csv.gz")
    n_rest = sum(len(batch.users) for batch in whole.batches({0: offset}))
    assert n_events + n_rest == 20_000


def test_a_missing_column_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match="the columns are: user_id, timestamp"):
        _source(tmp_path, b"user_id,timestamp\n1,2\n")


def test_an_empty_file_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(EmptySourceError):
        _source(tmp_path, b"user_id,category,timestamp\n")
    with pytest.raises(RequestError, match="there is no such file"):
        CsvSource(tmp_path / "none.csv", DecodeOptions(), _CLOCK)
    with pytest.raises(RequestError, match="it is a folder"):
        CsvSource(tmp_path, DecodeOptions(), _CLOCK)


def test_a_file_of_bad_lines_is_all_malformed(tmp_path: Path) -> None:
    source = _source(tmp_path, b"user_id,category,timestamp\n" + b"1,2\n" * 50, batch_records=20)
    set_aside = Counter[Outcome]()
    for batch in source.batches({}):
        set_aside.update(batch.set_aside)
        assert len(batch.issues) <= 5
    assert set_aside == {Outcome.MALFORMED: 50}


def test_a_line_of_another_width_that_is_not_utf8_is_bad_and_costs_no_other() -> None:
    rows, numbers, bad = _parse(b"1,2,3\n\xff,5\n6,\xff,8")
    assert (rows, numbers) == ([["1", "2", "3"], ["6", None, "8"]], [0, 2])
    assert bad == [(1, "the line has 2 values, the header 3")]
