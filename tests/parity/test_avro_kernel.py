"""The Avro kernel against fastavro, value by value, whatever the bytes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.decoding.messages.avro_kernel import scan_records
from stream.decoding.messages.avro_schema import AvroReader
from stream.decoding.messages.framed_rows import BodyReader, FramedRows
from stream.decoding.messages.rows import MessageRows
from stream.decoding.messages.symbols import Symbols
from tests.avro_records import encoded, framed, record
from tests.framed_reading import assert_same_rows
from tidegate.clock import ManualClock
from tidegate.jit import is_compiled

CANDIDATES = {"user": ("user_id", "user"), "category": ("category",), "timestamp": ("timestamp", "ts")}
MEMBERS = ("user_id", "user", "category", "timestamp", "ts")
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


class LocalSchemas:
    """Readers of schemas that no registry has."""

    has_path = False
    mend = ""

    def __init__(self, schemas: Mapping[int, Any]) -> None:
        self._schemas = schemas

    def open(self, schema_id: int, path: Sequence[int], members: Sequence[str], symbols: Symbols) -> BodyReader | str:
        from fastavro import parse_schema

        schema = self._schemas.get(schema_id)
        return "unknown" if schema is None else AvroReader(parse_schema(schema), members, symbols)

    def example(self, members: Sequence[str], symbols: Symbols) -> BodyReader:
        raise AssertionError("no kernel is loaded ahead here")


texts = st.text(max_size=12)
instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
whole_ms = instants.map(lambda at: at.replace(microsecond=at.microsecond // 1_000 * 1_000))
longs = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5), st.integers(1_600_000_000, 1_700_000_000))


@st.composite
def kinds(draw: st.DrawFn, number: int) -> tuple[Any, st.SearchStrategy[Any]]:
    """A type of a field, and its values."""
    symbols = draw(st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), min_size=1, max_size=4, unique=True))
    enum = {"type": "enum", "name": f"E{number}", "symbols": symbols}
    fixed = {"type": "fixed", "name": f"F{number}", "size": 3}
    inner = record({"name": "a", "type": "string"}, {"name": "user_id", "type": ["int", "null"]}, name=f"R{number}")
    kind, values = draw(
        st.sampled_from(
            [
                ("null", st.none()),
                ("boolean", st.booleans()),
                ("int", st.integers(-(2**31), 2**31 - 1)),
                ("long", longs),
                ("float", st.floats(width=32)),
                ("double", st.floats()),
                ("string", texts),
                ("bytes", st.binary(max_size=5) | texts.map(str.encode)),
                (fixed, st.binary(min_size=3, max_size=3)),
                (enum, st.sampled_from(symbols)),
                (MILLIS, whole_ms),
                (MICROS, instants),
                ({"type": "int", "logicalType": "date"}, st.dates()),
                ({"type": "string", "logicalType": "uuid"}, st.uuids()),
                ({"type": "string", "logicalType": "shouted"}, texts),
                (inner, st.fixed_dictionaries({"a": texts, "user_id": st.none() | st.integers(0, 9)})),
                ({"type": "array", "items": "long"}, st.lists(longs, max_size=3)),
                ({"type": "map", "values": "string"}, st.dictionaries(texts, texts, max_size=2)),
            ]
        )
    )
    if kind == "null":
        return kind, values
    union = draw(st.sampled_from([None, None, ["null", kind], [kind, "null"], ["null", "boolean", kind]]))
    if union is None or (len(union) == 3 and kind == "boolean"):
        return kind, values
    return union, values | st.none()


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[int, Any], list[bytes]]:
    """Up to two schemas, and records of them, some of them damaged."""
    schemas: dict[int, Any] = {}
    values: list[bytes] = []
    for schema_id in range(draw(st.integers(1, 2))):
        names = draw(st.lists(st.sampled_from([*MEMBERS, "note", "engagement"]), min_size=1, max_size=6, unique=True))
        fields = [(name, *draw(kinds(number))) for number, name in enumerate(names)]
        schemas[schema_id] = record(*({"name": name, "type": kind} for name, kind, _ in fields))
        for _ in range(draw(st.integers(0, 4))):
            body = encoded(schemas[schema_id], {name: draw(values) for name, _, values in fields})
            values.append(draw(damaged(framed(schema_id, body))))
    return schemas, draw(st.permutations(values))


@st.composite
def damaged(draw: st.DrawFn, message: bytes) -> bytes:
    how = draw(st.sampled_from(["none", "none", "none", "cut", "byte", "more"]))
    at = draw(st.integers(0, len(message) - 1))
    if how == "cut":
        return message[:at]
    if how == "byte":
        return message[:at] + bytes([draw(st.integers(0, 255))]) + message[at + 1 :]
    return message + b"more" if how == "more" else message


@contextmanager
def library_alone() -> Iterator[None]:
    def leave_all(self: AvroReader, messages: Any, bodies: Any, rows: Any, fields: Any, is_left: Any) -> None:
        is_left[rows] = True

    with patch.object(AvroReader, "scan", leave_all):
        yield


def rows_of(schemas: Mapping[int, Any], values: Sequence[bytes], unit: str = "s") -> MessageRows:
    return FramedRows(CANDIDATES, "timestamp", unit, LocalSchemas(schemas), ManualClock()).decode(values)


def assert_same(schemas: Mapping[int, Any], values: Sequence[bytes], unit: str = "s") -> None:
    found = rows_of(schemas, values, unit)
    with library_alone():
        expected = rows_of(schemas, values, unit)
    assert_same_rows(found, expected)


ENUM = {"type": "enum", "name": "E", "symbols": ["rock", "jazz"]}


@settings(max_examples=400, deadline=None)
@given(batches(), st.sampled_from(["s", "ms", "us", "ns", "iso"]))
def test_the_kernel_reads_what_fastavro_reads(batch: tuple[dict[int, Any], list[bytes]], unit: str) -> None:
    assert_same(*batch, unit)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=24), min_size=1, max_size=8))
@example([b"\x02", b"\x03", b"\x00", b"\x04\x01", b"\x80\x00", b"\xff" * 9 + b"\x01", b"\xff" * 12])
@example([b"\x02\x06a\xffb", b"\x02\x04\xc3\xa9\x02\x02\x02\x02", b"\x02\x01"])
def test_no_bytes_are_read_differently(bodies: list[bytes]) -> None:
    fields = [("user_id", ["null", "string"]), ("category", ENUM), ("note", ["null", "bytes"]), ("timestamp", MILLIS)]
    schema = record(*({"name": name, "type": kind} for name, kind in fields))
    assert_same({7: schema}, [framed(7, body) for body in bodies])


@pytest.mark.parametrize("delta_us", [-1, 0, 1])
@pytest.mark.parametrize("edge", [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)])
def test_instants_end_where_pythons_do(edge: datetime, delta_us: int) -> None:
    number = (edge - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) + delta_us
    for kind, value in ((MICROS, number), (MILLIS, number // 1_000)):
        body = encoded(record({"name": "timestamp", "type": "long"}), {"timestamp": value})
        assert_same({1: record({"name": "timestamp", "type": kind})}, [framed(1, body)])


def test_instants_beyond_2255_are_rounded_once_beside_plain_numbers() -> None:
    instant = {"type": "long", "logicalType": "timestamp-micros"}
    schemas = {n: record({"name": "timestamp", "type": kind}) for n, kind in enumerate((instant, "double"))}
    values = [
        framed(0, encoded(schemas[0], {"timestamp": microseconds}))
        for microseconds in range(36_037_958_400_000_440, 36_037_958_400_000_450)
    ]
    assert_same(schemas, [*values, framed(1, encoded(schemas[1], {"timestamp": 1.5}))])


def test_instants_beyond_64_bits_of_nanoseconds_are_floats_and_the_others_whole() -> None:
    fields = [("timestamp", MILLIS), ("ts", ["null", "boolean"])]
    schema = record(*({"name": name, "type": kind} for name, kind in fields))
    times = (946_684_800_000, 80_000_000_000_000, 159_999_999_999_999, -946_684_800_123)
    values = [framed(0, encoded(schema, {"timestamp": at, "ts": ts})) for at in times for ts in (True, None)]
    assert_same({0: schema}, values, "ns")


def test_ordinary_records_never_reach_the_library() -> None:
    """The compiled kernel reads them alone: no Python object is made of a record."""
    inner = record({"name": "model", "type": "string"}, {"name": "rooted", "type": "boolean"}, name="Device")
    schema = record(
        {"name": "note", "type": "string"},
        {"name": "device", "type": ["null", inner]},
        {"name": "user_id", "type": "string"},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}},
        {"name": "category", "type": ["null", ENUM]},
        {"name": "timestamp", "type": MILLIS},
        {"name": "engagement", "type": "float"},
    )
    at = datetime(2024, 1, 1, tzinfo=UTC)
    from decimal import Decimal

    values = [
        framed(1, encoded(schema, {"note": "n", "device": None if i % 2 else {"model": "x", "rooted": True},
                                   "user_id": f"u{i}", "price": Decimal("1.25"), "category": "jazz", "timestamp": at,
                                   "engagement": 0.5}))
        for i in range(9)
    ]  # fmt: skip
    rows = FramedRows(CANDIDATES, "timestamp", "s", LocalSchemas({1: schema}), ManualClock())
    with patch.object(AvroReader, "read", side_effect=AssertionError):
        columns = rows.decode(values).columns
    assert columns["user"].to_pylist() == [f"u{i}" for i in range(9)]
    assert set(columns["category"].to_pylist()) == {"jazz"}
    assert set(columns["timestamp"].to_pylist()) == {at}
    assert is_compiled(scan_records)
    assert np.all(rows.decode(values[:0]).columns["user"].to_pylist() == [])
