"""Protobuf messages through a registry: schemas as descriptors and as text, imports, and what is no message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.avro_records import framed
from tests.framed_reading import NOON_MS, Reading
from tests.protobuf_messages import WATCH, message_class, serialized
from tests.schema_registry import FakeRegistry
from tidegate.hashing import hash_text

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
FIRST = b"\0"  # the first message of its file


@pytest.fixture(scope="module")
def watch_class() -> Any:
    return message_class(WATCH, "media.events.Watch")


def watch(watch_class: Any, number: int, **changed: Any) -> Any:
    at = NOON + timedelta(milliseconds=number)
    return watch_class(**{"user_id": f"u{number}", "category": "jazz", "timestamp": at, "engagement": 0.5} | changed)


def test_messages_become_events(registry: FakeRegistry, watch_class: Any) -> None:
    reading = Reading(registry, "protobuf")
    batch = reading.decode(serialized(registry, [watch(watch_class, 1), watch(watch_class, 2, category="soul")]))
    assert batch.users.tolist() == [hash_text("u1"), hash_text("u2")]
    assert batch.times_ms.tolist() == [NOON_MS + 1, NOON_MS + 2]
    assert [reading.decoder.cluster_names[code] for code in batch.clusters] == ["jazz", "soul"]


def test_one_bad_message_spoils_no_other(registry: FakeRegistry, watch_class: Any) -> None:
    good = serialized(registry, [watch(watch_class, number) for number in range(3)])
    values = [good[0], b"", b"{}", good[1], good[1][:-1], good[1].replace(b"jazz", b"j\xffzz"), b"\0\0\0\0\1\1\0",
              b"\0\0\0\0\1\2\xff", framed(1, b"", b"\2\6"), framed(9, b"", FIRST), good[2]]  # fmt: skip
    batch = Reading(registry, "protobuf").decode(values)
    assert batch.positions is not None
    assert batch.positions.tolist() == [0, 3, 10]
    faults = [issue.found for issue in batch.issues]
    fragments = ["too short", "does not begin with a zero byte", "cut off", "cut off", "its header cannot be read",
                 "its header cannot be read", "there is no message [3] in it", "does not know schema 9"]  # fmt: skip
    assert [issue.position for issue in batch.issues] == [1, 2, 4, 5, 6, 7, 8, 9]
    assert all(fragment in fault for fragment, fault in zip(fragments, faults, strict=True)), faults
    assert "Protobuf" in batch.issues[0].mend


def test_a_registry_may_give_schemas_as_text(watch_class: Any) -> None:
    with FakeRegistry(serializes=False) as registry:
        number = registry.register("t-value", WATCH, "PROTOBUF")
        batch = Reading(registry, "protobuf").decode([framed(number, watch(watch_class, 1).SerializeToString(), FIRST)])
    assert batch.users.tolist() == [hash_text("u1")]
    assert batch.times_ms.tolist() == [NOON_MS + 1]


GENRE = 'syntax = "proto3"; package media; enum Genre { NONE = 0; ROCK = 1; JAZZ = 2; }'
IMPORTING = """
syntax = "proto3";
import "genre.proto";
import "google/type/date.proto";
message Other { string note = 1; }
message Outer {
  google.type.Date day = 1;
  message Inner { string user = 1; repeated string tags = 2; media.Genre cluster = 3; double ts = 4; Other other = 5; }
}
"""


@pytest.mark.parametrize("serializes", [True, False])
def test_a_schema_may_import_others_and_hold_several_messages(serializes: bool) -> None:
    inner_class = message_class(IMPORTING, "Outer.Inner", genre=GENRE)
    message = inner_class(user="u1", tags=["a"], cluster=2, ts=NOON_MS / 1_000)
    with FakeRegistry(serializes=serializes) as registry:
        registry.register("genre", GENRE, "PROTOBUF")
        references = [{"name": "genre.proto", "subject": "genre", "version": 1}]
        number = registry.register("t-value", IMPORTING, "PROTOBUF", references)
        reading = Reading(registry, "protobuf")
        batch = reading.decode([framed(number, message.SerializeToString(), b"\4\2\0")])
    assert batch.users.tolist() == [hash_text("u1")]
    assert batch.times_ms.tolist() == [NOON_MS]
    assert reading.decoder.cluster_names == ["JAZZ"]


def test_the_real_serializer_registers_imports(registry: FakeRegistry) -> None:
    inner_class = message_class(IMPORTING, "Outer.Inner", genre=GENRE)
    values = serialized(registry, [inner_class(user="u1", cluster=1, ts=NOON_MS / 1_000)])
    reading = Reading(registry, "protobuf")
    assert reading.decode(values).users.tolist() == [hash_text("u1")]
    assert reading.decoder.cluster_names == ["ROCK"]


@pytest.mark.parametrize(
    ("schema", "kind", "fault"),
    [
        ('"string"', "AVRO", "it is of type AVRO, not PROTOBUF"),
        ('syntax = "proto3"; message Watch {', "PROTOBUF", "protoc says"),
        ('syntax = "proto3"; import "absent.proto"; message Watch {}', "PROTOBUF", "absent.proto"),
        ("AAAA", "PROTOBUF", "schema 1 cannot be read"),
    ],
)
def test_a_schema_that_is_of_no_use_is_a_fault(schema: str, kind: str, fault: str) -> None:
    with FakeRegistry(serializes=False) as registry:
        number = registry.register("t-value", schema, kind)
        assert fault in Reading(registry, "protobuf").faults([framed(number, b"xx", FIRST)])[0]


def test_an_import_that_leads_out_of_its_folder_is_a_fault() -> None:
    with FakeRegistry(serializes=False) as registry:
        registry.register("up", GENRE, "PROTOBUF")
        references = [{"name": "../up.proto", "subject": "up", "version": 1}]
        number = registry.register("t-value", WATCH, "PROTOBUF", references)
        assert "leads out of its folder" in Reading(registry, "protobuf").faults([framed(number, b"xx", FIRST)])[0]


@pytest.mark.parametrize(
    ("field", "value", "fault"),
    [
        ("repeated string user_id = 1;", {"user_id": ["a"]}, "user_id is no text, number, truth value or time"),
        ("media.events.Other user_id = 1;", {"user_id": {"note": "x"}}, "user_id is no text"),
        ("google.protobuf.Timestamp user_id = 1;", {"user_id": {"seconds": 1 << 62}}, "OverflowError"),
    ],
)
def test_a_wanted_field_that_no_column_holds_is_a_fault(
    registry: FakeRegistry, field: str, value: Any, fault: str
) -> None:
    text = WATCH.replace("string user_id = 1;", field) + "message Other { string note = 1; }"
    values = serialized(registry, [message_class(text, "media.events.Watch")(**value)])
    assert fault in Reading(registry, "protobuf").faults(values)[0]


@pytest.mark.parametrize(
    ("field", "value", "user"),
    [
        ("google.protobuf.Int64Value user_id = 1;", {"user_id": {"value": 7}}, "7"),
        ("oneof who { string user_id = 1; int64 number = 9; }", {"user_id": "u7"}, "u7"),
        ("bytes user_id = 1;", {"user_id": b"u7"}, "u7"),
        ("fixed64 user_id = 1;", {"user_id": 2**64 - 1}, str(2**64 - 1)),
    ],
)
def test_ids_of_any_type_are_read(registry: FakeRegistry, field: str, value: Any, user: str) -> None:
    imported = 'import "google/protobuf/wrappers.proto";\nmessage Watch'
    text = WATCH.replace("string user_id = 1;", field).replace("message Watch", imported)
    message = message_class(text, "media.events.Watch")(category="jazz", timestamp=NOON, **value)
    assert Reading(registry, "protobuf").decode(serialized(registry, [message])).users.tolist() == [hash_text(user)]


def test_one_of_several_alternatives_is_what_came_last(registry: FakeRegistry) -> None:
    text = WATCH.replace("string user_id = 1;", "oneof who { string user_id = 1; int64 number = 9; }")
    whole = message_class(text, "media.events.Watch")
    first, last = whole(user_id="u1", category="jazz", timestamp=NOON), whole(number=5)
    (value,) = serialized(registry, [first])
    faults = Reading(registry, "protobuf").faults([value + last.SerializeToString(), value])
    assert faults == {0: "user_id has no value"}


def test_fields_that_are_not_wanted_are_not_looked_into(registry: FakeRegistry) -> None:
    text = WATCH.replace("float engagement = 4;", "string note = 4; map<string, int32> more = 5;")
    message = message_class(text, "media.events.Watch")(user_id="u1", category="jazz", timestamp=NOON, note="abc")
    message.more["a"] = 1
    (value,) = serialized(registry, [message])
    assert Reading(registry, "protobuf").decode([value.replace(b"abc", b"a\xffc")]).users.tolist() == [hash_text("u1")]
