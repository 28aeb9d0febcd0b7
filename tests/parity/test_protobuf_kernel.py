"""The Protobuf kernel against Google's library, value by value, whatever the bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message_factory import GetMessageClass
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.decoding.messages.framed_rows import BodyReader, FramedRows
from stream.decoding.messages.protobuf_files import pool_of
from stream.decoding.messages.protobuf_kernel import scan_messages
from stream.decoding.messages.protobuf_schema import ProtobufReader
from stream.decoding.messages.rows import MessageRows
from stream.decoding.messages.symbols import Symbols
from tests.avro_records import framed
from tests.framed_reading import assert_same_rows
from tidegate.clock import ManualClock
from tidegate.jit import is_compiled

CANDIDATES = {"user": ("user_id", "user"), "category": ("category",), "timestamp": ("timestamp", "ts")}
MEMBERS = ("user_id", "user", "category", "timestamp", "ts")
NAMES = (*MEMBERS, "note", "engagement")
SCALARS = ("double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "bytes", "uint32",
           "sfixed32", "sfixed64", "sint32", "sint64")  # fmt: skip
KINDS = (*SCALARS, "enum", ".google.protobuf.Timestamp", ".google.protobuf.StringValue", ".Watch.Inner")
LABELS = ("plain", "plain", "plain", "optional", "optional", "choice", "repeated", "required")


class LocalSchemas:
    """Readers of files that no registry has."""

    has_path = True
    mend = ""

    def __init__(self, *files: Any) -> None:
        self._files = files

    def open(self, schema_id: int, path: Sequence[int], members: Sequence[str], symbols: Symbols) -> BodyReader | str:
        try:
            return ProtobufReader([], self._files[schema_id], path, members, symbols)
        except (IndexError, ValueError):
            return "unknown"

    def example(self, members: Sequence[str], symbols: Symbols) -> BodyReader:
        raise AssertionError("no kernel is loaded ahead here")


def file_of(fields: Sequence[tuple[str, int, str, str]], syntax: str = "proto3") -> Any:
    """Write a file with one message of fields (name, number, kind, label)."""
    message = DescriptorProto(name="Watch")
    enum = message.enum_type.add(name="Genre")
    for name, number in (("NONE", 0), ("ROCK", 1), ("JAZZ", 2), ("SOUL", 7), ("DUB", -3)):
        enum.value.add(name=name, number=number)
    message.nested_type.add(name="Inner").field.add(name="a", number=1, type=FieldDescriptorProto.TYPE_STRING, label=1)
    if any(label == "choice" for *_, label in fields):
        message.oneof_decl.add(name="choice")
    for name, number, kind, label in fields:
        field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
        if kind in SCALARS:
            field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
        else:
            field.type_name = ".Watch.Genre" if kind == "enum" else kind
            field.type = FieldDescriptorProto.TYPE_ENUM if kind == "enum" else FieldDescriptorProto.TYPE_MESSAGE
        if label == "choice":
            field.oneof_index = 0
        elif label == "repeated":
            field.label = FieldDescriptorProto.LABEL_REPEATED
        elif label == "required" and syntax == "proto2":
            field.label = FieldDescriptorProto.LABEL_REQUIRED
        elif label == "optional" and syntax == "proto3":
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}")
    imports = ["google/protobuf/timestamp.proto", "google/protobuf/wrappers.proto"]
    return FileDescriptorProto(name="default", syntax=syntax, message_type=[message], dependency=imports)


@st.composite
def files(draw: st.DrawFn) -> Any:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    numbers = draw(st.lists(st.integers(1, 40), min_size=len(names), max_size=len(names), unique=True))
    fields = [
        (name, number, draw(st.sampled_from(KINDS)), draw(st.sampled_from(LABELS)))
        for name, number in zip(names, numbers, strict=True)
    ]
    return file_of(fields, draw(st.sampled_from(["proto3", "proto3", "proto2"])))


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@st.composite
def varints(draw: st.DrawFn) -> bytes:
    """An integer as it is mostly written, and sometimes longer than it need be."""
    value = draw(st.integers(0, 9) | st.integers(0, 2**64 - 1) | st.integers(1_600_000_000, 1_700_000_000))
    data = varint(value)
    n_more = draw(st.sampled_from([0, 0, 0, 0, 0, 1, 4, 9]))
    return data[:-1] + bytes([data[-1] | 0x80]) + b"\x80" * (n_more - 1) + b"\0" if n_more else data


def sized(data: bytes) -> bytes:
    return varint(len(data)) + data


@st.composite
def values(draw: st.DrawFn, wire: int) -> bytes:
    if wire == 0:
        return draw(varints())
    if wire == 1:
        return draw(st.floats().map(lambda x: struct.pack("<d", x)) | st.binary(min_size=8, max_size=8))
    if wire == 5:
        return draw(st.binary(min_size=4, max_size=4))
    if wire == 3:
        return draw(st.sampled_from([b"", b"\x08\x01"]))
    inner = st.lists(st.sampled_from([b"\x08", b"\x10", b"\x0a"]).flatmap(
        lambda tag: (varints() if tag != b"\x0a" else st.binary(max_size=3).map(sized)).map(lambda v: tag + v)
    ), max_size=3).map(b"".join)  # fmt: skip
    return sized(draw(st.text(max_size=9).map(str.encode) | st.binary(max_size=5) | inner))


WIRES = {"double": 1, "fixed64": 1, "sfixed64": 1, "float": 5, "fixed32": 5, "sfixed32": 5, "string": 2, "bytes": 2}


@st.composite
def bodies(draw: st.DrawFn, file: Any) -> bytes:
    """Tags and values: mostly of the schema's fields and as it says, in any order, some several times."""
    parts = []
    fields = list(file.message_type[0].field)
    for _ in range(draw(st.integers(0, 7))):
        field = draw(st.sampled_from(fields))
        number, kind = field.number, FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
        wire = 2 if kind == "message" else WIRES.get(kind, 0)
        if draw(st.integers(0, 11)) == 0:
            number = draw(st.integers(0, 3) | st.integers(1, 2**29 + 5))
        if draw(st.integers(0, 11)) == 0:
            wire = draw(st.integers(0, 7))
        tag = varint(number << 3 | wire)
        if draw(st.integers(0, 19)) == 0:
            tag = tag[:-1] + bytes([tag[-1] | 0x80]) + draw(st.sampled_from([b"\0", b"\x80\0", b"\x80" * 5 + b"\0"]))
        parts.append(tag + draw(values(wire)))
        if wire == 3 and draw(st.booleans()):
            parts.append(varint(number << 3 | 4))
    body = b"".join(parts)
    how = draw(st.sampled_from(["none", "none", "none", "cut", "byte"]))
    at = draw(st.integers(0, max(len(body) - 1, 0)))
    if how == "cut":
        return body[:at]
    return body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :] if how == "byte" else body


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Any], list[bytes]]:
    chosen = draw(st.lists(files(), min_size=1, max_size=2))
    messages = []
    for number, file in enumerate(chosen):
        path = draw(st.sampled_from([b"\0", b"\0", b"\2\0", b"\2\2", b"\x80\0", b"\4\0\0", b"\2\x80\x80\0"]))
        messages += [framed(number, body, path) for body in draw(st.lists(bodies(file), max_size=4))]
    return chosen, draw(st.permutations(messages))


