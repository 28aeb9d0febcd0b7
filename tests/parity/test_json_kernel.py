"""The JSON kernel against msgspec, value by value, whatever the bytes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.decoding.messages.json_kernel import scan_objects
from stream.decoding.messages.json_rows import JsonRows
from stream.decoding.texts import as_text, float_text
from tidegate.jit import is_compiled

CANDIDATES = {"user": ("user_id", "user"), "category": ("category",), "timestamp": ("timestamp",), "ü": ("ü",)}
MEMBERS = ("user_id", "user", "category", "timestamp", "ü")
_Row = msgspec.defstruct(
    "_Row",
    [(f"m{i}", str | int | float | bool | None, None) for i in range(len(MEMBERS))],
    rename={f"m{i}": name for i, name in enumerate(MEMBERS)},
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["u0000001", "interest-042", "7", "7.0", "", "é", "\u2028", '"', "\\"]),
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
objects = st.dictionaries(st.sampled_from([*MEMBERS, "other", "engagement"]), scalars, max_size=6)
nested = st.dictionaries(st.sampled_from([*MEMBERS, "other", "deep"]), anything, max_size=6)
spaces = st.sampled_from(["", " ", "\n", "\t\r ", "   "])


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """An object as JSON: escaped or not, with blanks, sometimes damaged."""
    value = draw(objects | nested)
    text = json.dumps(
        value, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    )
    data = (draw(spaces) + text + draw(spaces)).encode("utf-8", "surrogatepass")
    damage = draw(st.sampled_from(["none", "none", "cut", "byte", "twice", "repeat"]))
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    if damage == "cut":
        return data[:at]
    if damage == "byte":
        return data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
    if damage == "twice":
        return data + data
    if damage == "repeat":
        return b'{"user_id": 1, "user_id": "x", ' + data.lstrip()[1:]
    return data


def expected(values: list[bytes]) -> tuple[list[int], dict[str, list[str | None]]]:
    """Positions of what msgspec reads, and the wanted members as text."""
    decoder, rows, positions = msgspec.json.Decoder(_Row), [], []
    for position, value in enumerate(values):
        try:
            rows.append(decoder.decode(value))
            positions.append(position)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    by_name = [{name: getattr(row, f"m{i}") for i, name in enumerate(MEMBERS)} for row in rows]
    return positions, {
        column: [as_text_of(next((row[name] for name in names if row[name] is not None), None)) for row in by_name]
        for column, names in CANDIDATES.items()
    }


def as_text_of(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return float_text(value)
    return None if value is None else str(value)


def assert_same(values: list[bytes]) -> None:
    rows = JsonRows(CANDIDATES).decode(values)
    positions, columns = expected(values)
    found = list(range(len(values))) if rows.positions is None else rows.positions.tolist()
    assert found == positions
    assert [at for at, _ in rows.bad] == [at for at in range(len(values)) if at not in set(positions)]
    for name, texts in columns.items():
        assert as_text(rows.columns[name]).to_pylist() == texts, name


@settings(max_examples=400, deadline=None)
@given(st.lists(written(), min_size=1, max_size=6))
@example([b'{"user_id": 9007199254740993}', b'{"user_id": 0.1}'])
@example([b'{"user_id": -0}', b'{"user_id": -0.0}', b'{"user_id": 1e5}', b'{"user_id": 01}', b'{"user_id": 1.}'])
@example([b'{"user_id": 123456789012345678901234567890}', b'{"user_id": 1e400}', b'{"user_id": 5e-324}'])
@example([b"{}", b'{"user_id": 0.0}', b'{"user_id": false}'])
@example([b"", b" ", b"{}", b"[]", b"null", b'{"user_id"', b'{"user_id":', b'{"user_id": "', b'{"user_id": t', b"{,}"])
@example([b'{"user_id": "\xff"}', b'{"other": "\xff"}', b'{"user_id": "\xed\xa0\x80"}', b'{"user_id": "\\ud800"}'])
@example(
    [b'{"user_id": 1,}', b'{"user_id": 1 "user": 2}', b'{"user_id": 1}}', b'{"user_id": 1}{}', b'{"a": [1, {"b": 2}]}']
)
def test_the_kernel_reads_what_msgspec_reads(values: list[bytes]) -> None:
    assert_same(values)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_no_bytes_are_read_differently(values: list[bytes]) -> None:
    assert_same(values)


@pytest.mark.parametrize("depth", [1, 59, 60, 61, 500, 5_000])
def test_deep_nesting_is_left_to_the_full_parser(depth: int) -> None:
    assert_same([b'{"other": ' + b"[" * depth + b"]" * depth + b', "user_id": 7}'])


def test_ordinary_messages_never_reach_the_full_parser() -> None:
    """The compiled kernel reads them alone: no Python object is made of a message."""
    values = [
        b'{"user_id": "u%07d", "category": "interest-042", "timestamp": 1704067276, "x": {"y": [1]}}' % i
        for i in range(9)
    ]
    parser = JsonRows(CANDIDATES)
    parser._one = None  # type: ignore[assignment]
    assert len(parser.decode(values).columns["user"]) == 9
    assert is_compiled(scan_objects)
