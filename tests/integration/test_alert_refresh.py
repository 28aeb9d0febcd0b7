"""Drift that a pane is too slow for: Prometheus sees it, Alertmanager tells, and a refresh starts within seconds."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from refresh.table_store import TableStore
from stream.alert_book import AlertBook
from stream.database import Database
from stream.run_reader import run_id_of
from tests.broker import KafkaBroker, free_ports
from tests.integration.test_kafka_run import messages, rows_of
from tests.runs import SYNTHETIC, small_log
from tidegate.cli.alert_planning import decision_of, result_of
from tidegate.cli.run import run
from tidegate.config import RunSettings, load_settings
from tidegate.contracts import AlertStatus, Trigger

DAY_SECONDS, N_DAYS = 86_400, 4
STARTS_WITHIN_SECONDS = 10.0
TOKEN = "token-of-this-very-test"
DOCS = Path(__file__).resolve().parents[2] / "docs"
HIT_RATE = (
    'sum(increase(tidegate_hits_total{kind="next"}[5s])) / (sum(increase(tidegate_scored_transitions_total[5s])) > 100)'
)
PROMETHEUS = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms}}
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{alertmanager}"]}}]}}]}}
rule_files: [{rules}]
scrape_configs: [{{job_name: tidegate, static_configs: [{{targets: ["{tidegate}"]}}]}}]
"""
RULES = """
groups:
  - name: test
    rules:
      - alert: HitRateCollapsed
        expr: {expr} < {bound}
        labels: {{refresh: "yes", run: one}}
"""


def documented_configuration() -> str:
    """Alertmanager's configuration as docs/alerts.md has it."""
    found = re.search(
        r"<!-- checked: alertmanager.yml -->\n```yaml\n(.*?)```", (DOCS / "alerts.md").read_text(), re.DOTALL
    )
    assert found is not None
    return found[1]


@contextmanager
def started(*command: str, ready: str) -> Iterator[None]:
    """A server of its own, ended with the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_ok(ready), 30, f"{command[0]} is ready")
        yield
    finally:
        process.kill()
        process.wait(20)


def is_ok(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def wait_until(is_so: Callable[[], Any], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.1)


def renamed(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same events, each cluster under another one's name: what follows what is another thing then."""
    names = sorted({row["category"] for row in rows})
    other = dict(zip(names, [*names[7:], *names[:7]], strict=True))
    return [row | {"category": other[row["category"]]} for row in rows]


class Watched:
    """A followed run that Prometheus watches, and what Prometheus says of it."""

    def __init__(self, flags: dict[str, Any], prometheus: str) -> None:
        self.settings: RunSettings = load_settings(flags)
        self._prometheus = prometheus
        self.run_id = run_id_of(flags["source"], self.settings.identity())

    def value(self, expr: str) -> float | None:
        found = httpx.get(f"{self._prometheus}/api/v1/query", params={"query": expr}, timeout=5).json()
        values = [float(each["value"][1]) for each in found["data"]["result"]]
        return values[0] if values else None

    def events(self) -> float:
        return self.value("sum(tidegate_events_total)") or 0.0

    def requests(self) -> list[Any]:
        with closing(Database(self.settings.home / "runs.db")) as database:
            return AlertBook(database, self.run_id).requests()


