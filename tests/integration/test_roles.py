"""Workers, evaluator, controller and refresher as processes of their own give what one process gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from refresh.table_store import TableStore
from tests.broker import KafkaBroker
from tests.integration.test_kafka_run import REAL, assert_same_run, messages, rows_of
from tests.postgres import PostgresServer
from tests.roles import Roles
from tests.runs import SYNTHETIC, result_of, small_log
from tests.table_topics import answers_in, answers_of, copy_of

ENDS = {"until_end": True, "idle_after": "2s", "kafka": {"session.timeout.ms": "6000"}}


def run_roles(folder: Path, n_workers: int, **settings: Any) -> Any:
    with Roles(folder, settings) as roles:
        for name in ("evaluator", "control", "refresher"):
            roles.start(name)
        for number in range(n_workers):
            roles.start("worker", f"worker-{number}")
        roles.wait_until_over(150)
        for name in list(roles.processes):
            roles.wait(name, 30)
        return roles.result()


def test_roles_on_postgresql_answer_a_real_log_like_one_process(
    kafka: KafkaBroker, postgres: PostgresServer, real_logs: Path, tmp_path: Path
):
    log = real_logs / "kuairand_pure" / "events.csv.gz"
    kafka.create_topic("shared-kuairand", partitions=5)
    kafka.produce("shared-kuairand", messages(rows_of(log)))
    store = postgres.create_database("shared-kuairand")
    source = f"kafka://{kafka.bootstrap}/shared-kuairand"
    shared = run_roles(tmp_path, 3, source=source, store=store, topics="kuairand", **REAL, **ENDS)
    assert_same_run(shared, result_of(log, tmp_path / "alone", **REAL))


def test_roles_on_sqlite_answer_a_synthetic_log_like_one_process(kafka: KafkaBroker, tmp_path: Path):
    log = small_log(tmp_path)
    kafka.create_topic("shared-synthetic", partitions=3)
    kafka.produce("shared-synthetic", messages(rows_of(log)))
    source = f"kafka://{kafka.bootstrap}/shared-synthetic"
    shared = run_roles(
        tmp_path, 2, source=source, topics="synthetic", publish_topic="shared-table", **SYNTHETIC, **ENDS
    )
    alone = result_of(log, tmp_path / "alone", **SYNTHETIC)
    assert alone.summary["windows"] >= 3
    assert_same_run(shared, alone)
    table, copy = TableStore(tmp_path / "home" / "tables").load(), copy_of(kafka.bootstrap, "shared-table")
    assert copy.version.content_checksum == table.content_checksum()
    assert answers_in(copy, table.cluster_names) == answers_of(table)
    assert (tmp_path / "home" / "faust").is_dir()  # and none where the command was given