@contextmanager
def library_alone() -> Iterator[None]:
    def leave_all(self: ProtobufReader, messages: Any, bodies: Any, rows: Any, fields: Any, is_left: Any) -> None:
        is_left[rows] = True

    with patch.object(ProtobufReader, "scan", leave_all):
        yield


def rows_of(files: Sequence[Any], values: Sequence[bytes], unit: str = "s") -> MessageRows:
    return FramedRows(CANDIDATES, "timestamp", unit, LocalSchemas(*files), ManualClock()).decode(values)


def assert_same(files: Sequence[Any], values: Sequence[bytes], unit: str = "s") -> None:
    found = rows_of(files, values, unit)
    with library_alone():
        expected = rows_of(files, values, unit)
    assert_same_rows(found, expected)


WATCH = file_of(
    [
        ("user_id", 1, "string", "optional"),
        ("category", 2, "enum", "plain"),
        ("timestamp", 3, ".google.protobuf.Timestamp", "plain"),
        ("note", 4, "string", "optional"),
        ("user", 5, "sint32", "optional"),
        ("ts", 6, "int32", "optional"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(batches(), st.sampled_from(["s", "ms", "us", "ns", "iso"]))
def test_the_kernel_reads_what_the_library_reads(batch: tuple[list[Any], list[bytes]], unit: str) -> None:
    assert_same(*batch, unit)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=24), min_size=1, max_size=8))
