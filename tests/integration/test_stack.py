"""The compose file's commands as plain processes, on real servers: what they show, and that all of it ends in order."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from monitoring.dashboards.__main__ import BOARDS, FOLDER
from tests.broker import KafkaBroker
from tests.monitoring.dashboard_rules import panels_of
from tests.monitoring.promql import with_values
from tests.postgres import PostgresServer
from tests.stack.scene import Pace, Scene, playing
from tests.stack.sightings import records_of, watch
from tidegate.cli.main import cli

PACE = Pace(days=8, sessions=400, day_seconds=0.2)
LIMIT_SECONDS = 180.0
SCRAPED_SECONDS = 60.0
# Nothing of these happens here: a flag, other weights, a rollback.
QUIET_MARKS = {"Fine-tune flagged", "Weights changed", "Rolled back"}
OF_WEIGHTS = "tidegate_weights_"  # the engine counts: it has none


@pytest.fixture(scope="module")
def scene(
    kafka: KafkaBroker, postgres: PostgresServer, prometheus_programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    with playing(kafka, postgres, prometheus_programs, tmp_path_factory.mktemp("panels"), PACE) as scene:
        watch(scene, LIMIT_SECONDS)
        yield scene


def look_up(scene: Scene) -> None:
    """Ask for answers of all kinds."""
    for query in ("c1=interest-001&c2=interest-002", "c1=nothing&c2=interest-002", ""):
        httpx.get(f"{scene.look_ups}/v1/next?{query}", timeout=5.0)


def empty_panels(scene: Scene, started_seconds: float) -> list[str]:
    """Panels and marks of which Prometheus has nothing to show."""
    empty = []

    def shows(expr: str) -> bool:
        query = with_values(expr, rate_interval="30s", time_range="5m")
        return any(scene.prometheus.over(query, started_seconds, time.time()))

    for board in BOARDS:
        dashboard = json.loads((FOLDER / f"{board.uid}.json").read_text(encoding="utf-8"))
        for panel in panels_of(dashboard):
            asked = [target["expr"] for target in panel["targets"] if OF_WEIGHTS not in target["expr"]]
            empty += [f"{board.uid}: {panel['title']}: {expr}" for expr in asked if not shows(expr)]
            if not asked:
                empty.append(f"{board.uid}: {panel['title']}")
        for mark in dashboard["annotations"]["list"]:
            if mark["name"] not in QUIET_MARKS and not shows(mark["expr"]):
                empty.append(f"{board.uid}: {mark['name']}: {mark['expr']}")
    return empty


def test_every_panel_shows_something_of_live_roles(scene: Scene):
    started_seconds = time.time() - LIMIT_SECONDS
    assert records_of(scene)[-1].table_version is not None
    deadline = time.monotonic() + SCRAPED_SECONDS
    while True:
        look_up(scene)
        empty = empty_panels(scene, started_seconds)
        if not empty or time.monotonic() > deadline:
            break
        time.sleep(1.0)
    assert empty == []


def test_prometheus_reaches_every_role_of_the_compose_file(scene: Scene):
    health = scene.prometheus.targets()
    assert set(health.values()) == {"up"}
    roles = {metric["role"] for metric, _ in scene.prometheus.now("tidegate_build_info")}
    assert roles == {"worker", "evaluator", "control", "refresher", "serve", "alerts"}


def test_the_console_shows_the_run_to_people(scene: Scene):
    page = httpx.get(f"{scene.console}/", timeout=30.0)
    assert page.status_code == 200, scene.processes.log_tail("console")
    assert "interest-" in page.text


def test_decisions_of_a_shared_run_are_listed_from_its_store(scene: Scene):
    store = str(scene.folder / "secrets" / "store")
    environment = {"TIDEGATE_STORE_FILE": store, "TIDEGATE_HOME": str(scene.folder / "home")}
    listed = CliRunner().invoke(cli, ["decisions", "list"], env=environment, catch_exceptions=False)
    n_decided = sum(record.decision is not None for record in records_of(scene))
    assert n_decided > 0
    assert listed.output.count("T00:00:00Z") == n_decided


def test_all_roles_end_in_order_when_they_are_told_to(scene: Scene):
    assert {name: code for name, (code, _) in scene.processes.stop().items() if code} == {}
