from __future__ import annotations

import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from monitoring.dashboards.__main__ import BOARDS, FOLDER, main
from monitoring.dashboards.board import render
from monitoring.dashboards.panels import Kind, Query, View, panel_of
from tests.monitoring import documented
from tests.monitoring.dashboard_rules import broken, panels_of
from tests.monitoring.promql import selected, with_values

SCHEMA = json.loads((Path(__file__).parent / "dashboard.schema.json").read_text(encoding="utf-8"))
NAMES = [board.uid for board in BOARDS]


def dashboard_of(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return read


def expressions() -> list[str]:
    found = []
    for name in NAMES:
        dashboard = dashboard_of(name)
        found += [target["expr"] for panel in panels_of(dashboard) for target in panel["targets"]]
        found += [mark["expr"] for mark in dashboard["annotations"]["list"]]
    return found


def test_the_files_are_what_the_code_makes():
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(NAMES)
    assert main(FOLDER, is_check=True) == 0, "run make dashboards"


def test_a_file_that_is_not_current_is_named_and_then_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(tmp_path, is_check=False) == 0
    stale = tmp_path / "tidegate.json"
    stale.write_text("{}")
    assert main(tmp_path, is_check=True) == 1
    assert "tidegate.json: is not current" in capsys.readouterr().out
    assert main(tmp_path, is_check=False) == 0
    assert stale.read_text() == render(BOARDS[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_is_valid_and_keeps_every_rule(name: str):
    dashboard = dashboard_of(name)
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(dashboard)] == []
    assert broken(dashboard) == []


def test_every_role_and_every_metric_that_an_operator_watches_is_shown():
    shown = {one.name for expr in expressions() for one in selected(expr)}
    counted = {name.rsplit("_", 1)[0] for name in shown if name.endswith("_bucket")}
    hidden = {name for name, _, _ in documented.page()} - shown - counted
    assert hidden <= HIDDEN
    assert {"worker", "evaluator", "controller", "refresher", "serve", "operations"} == {
        name.removeprefix("tidegate-") for name in NAMES[1:]
    }


def test_prometheus_reads_every_expression(promtool: Path, tmp_path: Path):
    rules = [{"record": f"checked:{n}", "expr": with_values(expr)} for n, expr in enumerate(expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    checked = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout


def mistaken(change: str) -> dict[str, Any]:
    dashboard = copy.deepcopy(dashboard_of("tidegate"))
    panel = panels_of(dashboard)[0]
    target = panel["targets"][0]
    match change:
        case "description" | "datasource":
            panel[change] = None
        case "unit":
            del panel["fieldConfig"]["defaults"]["unit"]
        case "overlap":
            panel["gridPos"]["w"] = 23
        case "number":
            panel["id"] = 1
        case "thresholds":
            panel["fieldConfig"]["defaults"]["thresholds"]["steps"][0]["value"] = 3
        case "variables":
            dashboard["templating"]["list"].pop(0)
        case "no query":
            panel["targets"] = []
        case "legend":
            target["legendFormat"] = ""
        case "any legend":
            target["legendFormat"] = "{{user}}"
        case "runbook":
            panel["links"] = [{"url": "${runbooks}/nothing.md"}]
        case expr:
            target["expr"] = expr
    return dashboard


# What no panel shows: figures behind others, and what only people who look for a fault want to know.
HIDDEN = {
    *("process_max_fds", "process_open_fds", "process_start_time_seconds", "process_virtual_memory_bytes"),
    *("python_gc_collections_total", "python_gc_objects_collected_total", "python_gc_objects_uncollectable_total"),
    *("tidegate_drift_p_value", "tidegate_drift_since_timestamp_seconds", "tidegate_jaccard_variance"),
    *("tidegate_model_info", "tidegate_pane_seconds", "tidegate_window_seconds"),
    *("tidegate_role_progress_timestamp_seconds", "tidegate_watermark_timestamp_seconds"),
    *("tidegate_table_versions_rejected_total",),
}
CHOSEN = 'run=~"$run", instance=~"$instance"'
MISTAKES = {
    "description": "no description",
    "unit": "no unit",
    "datasource": "data source",
    "overlap": "overlap",
    "number": "share a number",
    "thresholds": "do not ascend",
    "variables": "its variables are",
    "no query": "no query",
    "legend": "no legend",
    "any legend": "may take any value of {'user'}",
    "runbook": "no runbook nothing.md",
    "sum(": "does not parse",
    f"tidegate_hitrate{{{CHOSEN}}}": "no metric tidegate_hitrate",
    "tidegate_hit_rate": "does not follow the variables",
    f"rate(tidegate_hit_rate{{{CHOSEN}}}[5m])": "is a gauge, and is taken as a rate",
    f"tidegate_hits_total{{{CHOSEN}}}": "is a counter, and is not taken as a rate",
    f"max by (user) (tidegate_hit_rate{{{CHOSEN}}})": "groups by {'user'}",
    f"histogram_quantile(0.5, sum(rate(tidegate_refresh_duration_seconds_bucket{{{CHOSEN}}}[5m])))": "not kept apart",
}


@pytest.mark.parametrize("change", MISTAKES)
def test_a_mistake_breaks_a_rule(change: str):
    assert any(MISTAKES[change] in why for why in broken(mistaken(change)))


def test_a_dashboard_that_is_none_is_invalid():
    for wrong in ({}, {**dashboard_of("tidegate"), "panels": [{"type": "graph"}]}):
        assert list(Draft202012Validator(SCHEMA).iter_errors(wrong))


def test_a_panel_has_a_letter_for_each_of_its_queries():
    queries = tuple(Query(f"up + {n}", "up") for n in range(9))
    with pytest.raises(ValueError, match="zip"):
        panel_of(View("many", "too many", "none", queries, Kind.LINES), 1)
