"""Deliveries over HTTP into the store, and from there to refreshes: exactly one an episode, whatever is sent."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from monitoring.webhook.app import build_alert_app
from refresh.serving import serve
from stream.alert_book import AlertBook
from stream.database import Database
from stream.run_reader import run_id_of
from stream.shard_store import join_run
from stream.sources.opening import parse_kafka_url
from tests.monitoring.test_webhook import alert, body_of
from tests.roles import PROGRAM
from tests.tidegate.test_alert_answering import OpenWorld
from tidegate.cli.alert_assembly import cooldown_ms_of
from tidegate.cli.alert_planning import decision_of, result_of
from tidegate.cli.alert_taking import AlertTaking, alert_handler_of, alert_routes_of, alert_tokens_of
from tidegate.cli.alerts import RunStores, alerts_group, taking_alerts
from tidegate.clock import ManualClock
from tidegate.config import load_settings
from tidegate.contracts import AlertStatus, Trigger
from tidegate.errors import ConfigError, StoreUnavailableError
from tidegate.group_config import GroupSettings

TOKENS = {"alert_tokens": "token-of-last-month token-of-this-month"}
SOURCE = "kafka://h:1/t"


def settings_of(home: Path, **flags: Any) -> GroupSettings:
    return load_settings({"source": SOURCE, "home": home, **flags}, None, GroupSettings)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OpenWorld]:
    made = OpenWorld(tmp_path)
    yield made
    made.database.close()


def test_a_thousand_repeated_reordered_and_forged_deliveries_make_one_refresh_an_episode(world: OpenWorld) -> None:
    world.advance_while_it_goes()
    settings = settings_of(world.home, alert_cooldown="10m", **TOKENS)
    registry = CollectorRegistry()
    handler = alert_handler_of(settings, lambda: world.book, world.clock, registry)
    rng, stop = random.Random(0), threading.Event()
    episodes = [alert(f"a{n}", starts=f"2026-01-0{n + 1}T00:00:00Z") for n in range(4)]
    tokens = TOKENS["alert_tokens"].split()

    def deliveries(of: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
        made = []
        for _ in range(500):
            chosen = rng.choices(of, k=rng.randrange(1, 4))
            bodies = [each | {"status": rng.choice(("firing", "firing", "resolved"))} for each in chosen]
            forged = rng.random() < 0.3
            live, wrong = f"Bearer {rng.choice(tokens)}", rng.choice(("", "Bearer", "Bearer token-of-nobody-here"))
            group = f"forged-{rng.random()}" if forged else "g"
            made.append((wrong if forged else live, json.dumps(body_of(*bodies, group=group)).encode()))
        rng.shuffle(made)
        return made

    def answer_alerts() -> None:
        roles = world.roles()
        while not stop.wait(0.01):
            for role in roles:
                role.advance()

    statuses: Counter[int] = Counter()
    answering = threading.Thread(target=answer_alerts)
    answering.start()
    try:
        with serve(build_alert_app(handler)) as service, httpx.Client(base_url=service.url, timeout=60) as client:
            for begin, of in enumerate((episodes[:2], episodes)):
                world.clock.advance_ms(begin * 11 * 60_000)  # beyond the cooldown of those before

                def send(delivery: tuple[str, bytes]) -> int:
                    token, body = delivery
                    headers = {"authorization": token, "content-type": "application/json"}
                    return client.post("/alerts", content=body, headers=headers).status_code

                with ThreadPoolExecutor(8) as pool:
                    statuses.update(pool.map(send, deliveries(of)))
    finally:
        stop.set()
        answering.join()
    world.advance_while_it_goes()
    assert set(statuses) == {202, 401}
    assert statuses[401] > 200
    assert registry.get_sample_value("tidegate_alert_deliveries_total", {"outcome": "unauthorised"}) == statuses[401]
    requests = world.book.requests()
    assert Counter(request.episode.alert for request in requests) == Counter(f"a{n}" for n in range(4))
    assert {request.episode.group_key for request in requests} == {"g"}
    by_status = Counter(request.status for request in requests)
    assert by_status == {
        AlertStatus.ANSWERED: 2,
        AlertStatus.SUPPRESSED: 2,
    }  # one taken each time
    orders = [decision_of(each).record.decision for each in requests if each.status is AlertStatus.ANSWERED]
    assert len({order.order.order_id for order in orders if order and order.order}) == 2
    assert {result_of(each).trigger for each in requests if each.status is AlertStatus.ANSWERED} == {Trigger.ALERT}
    assert [move.why for move in world.tables.history()].count(Trigger.ALERT) == 1  # the second one changed nothing
    assert registry.get_sample_value("tidegate_alert_oldest_open_seconds") == 0.0


def test_the_age_of_what_waits_is_told(world: OpenWorld) -> None:
    taking = AlertTaking(lambda: world.book, world.clock, 0)
    assert taking.waiting_seconds() is None
    world.alert()
    world.clock.advance_ms(2_500)
    assert taking.waiting_seconds() == 2.5


def test_the_cooldown_is_half_an_hour_or_as_told_or_none(tmp_path: Path) -> None:
    assert cooldown_ms_of(settings_of(tmp_path)) == 30 * 60_000
    assert cooldown_ms_of(settings_of(tmp_path, alert_cooldown="5s")) == 5_000
    assert cooldown_ms_of(settings_of(tmp_path, alert_cooldown="none")) == 0


def test_neither_tokens_nor_cooldown_make_a_run_another_one(tmp_path: Path) -> None:
    assert settings_of(tmp_path).identity() == settings_of(tmp_path, alert_cooldown="1s", **TOKENS).identity()


def test_tokens_are_read_from_a_file_and_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tokens").write_text("token-of-last-month\ntoken-of-this-month\n", encoding="utf-8")
    monkeypatch.setenv("TIDEGATE_ALERT_TOKENS_FILE", str(tmp_path / "tokens"))
    settings = settings_of(tmp_path)
    live = alert_tokens_of(settings)
    assert live is not None
    assert live.accepts("Bearer token-of-last-month")
    assert "token-of" not in repr(settings)
    with pytest.raises(ConfigError, match="--alert-tokens: token 1 has 5 characters"):
        alert_tokens_of(settings_of(tmp_path, alert_tokens="short"))


def test_without_a_token_alerts_are_taken_on_loopback_only(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    stores = RunStores(settings)
    exposed = taking_alerts(settings, stores, ManualClock(), CollectorRegistry(), "0.0.0.0", 0)
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0 is reached by other machines, and no token is asked"), exposed:
        pass
    with closing(Database(tmp_path / "runs.db")) as database:
        book = AlertBook(database, "run")
        without = settings_of(tmp_path, host="0.0.0.0")
        assert alert_routes_of(without, book, ManualClock(), CollectorRegistry()) == []
        with_token = settings_of(tmp_path, host="0.0.0.0", **TOKENS)
        assert len(alert_routes_of(with_token, book, ManualClock(), CollectorRegistry())) == 1


def test_the_role_waits_for_a_run_that_has_not_begun_and_finds_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    brokers, topic = parse_kafka_url(SOURCE)
    source = f"kafka://{brokers}/{topic}"
    own, plain = run_id_of(source, settings.identity()), run_id_of(source, settings.identity().removeprefix("workers "))
    with (
        closing(RunStores(settings)) as stores,
        taking_alerts(settings, stores, ManualClock(), CollectorRegistry(), "127.0.0.1", 0) as service,
    ):

        def post() -> httpx.Response:
            return httpx.post(f"{service.url}/alerts", json=body_of(alert()), timeout=30)

        assert post().status_code == 503
        assert "there is no run of these settings yet" in (stores.unready() or "")
        with closing(Database(tmp_path / "runs.db")) as database:
            join_run(database, own, source, settings.identity(), 1)
            join_run(database, plain, source, "{}", 1)
            join_run(database, "other", "elsewhere", "{}", 1)
        assert post().status_code == 202
        assert stores.unready() is None
        assert stores.book().run_id == own
    with closing(RunStores(settings, "other")) as named:
        assert named.book().run_id == "other"
    with closing(RunStores(settings, "missing")) as missing, pytest.raises(StoreUnavailableError, match="run missing"):
        missing.book()


def test_the_only_run_of_a_store_is_meant_where_the_settings_name_none(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "runs.db")) as database:
        join_run(database, "single", "a file", "{}", 1)
    with closing(RunStores(settings_of(tmp_path, source="log.csv"))) as stores:
        assert stores.book().run_id == "single"


def test_alerts_are_listed_with_what_became_of_them(world: OpenWorld) -> None:
    world.advance_while_it_goes()
    world.alert("TidegateHitRateFallsFast")
    world.advance_while_it_goes()
    world.alert("another")
    with world.database.writing() as connection:
        flags = json.dumps({"pane": "1h", "window": "2h", "engine": "frequency"})
        connection.exec_driver_sql("UPDATE runs SET flags = ?", (flags,))
    shown = CliRunner().invoke(alerts_group, ["list", "--home", str(world.home), "--json"], catch_exceptions=False)
    first, second = json.loads(shown.output)
    assert (first["alert"], first["status"], first["outcome"]) == ("TidegateHitRateFallsFast", "answered", "completed")
    assert (first["llm_calls"], first["table_version"]) == (first["rows"], world.tables.current())
    assert (second["alert"], second["status"], second["outcome"]) == ("another", "open", None)
    table = CliRunner().invoke(alerts_group, ["list", "--home", str(world.home)], catch_exceptions=False).output
    assert "TidegateHitRateFallsFast" in table
    assert "answered" in table


def test_the_command_takes_alerts_until_it_is_told_to_end(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "runs.db")) as database:
        join_run(database, "run", "kafka://h:1/t", "{}", 1)
    (tmp_path / "tokens").write_text(TOKENS["alert_tokens"])
    command = [*PROGRAM, "alerts", "--source", SOURCE, "--home", str(tmp_path), "--port", "0", "--metrics-port", "0"]
    environment = {**os.environ, "TIDEGATE_ALERT_TOKENS_FILE": str(tmp_path / "tokens")}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 60
        while "taking alerts on http" not in (said := (tmp_path / "log").read_text()):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        url = said.partition("taking alerts on ")[2].split()[0]
        metrics = said.partition("metrics on ")[2].split()[0]
        header = {"authorization": f"Bearer {TOKENS['alert_tokens'].split()[1]}"}
        assert httpx.post(url, json=body_of(alert()), timeout=30).status_code == 401
        assert httpx.post(url, json=body_of(alert()), headers=header, timeout=30).json()["open"] == 1
        assert 'tidegate_alert_deliveries_total{outcome="taken"} 1.0' in httpx.get(metrics, timeout=30).text
        assert httpx.get(metrics.replace("/metrics", "/readyz"), timeout=30).json() == {"status": "ready"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait(20)
    with closing(Database(tmp_path / "runs.db")) as database:
        assert [each.status for each in AlertBook(database, "run").requests()] == [AlertStatus.OPEN]
