"""Avro records as Confluent's serializer frames them, for tests."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from fastavro import schemaless_writer

from tests.schema_registry import FakeRegistry

WATCH = {
    "type": "record",
    "name": "Watch",
    "namespace": "media.events",
    "fields": [
        {"name": "user_id", "type": "string"},
        {"name": "category", "type": ["null", "string"], "default": None},
        {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "engagement", "type": "float"},
    ],
}


def record(*fields: dict[str, Any], name: str = "Watch") -> dict[str, Any]:
    """A record's schema."""
    return {"type": "record", "name": name, "fields": list(fields)}


def serialized(registry: FakeRegistry, schema: dict[str, Any], values: Sequence[Any], topic: str = "t") -> list[bytes]:
    """Frame values with the real serializer, which registers the schema."""
    serializer = AvroSerializer(SchemaRegistryClient({"url": registry.url}), json.dumps(schema))
    context = SerializationContext(topic, MessageField.VALUE)
    return [serializer(value, context) for value in values]


def framed(schema_id: int, body: bytes, path: bytes = b"") -> bytes:
    """Put the registry's header before a body."""
    return b"\0" + schema_id.to_bytes(4, "big") + path + body


def encoded(schema: dict[str, Any], value: Any) -> bytes:
    """Encode a record without a header."""
    buffer = io.BytesIO()
    schemaless_writer(buffer, schema, value)
    return buffer.getvalue()