@pytest.fixture
def watched(kafka: KafkaBroker, prometheus_programs: Path, tmp_path: Path) -> Iterator[Watched]:
    """The run, its Prometheus and its Alertmanager, configured as the documentation has it."""
    ports = free_ports(3)
    service, prometheus, alertmanager = (f"127.0.0.1:{port}" for port in ports)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "rules.yml").write_text(RULES.format(expr=HIT_RATE, bound=0.07))
    (tmp_path / "prometheus.yml").write_text(
        PROMETHEUS.format(alertmanager=alertmanager, tidegate=service, rules=tmp_path / "rules.yml")
    )
    configuration = documented_configuration().replace("tidegate:9466", service)
    (tmp_path / "alertmanager.yml").write_text(
        configuration.replace("/run/secrets/alert_token", str(tmp_path / "token"))
    )
    programs = prometheus_programs
    subprocess.run(
        [programs / "amtool", "check-config", tmp_path / "alertmanager.yml"], check=True, capture_output=True
    )
    kafka.create_topic("alerted", partitions=1)
    flags = {"source": f"kafka://{kafka.bootstrap}/alerted", "home": tmp_path / "home", "follow": True, "serve": True,
             "port": ports[0], "window": "1d", "alert_tokens": TOKEN, "permutations": 20, **SYNTHETIC}  # fmt: skip
    stop = threading.Event()
    thread = threading.Thread(target=lambda: run(load_settings(flags), Console(quiet=True), stop), daemon=True)
    with ExitStack() as stack:
        stack.enter_context(
            started(str(programs / "alertmanager"), f"--config.file={tmp_path / 'alertmanager.yml'}",
                    f"--storage.path={tmp_path / 'am'}", f"--web.listen-address={alertmanager}",
                    "--cluster.listen-address=", ready=f"http://{alertmanager}/-/ready"))  # fmt: skip
        stack.enter_context(
            started(str(programs / "prometheus"), f"--config.file={tmp_path / 'prometheus.yml'}",
                    f"--storage.tsdb.path={tmp_path / 'tsdb'}", f"--web.listen-address={prometheus}",
                    ready=f"http://{prometheus}/-/ready"))  # fmt: skip
        thread.start()
        stack.callback(thread.join, 60)
        stack.callback(stop.set)
        wait_until(lambda: is_ok(f"http://{service}/healthz"), 60, "the run serves")
        yield Watched(flags, f"http://{prometheus}")


def test_planted_drift_makes_an_alert_fire_and_a_refresh_start_within_seconds(
    watched: Watched, kafka: KafkaBroker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def days_of(sessions: int) -> list[dict[str, str]]:
        return list(rows_of(small_log(tmp_path, "flat", days=N_DAYS, sessions=sessions)))

    quiet, busy = days_of(500), days_of(3_000)
    last_day = max(int(row["timestamp"]) // DAY_SECONDS for row in busy)
    before = [row for row in quiet if int(row["timestamp"]) // DAY_SECONDS < last_day]
    last = [row for row in busy if int(row["timestamp"]) // DAY_SECONDS == last_day]
    drifted = renamed(last)
    third = len(drifted) // 3
    tables = TableStore(watched.settings.home / "tables")

    kafka.produce("alerted", messages(before + last[:100]))
    wait_until(lambda: watched.events() >= len(before) + 100, 90, "the days before are read")
    time.sleep(2)
    level = watched.value("sum(tidegate_hits_total{kind='next'}) / sum(tidegate_scored_transitions_total)")
    assert level is not None
    assert level > 0.12
    assert watched.requests() == []  # nothing has fired

    kafka.produce("alerted", messages(drifted[100 : 2 * third]))
    wait_until(lambda: any(each.status is AlertStatus.ANSWERED for each in watched.requests()), 60, "a refresh")
    (request,) = watched.requests()
    decision, result = decision_of(request), result_of(request)
    fired_ms = datetime.fromisoformat(request.episode.starts_at).timestamp() * 1_000
    started_seconds = (decision.decided_ms - fired_ms) / 1_000
    assert 0 <= started_seconds <= STARTS_WITHIN_SECONDS
    assert request.episode.alert == "HitRateCollapsed"
    assert (result.trigger, result.outcome, result.table_version) == (Trigger.ALERT, "completed", tables.current())
    assert result.rows_changed > 10
    assert tables.history()[-1].why == Trigger.ALERT

    scored, hits = (watched.value(f"sum({name})") or 0.0 for name in
                    ("tidegate_scored_transitions_total", "tidegate_hits_total{kind='next'}"))  # fmt: skip
    n_read = watched.events()
    kafka.produce("alerted", messages(drifted[2 * third :]))
    wait_until(lambda: watched.events() >= n_read + third, 60, "the rest of the day is read")
    time.sleep(1)
    rate = ((watched.value("sum(tidegate_hits_total{kind='next'})") or 0.0) - hits) / (
        (watched.value("sum(tidegate_scored_transitions_total)") or 0.0) - scored
    )
    assert rate > level / 2  # the pane goes on with the table that the alert has brought about
    assert len(watched.requests()) == 1
    with capsys.disabled():
        print(
            json.dumps({"refresh_started_seconds": started_seconds, "hit_rate_before": level, "hit_rate_after": rate}),
            flush=True,
        )