@example([b"", b"\x0a\x01a", b"\x0a\x01a\x0a\x01b", b"\x0a\x01\xff", b"\x22\x01\xff", b"\x10\x07", b"\x10\x08"])
@example([b"\x10" + b"\xff" * 9 + b"\x01", b"\x20" + b"\xff" * 9 + b"\x01", b"\x20" + b"\xff" * 9 + b"\x03"])
@example(
    [b"\x1a\x00", b"\x1a\x02\x08\x05", b"\x1a\x02\x08\x05\x1a\x02\x10\x05", b"\x1a\x0b\x08" + b"\xff" * 9 + b"\x01"]
)
@example([b"\x30\x81\x80\x80\x80\x10", b"\x0a\x81\x80\x80\x80\x80\0a", b"\x3a\x81\x80\x80\x80\x80\0a"])
@example([b"\x38" + b"\xff" * 9 + last for last in (b"\0", b"\1", b"\2", b"\3", b"\x7f", b"\xff\1")])
@example([b"\x28\xff\xff\xff\xff\x1f", b"\x10\x81\x80\x80\x80\x10", b"\x13\x14", b"\x0b\x0c", b"\x33\x08\x01\x34"])
def test_no_bytes_are_read_differently(bodies: list[bytes]) -> None:
    assert_same([WATCH], [framed(0, body, b"\0") for body in bodies])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_fields_that_are_not_wanted_change_nothing(data: st.DataObject) -> None:
    """What is read is what the whole message says, though only a part of its schema is looked at."""
    file = data.draw(files())
    body = data.draw(bodies(file))
    whole = GetMessageClass(pool_of([file]).FindMessageTypeByName("Watch"))
    try:
        message = whole.FromString(body)
    except Exception:
        return  # for the whole message, fields that are not wanted count too
    reader = ProtobufReader([], file, (0,), MEMBERS, Symbols())
    try:
        found = reader.read(body)
    except (OverflowError, UnicodeDecodeError):
        return  # an instant that Python has no notation for, or text of proto2
    for name, value in zip(MEMBERS, found, strict=True):
        field = whole.DESCRIPTOR.fields_by_name.get(name)
        if field is None or (field.has_presence and not message.HasField(name)):
            assert value is None
        elif field.type in (field.TYPE_STRING, field.TYPE_INT64, field.TYPE_BOOL) and not field.is_repeated:
            assert value == getattr(message, name)


def test_ordinary_messages_never_reach_the_library() -> None:
    """The compiled kernel reads them alone: no Python object is made of a message."""
    whole = GetMessageClass(pool_of([WATCH]).FindMessageTypeByName("Watch"))
    values = []
    for number in range(9):
        message = whole(user_id=f"u{number}", category=2, note="é")
        message.timestamp.seconds, message.timestamp.nanos = 1_704_067_200, 5_000_000
        values.append(framed(0, message.SerializeToString(), b"\0"))
    rows = FramedRows(CANDIDATES, "timestamp", "s", LocalSchemas(WATCH), ManualClock())
    with patch.object(ProtobufReader, "read", side_effect=AssertionError):
        columns = rows.decode(values).columns
    assert columns["user"].to_pylist() == [f"u{i}" for i in range(9)]
    assert set(columns["category"].to_pylist()) == {"JAZZ"}
    assert {at.timestamp() for at in columns["timestamp"].to_pylist()} == {1_704_067_200.005}
    assert is_compiled(scan_messages)


@pytest.mark.parametrize(
    ("kind", "absent"), [("string", ""), ("int64", 0), ("double", 0.0), ("bool", False), ("enum", "NONE")]
)
def test_an_absent_field_is_its_default_unless_it_may_be_absent(kind: str, absent: Any) -> None:
    for label, expected in (("plain", absent), ("optional", None), ("choice", None)):
        file = file_of([("category", 1, kind, label), ("note", 2, "string", label)])
        columns = rows_of([file], [framed(0, b"", b"\0")] * 2).columns
        assert columns["category"].to_pylist() == [expected] * 2, label
        assert_same([file], [framed(0, b"", b"\0")])
