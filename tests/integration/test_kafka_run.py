"""The same log through a real Kafka topic gives bit-identical counts and the same decisions as from the file."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.broker import KafkaBroker
from tests.runs import SYNTHETIC, assert_same_run, result_of, small_log

REAL = {"positive": "engagement >= 0.5", "pane": "1d", "window": "3d", "gap": "1d", "engine": "frequency"}


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        yield from csv.DictReader(file)


def messages(rows: Iterable[dict[str, str]]) -> Iterator[tuple[bytes, bytes]]:
    """One JSON object a row, keyed by user: all of a user's events go to one partition, in their order."""
    for row in rows:
        value = {"user_id": row["user_id"], "category": row["category"], "timestamp": int(row["timestamp"])}
        if row["engagement"]:
            value["engagement"] = float(row["engagement"])
        yield row["user_id"].encode(), json.dumps(value).encode()


@pytest.mark.parametrize("n_partitions", [1, 4])
def test_a_synthetic_log_counts_the_same(kafka: KafkaBroker, tmp_path: Path, n_partitions: int):
    log = small_log(tmp_path)
    topic = f"synthetic-{n_partitions}"
    kafka.create_topic(topic, partitions=n_partitions)
    kafka.produce(topic, messages(rows_of(log)))
    from_file = result_of(log, tmp_path / "file", **SYNTHETIC)
    from_topic = result_of(f"kafka://{kafka.bootstrap}/{topic}", tmp_path / "topic", **SYNTHETIC)
    assert from_file.summary["windows"] >= 3
    assert_same_run(from_topic, from_file)


def test_a_real_log_counts_the_same(kafka: KafkaBroker, real_logs: Path, tmp_path: Path):
    log = real_logs / "kuairand_pure" / "events.csv.gz"
    kafka.create_topic("kuairand", partitions=3)
    assert kafka.produce("kuairand", messages(rows_of(log))) == 226_277
    from_file = result_of(log, tmp_path / "file", **REAL)
    from_topic = result_of(f"kafka://{kafka.bootstrap}/kuairand", tmp_path / "topic", **REAL)
    assert from_file.summary["transitions"] == 5_425
    assert_same_run(from_topic, from_file)


def test_a_bad_message_is_set_aside_and_named_by_its_offset(kafka: KafkaBroker, tmp_path: Path):
    log = small_log(tmp_path, days=4)
    good = list(messages(rows_of(log)))
    kafka.create_topic("poisoned", partitions=1)
    kafka.produce("poisoned", [*good[:100], (b"7", b"{not json"), *good[100:]])
    poisoned = result_of(f"kafka://{kafka.bootstrap}/poisoned", tmp_path / "topic", **SYNTHETIC)
    clean = result_of(log, tmp_path / "file", **SYNTHETIC)
    assert poisoned.summary["outcomes"]["malformed"] == 1
    assert poisoned.summary["issues"][0]["place"] == "poisoned[0]@100"
    assert poisoned.counts == clean.counts
