from __future__ import annotations

from pathlib import Path

import pytest

from stream.decoding.columns import DecodeOptions
from stream.decoding.engagement import PositiveRule
from stream.decoding.messages.json_rows import JsonRows
from stream.events import EventBatch, Outcome
from stream.sources.jsonl import JsonlSource
from tidegate.clock import ManualClock
from tidegate.errors import EmptySourceError, MissingColumnError
from tidegate.hashing import hash_text

_CLOCK = ManualClock(1_700_000_000_000)


def _batch(folder: Path, content: bytes, options: DecodeOptions | None = None) -> EventBatch:
    path = folder / "e.jsonl"
    path.write_bytes(content + b"\n")
    return next(iter(JsonlSource(path, options or DecodeOptions(), _CLOCK).batches({})))


def test_ids_and_times_may_be_numbers_or_text(tmp_path: Path) -> None:
    batch = _batch(
        tmp_path,
        b'{"user": 7, "category": "a", "ts": 1}\n'
        b'{"user": "7", "category": "a", "ts": "1.5"}\n'
        b'{"user": 7.0, "category": 3, "ts": 2.5}\n'
        b'{"user": 123456789012345678901234567890, "category": "a", "ts": 3}\n',
    )
    assert batch.users.tolist() == [hash_text("7")] * 3 + [hash_text("123456789012345678901234567890")]
    assert batch.times_ms.tolist() == [1_000, 1_500, 2_500, 3_000]


def test_engagement_may_be_a_number_a_text_or_a_boolean(tmp_path: Path) -> None:
    rows = [
        f'{{"user": 1, "category": "a", "ts": 1, "liked": {value}}}' for value in ("1", '"1"', "true", "false", "null")
    ]
    batch = _batch(tmp_path, "\n".join(rows[:2]).encode(), DecodeOptions(positive=PositiveRule.parse("liked == 1")))
    assert batch.n_records == len(batch.users) == 2
    batch = _batch(tmp_path, "\n".join(rows[2:]).encode(), DecodeOptions(positive=PositiveRule.parse("liked == 1")))
    assert batch.set_aside == {Outcome.NEGATIVE: 2}


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"not json",
        b"[1, 2]",
        b'"text"',
        b'{"user": [1], "category": "a", "ts": 1}',
        b'{"user": "\xff", "category": "a", "ts": 1}',
        b'{"user": 1, "category": "a", "ts": 1} {"user": 1, "category": "a", "ts": 1}',
        b'{"user": 1, "category": "a", "ts": 1}, {"user": 1, "category": "a", "ts": 1}',
        b'{"user": ' + b"[" * 100_000,
    ],
)
def test_a_bad_line_is_malformed_at_its_number(tmp_path: Path, line: bytes) -> None:
    good = b'{"user": 1, "category": "a", "ts": 1}'
    batch = _batch(tmp_path, good + b"\n\n" + line + b"\n \n" + good)
    assert (batch.n_records, len(batch.users)) == (3, 2)
    assert [issue.place.rpartition(":")[2] for issue in batch.issues] == ["3"]
    assert "the line is no readable object" in batch.issues[0].found


def test_columns_are_those_of_the_first_objects(tmp_path: Path) -> None:
    with pytest.raises(MissingColumnError, match="the columns are: user, x"):
        _batch(tmp_path, b'?\n{"user": 1, "x": 2}\n')


def test_members_may_have_any_name(tmp_path: Path) -> None:
    options = DecodeOptions(user_column="user id", time_column="class")
    assert len(_batch(tmp_path, b'{"user id": 1, "category": "a", "class": 1}', options).users) == 1


def test_a_file_of_blank_lines_is_empty(tmp_path: Path) -> None:
    with pytest.raises(EmptySourceError):
        _batch(tmp_path, b"\n \n")


def test_the_first_name_that_an_object_has_is_taken() -> None:
    rows = JsonRows({"u": ("a", "b")}).decode([b'{"a": 1, "b": 2}', b'{"b": 3}', b"{}"])
    assert rows.columns["u"].to_pylist() == [1, 3, None]
    rows = JsonRows({"u": ("a", "b")}).decode([b'{"a": 1}', b'{"b": "x"}'])
    assert rows.columns["u"].to_pylist() == ["1", "x"]


def test_mixed_types_are_written_as_text() -> None:
    rows = JsonRows({"u": ("u",)}).decode([b'{"u": true}', b'{"u": 2.0}', b'{"u": 2.5}', b'{"u": "x"}', b"{}"])
    assert rows.columns["u"].to_pylist() == ["true", "2", "2.5", "x", None]
