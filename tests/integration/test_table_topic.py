"""The table's topic on a real broker: copies end equal to the table, through versions, rollbacks and crashes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pytest

from refresh.table_store import TableStore
from refresh.topic import KafkaRowLog, TableCopy, TopicPublisher
from refresh.topic.publisher import LogRecord
from tests.broker import KafkaBroker
from tests.integration.test_kafka_run import messages, rows_of
from tests.runs import SYNTHETIC, run_quietly, small_log
from tests.table_topics import answers_in, answers_of, copy_of
from tests.tables import NAMES, PAIRS, publish, small_table
from tidegate.cli.topic_following import publishing
from tidegate.config import load_settings
from tidegate.errors import BrokerError, ConfigError


class CrashError(Exception):
    """The publisher's process ends here."""


def test_a_copy_follows_versions_rollbacks_and_crashes(kafka: KafkaBroker, tmp_path: Path):
    store, copy, log = TableStore(tmp_path), TableCopy(), KafkaRowLog(kafka.bootstrap, "table-versions")
    reading = KafkaRowLog(kafka.bootstrap, "table-versions")

    def read() -> list[int]:
        return [copy.version.version for record in reading.read_on() or () if copy.apply(*record) and copy.version]

    publisher = TopicPublisher(store, log)
    for number in range(3):
        publish(store, small_table({**PAIRS, (2, 3): (number % 2, 4)}), window_end_ms=number)
        assert publisher.sync() == (7, 2, 2)[number]
        assert read() == [number + 1]
        assert answers_in(copy, NAMES) == answers_of(store.load())
    store.rollback(2, why="x")
    assert publisher.sync() == 2
    assert read() == [2]
    publish(store, small_table({}), window_end_ms=9)

    def crash_after_two(records: Iterable[LogRecord]) -> int:
        KafkaRowLog.append(log, islice(records, 2))
        raise CrashError

    with pytest.MonkeyPatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(log, "append", crash_after_two)
        publisher.sync()
    assert read() == []
    assert copy.version.version == 2
    again = TopicPublisher(store, KafkaRowLog(kafka.bootstrap, "table-versions"))
    assert again.sync() > 1
    assert read() == [4]
    assert answers_in(copy, NAMES) == answers_of(store.load())
    assert copy_of(kafka.bootstrap, "table-versions").rows == copy.rows
    log.close()
    reading.close()


def test_a_run_on_a_topic_ends_with_its_table_in_the_other(
    kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    kafka.create_topic("table-events", partitions=2)
    kafka.produce("table-events", messages(rows_of(small_log(tmp_path))))
    source, flags = f"kafka://{kafka.bootstrap}/table-events", {**SYNTHETIC, "publish_topic": "table-of-run"}

    def crash(_: TopicPublisher) -> int:
        raise CrashError

    with monkeypatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(TopicPublisher, "sync", crash)  # the pointer has moved, nothing was sent
        patch.setattr("tidegate.cli.topic_following.follow", lambda *_: None)
        run_quietly(source, tmp_path / "home", **flags)
    store = TableStore(tmp_path / "home" / "tables")
    assert store.current()
    assert copy_of(kafka.bootstrap, "table-of-run").version is None
    settings = load_settings({"source": source, "home": tmp_path / "home", **flags})
    with publishing(settings, store):  # as the next start does
        pass
    table = store.load()
    copy = copy_of(kafka.bootstrap, "table-of-run")
    assert copy.version.version == store.current()
    assert copy.version.content_checksum == table.content_checksum()
    assert answers_in(copy, table.cluster_names) == answers_of(table)


def test_a_topic_that_cannot_hold_a_table_is_refused(kafka: KafkaBroker):
    kafka.create_topic("table-of-two", partitions=2, config={"cleanup.policy": "compact"})
    with pytest.raises(ConfigError, match="topic table-of-two has 2 partitions, 1 is required"):
        KafkaRowLog(kafka.bootstrap, "table-of-two")
    kafka.create_topic("table-that-expires")
    with pytest.raises(ConfigError, match=r"has cleanup\.policy=delete, compact is required"):
        KafkaRowLog(kafka.bootstrap, "table-that-expires")
    with pytest.raises(BrokerError, match="cannot be brought up to date"):
        KafkaRowLog(kafka.bootstrap, "no such topic!")


def test_a_run_without_a_topic_has_nowhere_to_publish_to(tmp_path: Path):
    settings = load_settings({"source": "log.csv", "publish_topic": "table"})
    with (
        pytest.raises(ConfigError, match=r"--publish-topic: the topic is made beside the source's, and log\.csv"),
        publishing(settings, TableStore(tmp_path)),
    ):
        pass
