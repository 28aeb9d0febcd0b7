"""Protobuf messages as Confluent's serializer frames them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.message_factory import GetMessageClass

from stream.decoding.messages.protobuf_files import compiled, pool_of
from tests.schema_registry import FakeRegistry

WATCH = """
syntax = "proto3";
package media.events;
import "google/protobuf/timestamp.proto";
message Watch {
  string user_id = 1;
  optional string category = 2;
  google.protobuf.Timestamp timestamp = 3;
  float engagement = 4;
}
"""


def message_class(text: str, name: str, **imported: str) -> Any:
    """Make a class of a message in a file; other files by the names that it imports them with, less the suffix."""
    sources = {f"{each}.proto": source for each, source in imported.items()} | {"watch.proto": text}
    return GetMessageClass(pool_of(compiled(sources, "watch.proto")).FindMessageTypeByName(name))


def serialized(registry: FakeRegistry, messages: Sequence[Any], topic: str = "t") -> list[bytes]:
    """Frame messages with the real serializer, which registers their schema."""
    client = SchemaRegistryClient({"url": registry.url})
    serializer = ProtobufSerializer(type(messages[0]), client, {"use.deprecated.format": False})
    context = SerializationContext(topic, MessageField.VALUE)
    return [serializer(message, context) for message in messages]
