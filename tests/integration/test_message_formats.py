"""The same log as JSON, Avro and Protobuf through a real topic gives the same run, whoever counts it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import avro_records, protobuf_messages
from tests.broker import KafkaBroker
from tests.integration.test_kafka_run import assert_same_run, rows_of
from tests.integration.test_roles import ENDS, run_roles
from tests.runs import SYNTHETIC, result_of, run_quietly, small_log
from tests.schema_registry import FakeRegistry
from tidegate.errors import RegistryError


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def watches(log: Path) -> list[dict[str, Any]]:
    return [
        {
            "user_id": row["user_id"],
            "category": row["category"],
            "timestamp": datetime.fromtimestamp(int(row["timestamp"]), UTC),
            "engagement": float(row["engagement"]),
        }
        for row in rows_of(log)
    ]


def send(kafka: KafkaBroker, topic: str, name: str, rows: list[dict[str, Any]], registry: FakeRegistry) -> str:
    """Write a topic with the real serializers; gives its URL."""
    kafka.create_topic(topic, partitions=2)
    if name == "avro":
        values = avro_records.serialized(registry, avro_records.WATCH, rows, topic)
    else:
        watch = protobuf_messages.message_class(protobuf_messages.WATCH, "media.events.Watch")
        values = protobuf_messages.serialized(registry, [watch(**row) for row in rows], topic)
    keys = [row["user_id"].encode() for row in rows]
    kafka.produce(topic, zip(keys, values, strict=True))
    return f"kafka://{kafka.bootstrap}/{topic}"


@pytest.mark.parametrize("name", ["avro", "protobuf"])
def test_a_run_reads_every_format_alike(kafka: KafkaBroker, registry: FakeRegistry, tmp_path: Path, name: str):
    log = small_log(tmp_path)
    source = send(kafka, f"as-{name}", name, watches(log), registry)
    framed = {"message_format": name, "schema_registry": registry.url}
    from_topic = result_of(source, tmp_path / "topic", **SYNTHETIC, **framed)
    from_file = result_of(log, tmp_path / "file", **SYNTHETIC)
    assert from_file.summary["windows"] >= 3
    assert_same_run(from_topic, from_file)
    assert registry.requests.count("GET /schemas/ids/1") == 1


def test_a_run_ends_where_the_registry_is_away_and_goes_on_when_it_is_back(
    kafka: KafkaBroker, registry: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    log = small_log(tmp_path)
    source = send(kafka, "patience", "avro", watches(log), registry)
    framed = {"message_format": "avro", "schema_registry": registry.url}
    with monkeypatch.context() as patched:
        patched.setattr("stream.decoding.messages.registry.PATIENCE_SECONDS", 0.5)
        registry.failures = [503] * 100
        with pytest.raises(RegistryError, match="as the test wants it"):
            run_quietly(source, tmp_path / "topic", **SYNTHETIC, **framed)
    registry.failures = []
    from_topic = result_of(source, tmp_path / "topic", **SYNTHETIC, **framed)
    assert_same_run(from_topic, result_of(log, tmp_path / "file", **SYNTHETIC))


def test_workers_read_from_a_registry_as_one_process_reads_the_file(
    kafka: KafkaBroker, registry: FakeRegistry, tmp_path: Path
):
    log = small_log(tmp_path)
    source = send(kafka, "shared-protobuf", "protobuf", watches(log), registry)
    framed = {"message_format": "protobuf", "schema_registry": registry.url}
    shared = run_roles(tmp_path, 2, source=source, topics="protobuf", **SYNTHETIC, **ENDS, **framed)
    assert_same_run(shared, result_of(log, tmp_path / "alone", **SYNTHETIC))
