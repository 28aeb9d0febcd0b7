"""Roles as processes: a person approves weights, an alert asks for a refresh, and each is answered once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import msgspec
import numpy as np
import pytest

from refresh.engines.embedded import EmbeddedEngine
from refresh.prompts import RowContexts
from refresh.table_store import TableStore
from stream.alert_book import AlertBook, AlertRequest
from stream.fine_tune_book import StoredFineTunes
from stream.ledger import RECORDS, Ledger
from tests.broker import KafkaBroker, free_ports
from tests.fine_tunes import in_status, keep
from tests.integration.test_kafka_run import messages, rows_of
from tests.integration.test_role_ports import scraped
from tests.monitoring.test_webhook import alert, body_of
from tests.refresh.candidates import candidate_of
from tests.refresh.random_models import write_random_model
from tests.roles import Roles
from tests.runs import small_log
from tests.tidegate.test_weights_in_runs import FLAGS
from tidegate.cli.alert_planning import decision_of, result_of
from tidegate.cli.errors import run_cleanly
from tidegate.cli.main import cli
from tidegate.cli.records import PaneRecord, decode_record
from tidegate.contracts import AlertStatus, FineTuneStatus, Trigger
from tidegate.counts import unpack_pairs

TOPIC, DAY_SECONDS, PATIENCE_SECONDS = "role-weights", 86_400, 150.0
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class World:
    """A log by days, the weights that the run begins with, and those that a fine-tune might have made."""

    days: list[list[dict[str, str]]]
    names: list[str]
    base: Path
    tuned: Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    rows = list(rows_of(small_log(tmp_path, days=4, sessions=250)))
    names = sorted({row["category"] for row in rows})
    (tmp_path / "catalogue.csv").write_text("\n".join(["cluster", *names]))
    first = min(int(row["timestamp"]) for row in rows) // DAY_SECONDS
    days = [[row for row in rows if int(row["timestamp"]) // DAY_SECONDS == first + day] for day in range(4)]
    base, tuned = (write_random_model(tmp_path / f"model-{seed}", names, seed=seed) for seed in (1, 2))
    return World(days, names, base, tuned)


class Shared(Roles):
    """A run with one process of each role, all of which live as long as the test."""

    alerts_port, metrics_port = 0, 0

    def begin(self) -> None:
        """Start everything."""
        self.alerts_port, self.metrics_port = free_ports(2)
        self.start("refresher")
        self.start("control", metrics_port=self.metrics_port)
        self.start("evaluator")
        self.start("worker")
        self.start("alerts", port=self.alerts_port)

    def eventually(self, what: str, find: Callable[[], _Found | None]) -> _Found:
        """Ask again and again until there is an answer."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (found := find()) is None:
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not dead, self.log_tail(dead[0])
            assert time.monotonic() < deadline, "\n".join([what, *map(self.log_tail, self.processes)])
            time.sleep(0.05)
        return found

    def record(self, ledger: Ledger, pane: int) -> PaneRecord:
        """Wait until a pane is recorded."""
        body = self.eventually(f"pane {pane} is recorded", lambda: ledger.get(RECORDS, pane))
        return decode_record(body)

    def approve(self, ledger: Ledger, world: World) -> None:
        """Let a person approve a candidate that has passed its gates."""
        asked = in_status(FineTuneStatus.PENDING_REVIEW, DAY_SECONDS * 1_000, self.run_id)
        candidate = self.home / "finetunes" / asked.fine_tune_id / "candidate"
        made = candidate_of(world.tuned, candidate, base=world.base)
        keep(StoredFineTunes(ledger.database), msgspec.structs.replace(asked, candidate_fingerprint=made))
        command = ["finetune", "approve", asked.fine_tune_id, "--reason", "better", "--by", "ada"]
        assert run_cleanly(cli, [*command, "--home", str(self.home)]) == 0

    def deliver(self) -> int | None:
        """Send the alert; None while nobody listens."""
        try:
            return httpx.post(f"http://127.0.0.1:{self.alerts_port}/alerts", json=body_of(alert())).status_code
        except httpx.ConnectError:
            return None


@pytest.fixture
def shared(world: World, kafka: KafkaBroker, tmp_path: Path) -> Iterator[Shared]:
    kafka.create_topic(TOPIC, partitions=2)
    source = f"kafka://{kafka.bootstrap}/{TOPIC}"
    own = {"source": source, "topics": TOPIC, "model": world.base, "catalogue": tmp_path / "catalogue.csv"}
    with Shared(tmp_path, {**FLAGS, **own, "permutations": 20}) as shared:
        shared.begin()
        yield shared


def test_approved_weights_answer_the_next_pane_and_one_alert_makes_one_order(
    shared: Shared, world: World, kafka: KafkaBroker
):
    days = [list(messages(rows)) for rows in world.days]
    first = int(world.days[0][0]["timestamp"]) // DAY_SECONDS
    kafka.produce(TOPIC, [*days[0], *days[1]])
    with closing(shared.ledger()) as ledger:
        before = shared.record(ledger, first)
        assert (before.table_version, before.model, before.weights) == (1, str(world.base), None)
        shared.approve(ledger, world)
        kafka.produce(TOPIC, days[2])
        record = shared.record(ledger, first + 1)
        weights = str(shared.home / "models" / shared.run_id / "v000002")
        assert (record.model, record.weights, record.weights_since_pane) == (weights, 2, first + 1)
        assert record.result is not None
        assert (record.result.trigger, record.result.outcome) == (Trigger.FINE_TUNE, "completed")
        assert record.result.llm_calls > 10

        def answered() -> AlertRequest | None:
            requests = AlertBook(ledger.database, ledger.run_id).requests()
            return requests[0] if requests and requests[0].status is AlertStatus.ANSWERED else None

        assert {shared.eventually("alerts are taken", shared.deliver) for _ in range(2)} == {202}
        request = shared.eventually("the alert is answered", answered)
        assert AlertBook(ledger.database, ledger.run_id).requests() == [request]
    decided, result = decision_of(request).record, result_of(request)
    assert (decided.weights, request.pane) == (2, first + 1)
    assert decided.decision is not None
    assert decided.decision.order is not None
    assert decided.decision.order.trigger is result.trigger is Trigger.ALERT
    assert (result.outcome, result.model) == ("completed", weights)
    tables = TableStore(shared.home / "tables")
    assert tables.current() == result.table_version
    table, tuned = tables.load(), EmbeddedEngine(world.tuned, world.names)
    c1, c2 = unpack_pairs(table.pairs)
    said = tuned.infer(RowContexts(c1, c2, table.contexts[:, None]), top_n=5)
    np.testing.assert_array_equal(table.clusters, said.clusters)

    def counted() -> dict[str, float] | None:
        found = scraped(f"http://127.0.0.1:{shared.metrics_port}")
        return found if found['tidegate_refreshes_total{outcome="completed",trigger="alert"}'] else None

    told = shared.eventually("the alert's refresh is told", counted)
    assert told['tidegate_refreshes_total{outcome="completed",trigger="alert"}'] == 1
    assert told["tidegate_weights_version"] == 2
    assert told["tidegate_weights_since_timestamp_seconds"] == (first + 2) * DAY_SECONDS
    assert told["tidegate_table_version"] == result.table_version
