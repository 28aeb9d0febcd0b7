"""Avro messages through a registry: schemas that evolve, references, and what is no message."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from stream.decoding.columns import DecodeOptions
from stream.decoding.messages import MessageDecoder
from stream.decoding.messages.avro_kernel import scan_records
from stream.decoding.messages.formats import MessageFormat, RegistryOptions
from stream.decoding.messages.framing import read_headers
from stream.decoding.messages.protobuf_kernel import scan_messages
from tests.avro_records import WATCH, encoded, framed, record, serialized
from tests.framed_reading import NOON_MS, Reading
from tests.schema_registry import FakeRegistry
from tidegate.clock import ManualClock
from tidegate.errors import RegistryError
from tidegate.hashing import hash_text
from tidegate.jit import is_compiled

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


def watch(number: int, **changed: Any) -> dict[str, Any]:
    at = NOON + timedelta(milliseconds=number)
    return {"user_id": f"u{number}", "category": "jazz", "timestamp": at, "engagement": 0.5} | changed


def test_records_become_events(registry: FakeRegistry) -> None:
    reading = Reading(registry, "avro")
    batch = reading.decode(serialized(registry, WATCH, [watch(1), watch(2, category="soul")]))
    assert batch.users.tolist() == [hash_text("u1"), hash_text("u2")]
    assert batch.times_ms.tolist() == [NOON_MS + 1, NOON_MS + 2]
    assert [reading.decoder.cluster_names[code] for code in batch.clusters] == ["jazz", "soul"]


def test_one_bad_message_spoils_no_other(registry: FakeRegistry) -> None:
    good = serialized(registry, WATCH, [watch(number) for number in range(3)])
    values = [good[0], b"", b"\0\0\0\0\1", b'{"user_id": 7}', good[1], good[1][:-1], framed(9, b"x"), good[2]]
    batch = Reading(registry, "avro").decode(values)
    assert batch.positions is not None
    assert batch.positions.tolist() == [0, 4, 7]
    faults = {issue.position: issue.found for issue in batch.issues}
    assert faults == {
        1: "the message is no readable record (it is too short for a schema's id and a record)",
        2: "the message is no readable record (it is too short for a schema's id and a record)",
        3: "the message is no readable record (it does not begin with a zero byte and a schema's id)",
        5: "the message is no readable record (it is cut off)",
        6: "the message is no readable record (the registry does not know schema 9, or one that it refers to)",
    }
    assert batch.issues[0].place == "t[0]@1"
    assert "serializer" in batch.issues[0].mend


def test_an_unknown_schema_is_asked_for_again_after_a_while(registry: FakeRegistry) -> None:
    value = framed(1, encoded(WATCH, watch(1)))
    reading = Reading(registry, "avro")
    assert reading.faults([value, value]) and reading.faults([value])
    assert registry.requests == ["GET /schemas/ids/1"]
    registry.register("t-value", json.dumps(WATCH))
    assert reading.faults([value])
    reading.clock.advance_ms(60_000)
    assert not reading.faults([value])


def test_ids_that_nobody_knows_do_not_fill_the_memory(registry: FakeRegistry) -> None:
    reading = Reading(registry, "avro")
    values = [framed(number, b"xx") for number in range(1, 1_100)]
    assert len(reading.faults(values)) == len(values)
    assert len(reading.decoder._parser._faults) <= 1_000  # type: ignore[attr-defined]


def test_more_schemas_in_a_batch_than_are_grouped_are_read_all_the_same(registry: FakeRegistry) -> None:
    values = []
    for number in range(70):
        schema = WATCH | {"name": f"Watch{number}"}
        values += serialized(registry, schema, [watch(number)])
    assert Reading(registry, "avro").decode(values * 2).users.tolist() == [hash_text(f"u{n}") for n in range(70)] * 2


@pytest.mark.parametrize(
    ("unit", "number"),
    [
        ("s", NOON_MS // 1_000),
        ("ms", NOON_MS),
        ("us", NOON_MS * 1_000),
        ("ns", NOON_MS * 1_000_000),
        ("iso", "2024-01-01T12:00:00Z"),
    ],
)
def test_a_time_may_be_a_number_in_one_schema_and_an_instant_in_the_next(
    registry: FakeRegistry, unit: str, number: Any
) -> None:
    kind = "string" if unit == "iso" else "long"
    before = record(
        {"name": "user", "type": "long"}, {"name": "cluster", "type": "string"}, {"name": "ts", "type": kind}
    )
    values = serialized(registry, before, [{"user": 7, "cluster": "jazz", "ts": number}])
    values += serialized(registry, WATCH, [watch(1), watch(2)])
    batch = Reading(registry, "avro", time_unit=unit).decode(values)
    assert batch.times_ms.tolist() == [NOON_MS, NOON_MS + 1, NOON_MS + 2]
    assert batch.users.tolist() == [hash_text("7"), hash_text("u1"), hash_text("u2")]


@pytest.mark.parametrize(
    ("kind", "value", "time_ms"),
    [
        ({"type": "long", "logicalType": "timestamp-micros"}, NOON, NOON_MS),
        ({"type": "long", "logicalType": "local-timestamp-millis"}, NOON.replace(tzinfo=None), NOON_MS),
        ({"type": "int", "logicalType": "date"}, date(2024, 1, 1), NOON_MS - 43_200_000),
        ("double", 1_704_110_400.0, NOON_MS),
        ("string", "1704110400", NOON_MS),
        ({"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 1}, Decimal("1704110400.0"), NOON_MS),
        (["null", "string", "long"], 1_704_110_400, NOON_MS),
    ],
)
def test_times_of_any_type_are_read(registry: FakeRegistry, kind: Any, value: Any, time_ms: int) -> None:
    schema = WATCH | {"fields": [*WATCH["fields"][:2], {"name": "timestamp", "type": kind}]}  # type: ignore[index]
    batch = Reading(registry, "avro").decode(serialized(registry, schema, [watch(1, timestamp=value)]))
    assert batch.times_ms.tolist() == [time_ms]


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("int", 7, "7"),
        ("bytes", b"u7", "u7"),
        ({"type": "string", "logicalType": "uuid"}, UUID(int=7), str(UUID(int=7))),
        ({"type": "enum", "name": "Who", "symbols": ["u6", "u7"]}, "u7", "u7"),
        ({"type": "fixed", "name": "Key", "size": 2}, b"u7", "u7"),
        (["null", {"type": "fixed", "name": "Key", "size": 2}], b"u7", "u7"),
    ],
)
def test_ids_of_any_type_are_read(registry: FakeRegistry, kind: Any, value: Any, text: str) -> None:
    schema = WATCH | {"fields": [{"name": "user_id", "type": kind}, *WATCH["fields"][1:]]}  # type: ignore[index]
    batch = Reading(registry, "avro").decode(serialized(registry, schema, [watch(1, user_id=value)]))
    assert batch.users.tolist() == [hash_text(text)]


def test_a_wanted_field_that_holds_many_values_is_a_fault(registry: FakeRegistry) -> None:
    schema = WATCH | {"fields": [{"name": "user_id", "type": {"type": "array", "items": "string"}},
                                 *WATCH["fields"][1:]]}  # type: ignore[index]  # fmt: skip
    faults = Reading(registry, "avro").faults(serialized(registry, schema, [watch(1, user_id=["a", "b"])]))
    assert "user_id is no text, number, truth value or time" in faults[0]


def test_fields_that_are_not_wanted_are_not_looked_into(registry: FakeRegistry) -> None:
    schema = WATCH | {"fields": [{"name": "note", "type": "string"}, *WATCH["fields"]]}  # type: ignore[misc]
    (value,) = serialized(registry, schema, [watch(1, note="abc")])
    assert Reading(registry, "avro").decode([value.replace(b"abc", b"a\xffc")]).users.tolist() == [hash_text("u1")]


def test_text_that_is_not_utf_8_is_a_fault(registry: FakeRegistry) -> None:
    (value,) = serialized(registry, WATCH, [watch(1)])
    assert "(it is not UTF-8)" in Reading(registry, "avro").faults([value.replace(b"jazz", b"j\xffzz")])[0]


def test_a_schema_may_refer_to_others(registry: FakeRegistry) -> None:
    genre = {"type": "enum", "name": "Genre", "namespace": "media", "symbols": ["rock", "jazz"]}
    registry.register("genre", json.dumps(genre))
    schema = WATCH | {"fields": [{"name": "first", "type": "media.Genre"}, {"name": "user_id", "type": "string"},
                                 {"name": "category", "type": "media.Genre"}, WATCH["fields"][2]]}  # type: ignore[index]  # fmt: skip
    number = registry.register("t-value", json.dumps(schema), references=[
        {"name": "media.Genre", "subject": "genre", "version": 1}])  # fmt: skip
    inlined = json.loads(json.dumps(schema))
    inlined["fields"][0]["type"] = genre
    reading = Reading(registry, "avro")
    batch = reading.decode([framed(number, encoded(inlined, watch(1, first="rock")))])
    assert batch.users.tolist() == [hash_text("u1")]
    assert reading.decoder.cluster_names == ["jazz"]


def test_a_reference_that_is_not_there_is_a_fault(registry: FakeRegistry) -> None:
    number = registry.register("t-value", json.dumps(WATCH), references=[{"name": "x", "subject": "x", "version": 1}])
    assert "or one that it refers to" in Reading(registry, "avro").faults([framed(number, b"xx")])[0]


@pytest.mark.parametrize(
    ("schema", "kind", "fault"),
    [
        ('"string"', "AVRO", "it is no record"),
        ("{}", "JSON", "it is of type JSON, not AVRO"),
        ("{", "AVRO", "schema 1 cannot be read"),
    ],
)
def test_a_schema_that_is_of_no_use_is_a_fault(registry: FakeRegistry, schema: str, kind: str, fault: str) -> None:
    number = registry.register("t-value", schema, kind)
    assert fault in Reading(registry, "avro").faults([framed(number, b"xx")])[0]


def test_a_registry_that_refuses_stops_the_reading(registry: FakeRegistry) -> None:
    registry.failures = [403]
    with pytest.raises(RegistryError, match="does not let us in"):
        Reading(registry, "avro").decode([framed(1, b"xx")])


def test_a_record_may_contain_itself(registry: FakeRegistry) -> None:
    schema = WATCH | {"fields": [{"name": "before", "type": ["null", "media.events.Watch"]}, *WATCH["fields"]]}  # type: ignore[misc]
    values = serialized(registry, schema, [watch(1, before=watch(0, before=None))])
    assert Reading(registry, "avro").decode(values).users.tolist() == [hash_text("u1")]


@pytest.mark.parametrize("name", ["avro", "protobuf"])
def test_kernels_are_loaded_without_a_registry(registry: FakeRegistry, name: Any) -> None:
    decoder = MessageDecoder(DecodeOptions(), ManualClock(), format_=MessageFormat(name, RegistryOptions(registry.url)))
    decoder.load_kernels()
    assert not registry.requests
    assert is_compiled(scan_records if name == "avro" else scan_messages)
    assert is_compiled(read_headers)


@pytest.mark.parametrize("depth", [10, 10_000, 1_000_000])
def test_records_that_nest_deeply_are_faults_and_no_crash(registry: FakeRegistry, depth: int) -> None:
    inner = {"type": "array", "items": {"type": "map", "values": ["null", "media.events.Watch"]}}
    fields = [{"name": "before", "type": ["null", "media.events.Watch"]}, {"name": "more", "type": inner}]
    schema = WATCH | {"fields": [*fields, *WATCH["fields"]]}  # type: ignore[misc]
    number = registry.register("t-value", json.dumps(schema))
    (good,) = serialized(registry, schema, [watch(1, before=None, more=[])])
    batch = Reading(registry, "avro").decode([framed(number, b"\2" * depth), good])
    assert batch.users.tolist() == [hash_text("u1")]
    assert ("nests too deeply" in batch.issues[0].found) == (depth > 10)
